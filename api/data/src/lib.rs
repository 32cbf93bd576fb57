//! Recordsets and records over HTTP: one file per section of the contract, under its surface.
//! Handlers extract, call the domain and shape the answer; the rules are in `domain`.

pub mod workspace;
