//! The Workspace API's sections about bulk work.

pub mod recordset_export;
pub mod recordset_import;

mod download;
