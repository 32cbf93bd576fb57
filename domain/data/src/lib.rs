//! Recordsets and records, and what brings them in and out: files, imports, exports.

pub mod exports;
pub mod files;
pub mod imports;
pub mod job_kinds;
pub mod modules;
pub mod records;
pub mod recordsets;
pub mod remains;

mod csv;

// A change of the file rebuilds the crate.
const _: &str = include_str!("../sqlx.toml");
