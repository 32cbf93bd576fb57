//! The Workspace API, by section.

mod api_keys;
mod auth;
mod conventions;
mod dead_letters;
mod jobs;
mod permissions;
mod records;
mod recordset_export;
mod recordset_import;
pub(crate) mod recordsets;

pub(crate) use dead_letters::dead_letter;
pub(crate) use jobs::sleeper;
