//! The Workspace API, by section.

mod auth;
mod conventions;
mod jobs;
mod records;
mod recordsets;
