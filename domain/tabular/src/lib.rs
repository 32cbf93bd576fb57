//! Untrusted files of rows, read one row at a time: CSV and other delimited text, spreadsheets, JSON, NDJSON
//! and GeoJSON.
//!
//! [`analyze()`] analyses a file once; the [`Resolved`] options are stored, and with them
//! [`Reader::resume`] reads the same rows in every later run, from the beginning or from a [`Position`]. Memory is
//! bounded whatever the file holds (see [`Limits`]), and a bad row is a [`RowProblem`], not the end of the file.
//! What the cells mean is left to the `fields` crate.

mod analyze;
mod bounds;
mod columns;
mod delimited;
mod error;
pub mod formula;
mod infer;
mod json;
mod mapping;
mod options;
mod reader;
mod row;
mod sheet;
mod sniff;
mod window;

pub use analyze::{Analysis, Column, SuggestedPoint, Warning, analyze, analyze_within, look};
pub use bounds::Bounds;
pub use error::{FileError, RowProblem};
pub use fields::Cell;
pub use mapping::{Mapping, suggest_mapping};
pub use options::{Encoding, Format, Limits, Options, Position, Resolved};
pub use reader::Reader;
pub use row::Row;
pub use window::Source;
