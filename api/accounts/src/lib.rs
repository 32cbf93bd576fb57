//! Accounts over HTTP: sign-up, sign-in, API keys, workspaces. One file per section of the contract, under its
//! surface; the rules are in `domain`.

pub mod platform;
pub mod workspace;
