//! Accounts over HTTP: who signs up, in and out. One file per section of the contract, under its
//! surface; the rules are `domain`'s.

pub mod platform;
pub mod workspace;
