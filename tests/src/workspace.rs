//! The Workspace API, by section.

mod api_keys;
pub(crate) mod auth;
mod consent;
mod conventions;
mod dead_letters;
mod downloads;
pub(crate) mod jobs;
pub(crate) mod members;
mod modules;
mod permissions;
mod records;
mod recordset_export;
mod recordset_import;
pub(crate) mod recordsets;
mod teams;
mod workspace_health;
pub(crate) mod workspaces;

pub(crate) use dead_letters::dead_letter;
pub(crate) use jobs::{enqueue, sleeper, workspace_of};
pub(crate) use workspaces::post_and_wait;
