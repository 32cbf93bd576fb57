//! The analysis of a file as the API shows it, and the options for reading a file.

use api_kit::ApiError;
use domain_data::files::FileId;
use domain_data::{
    files::{File, FileUri},
    imports,
};
use fields::{Field, FieldType};
use poem_openapi::{Enum, Object};
use tabular::{Analysis, Format, Options};

/// File format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(super) enum FileFormat {
    /// Delimited text.
    Csv,
    /// Excel workbook since 2007.
    Xlsx,
    /// Excel workbook before 2007.
    Xls,
    /// OpenDocument spreadsheet.
    Ods,
    /// JSON array of objects.
    Json,
    /// Newline-delimited JSON: one object per line.
    Ndjson,
    /// GeoJSON feature collection.
    #[oai(rename = "geojson")]
    GeoJson,
}

impl From<Format> for FileFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Csv => Self::Csv,
            Format::Xlsx => Self::Xlsx,
            Format::Xls => Self::Xls,
            Format::Ods => Self::Ods,
            Format::Json => Self::Json,
            Format::Ndjson => Self::Ndjson,
            Format::GeoJson => Self::GeoJson,
        }
    }
}

impl From<FileFormat> for Format {
    fn from(format: FileFormat) -> Self {
        match format {
            FileFormat::Csv => Self::Csv,
            FileFormat::Xlsx => Self::Xlsx,
            FileFormat::Xls => Self::Xls,
            FileFormat::Ods => Self::Ods,
            FileFormat::Json => Self::Json,
            FileFormat::Ndjson => Self::Ndjson,
            FileFormat::GeoJson => Self::GeoJson,
        }
    }
}

/// Options for reading a file; absent ones are detected from its content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Object)]
pub(super) struct ReadOptions {
    /// File format.
    format: Option<FileFormat>,
    /// Delimiter between the cells of a CSV file: one character, or `tab`.
    delimiter: Option<String>,
    /// Quote character of a CSV file.
    quote: Option<String>,
    /// Text encoding, for example `utf-8`, `utf-16le` or `windows-1252`.
    encoding: Option<String>,
    /// Whether the first row has the column names; true if absent.
    has_header: Option<bool>,
    /// Name of the sheet of a workbook; the first sheet if absent.
    sheet: Option<String>,
    /// Whether a leading apostrophe is removed from a CSV value that a spreadsheet would read as a formula, as
    /// exports write it; true if absent.
    formula_apostrophes: Option<bool>,
}

impl ReadOptions {
    /// The options in the form that the reader takes.
    pub fn checked(self) -> Result<Options, ApiError> {
        Ok(Options {
            format: self.format.map(Into::into),
            delimiter: one_character("options.delimiter", self.delimiter)?,
            quote: one_character("options.quote", self.quote)?,
            encoding: self.encoding,
            has_header: self.has_header.unwrap_or(true),
            sheet: self.sheet,
            formula_marks: self.formula_apostrophes.unwrap_or(true),
        })
    }
}

fn one_character(name: &str, text: Option<String>) -> Result<Option<char>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    if text == "tab" {
        return Ok(Some('\t'));
    }
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(one), None) => Ok(Some(one)),
        _ => Err(ApiError::invalid(name, "must be one character")),
    }
}

/// A repeated analysis of an uploaded file.
#[derive(Debug, Object)]
pub(super) struct AnalyzeRequest {
    /// URI of the uploaded file, from the answer to the upload.
    pub file_uri: String,
    /// Options for reading the file.
    pub options: Option<ReadOptions>,
}

/// An uploaded file and its analysis.
#[derive(Debug, Object)]
pub(super) struct Uploaded {
    /// File id.
    file_id: FileId,
    /// URI of the file, for imports.
    file_uri: String,
    /// File name, as given by the client.
    name: String,
    /// File size in bytes.
    size: u64,
    /// Analysis of the content.
    analysis: FileAnalysis,
}

impl Uploaded {
    pub fn new(file: &File, found: Analysis) -> Self {
        Self {
            file_id: file.id,
            file_uri: FileUri(file.id).to_string(),
            name: file.name.clone(),
            size: file.size,
            analysis: found.into(),
        }
    }
}

/// Analysis of the content of a file.
#[derive(Debug, Object)]
pub(super) struct FileAnalysis {
    /// File format.
    format: FileFormat,
    /// Text encoding; absent for binary formats.
    #[oai(skip_serializing_if_is_none)]
    encoding: Option<String>,
    /// Delimiter; only for CSV.
    #[oai(skip_serializing_if_is_none)]
    delimiter: Option<String>,
    /// Whether the first row has the column names.
    has_header: bool,
    /// Name of the analysed sheet; only for workbooks.
    #[oai(skip_serializing_if_is_none)]
    sheet: Option<String>,
    /// Names of the sheets of a workbook.
    sheets: Vec<String>,
    /// Columns, in order.
    columns: Vec<FileColumn>,
    /// Number of rows, without the header; an estimate if `is_complete` is false.
    row_count: u64,
    /// Whether the whole file was analysed. If false, columns, types and problems are those of its beginning only.
    is_complete: bool,
    /// Number of rows that cannot be read.
    problem_count: u64,
    /// The first rows that cannot be read.
    problems: Vec<RowIssue>,
    /// Warnings to consider before an import.
    warnings: Vec<FileWarning>,
    /// The first rows, as text.
    sample_rows: Vec<Vec<String>>,
    /// Fields that fit the columns; an import that creates its recordset without fields of its own creates these.
    suggested_fields: Vec<Field>,
    /// Pairs of columns that together form points.
    suggested_points: Vec<PointColumns>,
}

/// A column of a file.
#[derive(Debug, Object)]
struct FileColumn {
    /// Column name, made unique.
    name: String,
    /// Suggested key of a field for the column.
    key: String,
    /// Detected type of the values.
    field_type: FieldType,
    /// Detected options, if the values seem to be a choice.
    options: Vec<String>,
    /// Sample values.
    samples: Vec<String>,
    /// Number of rows without a value in the column.
    empty_count: u64,
}

/// A row that cannot be read.
#[derive(Debug, Object)]
struct RowIssue {
    /// Row number; the first row of data is 1.
    row: u64,
    /// Stable error code.
    code: String,
    /// Error message.
    message: String,
}

/// A warning about a file.
#[derive(Debug, Object)]
struct FileWarning {
    /// Stable warning code.
    code: String,
    /// Warning message.
    message: String,
}

/// Two columns that together form a point.
#[derive(Debug, Object)]
struct PointColumns {
    /// Name of the column with the latitudes.
    latitude_column: String,
    /// Name of the column with the longitudes.
    longitude_column: String,
}

impl From<Analysis> for FileAnalysis {
    fn from(found: Analysis) -> Self {
        Self {
            suggested_fields: imports::suggested_fields(&found),
            format: found.resolved.format.into(),
            encoding: found.resolved.encoding.map(|encoding| encoding.name().to_owned()),
            delimiter: found.resolved.delimiter.map(String::from),
            has_header: found.resolved.has_header,
            sheet: found.resolved.sheet,
            sheets: found.sheets,
            columns: found
                .columns
                .into_iter()
                .map(|column| FileColumn {
                    name: column.name,
                    key: column.key.into(),
                    field_type: column.field_type,
                    options: column.options,
                    samples: column.samples,
                    empty_count: column.empty_count,
                })
                .collect(),
            row_count: found.row_count,
            is_complete: found.is_complete,
            problem_count: found.problem_count,
            problems: found
                .problems
                .into_iter()
                .map(|(row, problem)| RowIssue { row, code: problem.code, message: problem.message })
                .collect(),
            warnings: found
                .warnings
                .into_iter()
                .map(|warning| FileWarning { code: warning.code, message: warning.message })
                .collect(),
            sample_rows: found.sample_rows,
            suggested_points: found
                .suggested_points
                .into_iter()
                .map(|point| PointColumns {
                    latitude_column: point.latitude_column,
                    longitude_column: point.longitude_column,
                })
                .collect(),
        }
    }
}
