//! The people of a workspace over HTTP: members and teams, and whether their workspace is in order. One
//! file per section of the contract; the rules are `domain`'s.

pub mod workspace;
