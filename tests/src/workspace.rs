//! The Workspace API, by section.

mod auth;
mod conventions;
mod jobs;
mod records;
mod recordset_export;
mod recordset_import;
mod recordsets;

pub(crate) use jobs::sleeper;
