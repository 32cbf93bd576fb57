//! The Workspace API, by section.

mod auth;
mod conventions;
mod jobs;
mod records;
mod recordset_export;
mod recordset_import;
pub(crate) mod recordsets;

pub(crate) use jobs::sleeper;
