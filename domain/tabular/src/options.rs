//! How a file is to be read: what the caller asks for, what was found out, and where a reader stands.

use std::fmt;

use serde::{Deserialize, Serialize, de};

use crate::FileError;

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Text with delimiters: commas, semicolons, tabs or bars.
    Csv,
    /// Excel's workbook since 2007.
    Xlsx,
    /// Excel's workbook before 2007.
    Xls,
    /// `OpenDocument` spreadsheet.
    Ods,
    /// A JSON array of objects, or an object with a member that is one.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// A GeoJSON feature collection.
    #[serde(rename = "geojson")]
    GeoJson,
}

impl Format {
    /// The name that people know.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Csv => "CSV",
            Self::Xlsx => "XLSX",
            Self::Xls => "XLS",
            Self::Ods => "ODS",
            Self::Json => "JSON",
            Self::Ndjson => "NDJSON",
            Self::GeoJson => "GeoJSON",
        }
    }

    /// Whether files of this kind are workbooks with sheets.
    pub const fn is_spreadsheet(self) -> bool {
        matches!(self, Self::Xlsx | Self::Xls | Self::Ods)
    }

    /// The kind that a file's name promises.
    pub fn of_name(name: &str) -> Option<Self> {
        let extension = name.rsplit_once('.')?.1.to_ascii_lowercase();
        Some(match extension.as_str() {
            "csv" | "tsv" | "tab" | "txt" | "psv" => Self::Csv,
            "xlsx" | "xlsm" => Self::Xlsx,
            "xls" => Self::Xls,
            "ods" => Self::Ods,
            "json" => Self::Json,
            "ndjson" | "jsonl" => Self::Ndjson,
            "geojson" => Self::GeoJson,
            _ => return None,
        })
    }
}

/// A character encoding, known by any of its names (`utf-8`, `latin1`, `utf-16le`, …).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding(&'static encoding_rs::Encoding);

impl Encoding {
    /// UTF-8.
    pub const UTF_8: Self = Self(encoding_rs::UTF_8);
    /// UTF-16, low byte first.
    pub const UTF_16LE: Self = Self(encoding_rs::UTF_16LE);
    /// UTF-16, high byte first.
    pub const UTF_16BE: Self = Self(encoding_rs::UTF_16BE);
    /// What Western European Windows writes; a superset of ISO 8859-1.
    pub const WINDOWS_1252: Self = Self(encoding_rs::WINDOWS_1252);

    /// The encoding of that name.
    ///
    /// # Errors
    /// [`FileError::UnknownEncoding`].
    pub fn for_label(label: &str) -> Result<Self, FileError> {
        encoding_rs::Encoding::for_label_no_replacement(label.as_bytes())
            .map(Self)
            .ok_or_else(|| FileError::UnknownEncoding(label.to_owned()))
    }

    /// The encoding's usual name.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    pub(crate) fn decoder(self) -> encoding_rs::Decoder {
        self.0.new_decoder_with_bom_removal()
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Encoding {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Encoding {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let label = String::deserialize(deserializer)?;
        Self::for_label(&label).map_err(de::Error::custom)
    }
}

/// What the caller knows about the file; whatever is left out is found out from the content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The kind of file.
    pub format: Option<Format>,
    /// The delimiter between the cells of a CSV file: one ASCII character.
    pub delimiter: Option<char>,
    /// The quote around cells of a CSV file: one ASCII character, `"` by default.
    pub quote: Option<char>,
    /// The name of the text's encoding.
    pub encoding: Option<String>,
    /// Whether the first row of a CSV file or sheet holds the names of the columns.
    pub has_header: bool,
    /// The sheet of a workbook; the first by default.
    pub sheet: Option<String>,
    /// Whether a CSV file's cells have the marks of [`formula`](crate::formula), which are taken off. True by default.
    pub formula_marks: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            format: None,
            delimiter: None,
            quote: None,
            encoding: None,
            has_header: true,
            sheet: None,
            formula_marks: true,
        }
    }
}

/// Everything that reading depends on. Stored with the file, it makes every run read the same rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// The kind of file.
    pub format: Format,
    /// The encoding, for files of text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// The delimiter, for CSV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// The quote, for CSV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<char>,
    /// Whether the first row holds the names of the columns.
    pub has_header: bool,
    /// The sheet, for workbooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sheet: Option<String>,
    /// Whether cells have marks that are taken off, for CSV.
    #[serde(default = "yes")]
    pub formula_marks: bool,
    /// The names of the columns: not blank, and each different from the others.
    pub columns: Vec<String>,
}

/// Files that were resolved before there was a choice.
fn yes() -> bool {
    true
}

/// Where a reader stands: behind so many rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// Rows read so far.
    pub row: u64,
    /// Where the next row begins in the file, for formats that can be entered there.
    pub byte: u64,
    /// Lines of text read so far.
    pub line: u64,
}

/// How much a file may ask for. The defaults suit a worker with a few hundred MiB to spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most columns.
    pub max_columns: usize,
    /// Most bytes of one row; a longer one is a problem of that row.
    pub max_row_bytes: usize,
    /// Most bytes of the parts of a workbook that are held in memory (shared strings, styles), unpacked; also the
    /// largest `.xls` file.
    pub max_held_bytes: u64,
    /// Most bytes of a workbook's sheets, unpacked. They are streamed, so this bounds time rather than memory.
    pub max_sheet_bytes: u64,
    /// Most bytes that a packed byte may become, for parts that are large when unpacked, and for what a sheet
    /// repeats.
    pub max_ratio: u64,
    /// Most cells of all sheets of an `.xls` together, counting the empty ones between the others.
    pub max_cells: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_columns: 2_000,
            max_row_bytes: 16 << 20,
            max_held_bytes: 256 << 20,
            max_sheet_bytes: 4 << 30,
            max_ratio: 250,
            max_cells: 24 << 20,
        }
    }
}
