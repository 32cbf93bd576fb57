//! The sections of the Workspace API about bulk work.

pub mod recordset_export;
pub mod recordset_import;

mod download;
