//! Workspaces: the doors by which one is made.

mod create;
mod provision;
