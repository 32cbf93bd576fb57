//! The Workspace API, by section.

mod jobs;
mod recordset_export;
mod recordset_import;
