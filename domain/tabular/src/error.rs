//! What can be wrong: with a file as a whole, or with one of its rows.

use std::io;

use serde::{Deserialize, Serialize};

use crate::Format;

/// The file can't be read, or not any further.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is nothing in the file.
    #[error("the file is empty")]
    Empty,
    /// The file is of a kind that isn't read.
    #[error("{found} files are not supported")]
    Unsupported {
        /// The kind that it seems to be.
        found: &'static str,
    },
    /// The file isn't what its name or the options say.
    #[error("the file is not {expected}, it seems to be {found}")]
    NotAFormat {
        /// What it should have been.
        expected: String,
        /// What it seems to be.
        found: String,
    },
    /// The file is broken.
    #[error("the file is damaged: {0}")]
    Corrupt(String),
    /// More columns than [`Limits::max_columns`](crate::Limits::max_columns).
    #[error("the file has {found} columns; at most {most} are read")]
    TooManyColumns {
        /// How many there are, at least.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// Unpacking the file would take more memory or time than it is worth.
    #[error("the file is too large when unpacked: {0}")]
    TooLargeInside(String),
    /// No encoding has this name.
    #[error("“{0}” is not a known character encoding")]
    UnknownEncoding(String),
    /// The workbook has no such sheet.
    #[error("there is no sheet “{wanted}”; there are: {}", .sheets.join(", "))]
    NoSuchSheet {
        /// The sheet asked for.
        wanted: String,
        /// The sheets that there are.
        sheets: Vec<String>,
    },
    /// The options contradict themselves.
    #[error("{0}")]
    InvalidOption(String),
    /// Reading failed outside of the file's own content.
    #[error("reading the file failed: {0}")]
    Io(#[from] io::Error),
}

impl FileError {
    /// A stable name of the error, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty_file",
            Self::Unsupported { .. } => "unsupported_format",
            Self::NotAFormat { .. } => "wrong_format",
            Self::Corrupt(_) => "corrupt_file",
            Self::TooManyColumns { .. } => "too_many_columns",
            Self::TooLargeInside(_) => "file_too_large_inside",
            Self::UnknownEncoding(_) => "unknown_encoding",
            Self::NoSuchSheet { .. } => "no_such_sheet",
            Self::InvalidOption(_) => "invalid_option",
            Self::Io(_) => "io",
        }
    }

    pub(crate) fn not(format: Format, found: impl Into<String>) -> Self {
        Self::NotAFormat { expected: format.name().to_owned(), found: found.into() }
    }
}

/// Why a row can't be used. The reader goes on with the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowProblem {
    /// `ragged_row`, `row_too_long`, `bad_encoding`, `unterminated_quote`, `bad_json`, `not_an_object` or
    /// `truncated_file`.
    pub code: String,
    /// What is wrong, for people.
    pub message: String,
}

impl RowProblem {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }

    pub(crate) fn ragged(expected: usize, found: usize) -> Self {
        Self::new("ragged_row", format!("the row has {found} cells where the file has {expected} columns"))
    }

    pub(crate) fn too_long(limit: usize) -> Self {
        Self::new("row_too_long", format!("the row is longer than {limit} bytes"))
    }
}
