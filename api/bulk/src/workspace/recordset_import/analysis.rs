//! What is in a file, as the API shows it, and how a client says to read it.

use api_kit::ApiError;
use domain_data::files::FileId;
use domain_data::{
    files::{File, FileUri},
    imports,
};
use fields::{Field, FieldType};
use poem_openapi::{Enum, Object};
use tabular::{Analysis, Format, Options};

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(super) enum FileFormat {
    /// Text with delimiters.
    Csv,
    /// Excel's workbook since 2007.
    Xlsx,
    /// Excel's workbook before 2007.
    Xls,
    /// Open Document spreadsheet.
    Ods,
    /// An array of objects.
    Json,
    /// One object a line.
    Ndjson,
    /// A feature collection.
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

/// How to read a file; what is absent is found out from its content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Object)]
pub(super) struct ReadOptions {
    /// The kind of file.
    format: Option<FileFormat>,
    /// The delimiter between a CSV file's cells: one character, or `tab`.
    delimiter: Option<String>,
    /// The quote around a CSV file's cells: one character.
    quote: Option<String>,
    /// The text's encoding, for example `utf-8`, `utf-16le` or `windows-1252`.
    encoding: Option<String>,
    /// Whether the first row holds the columns' names. True if absent.
    has_header: Option<bool>,
    /// The sheet of a workbook; the first if absent.
    sheet: Option<String>,
    /// Whether an apostrophe in front of a value of a CSV file that a spreadsheet would read as a formula is removed, as
    /// exports write it. True if absent.
    formula_apostrophes: Option<bool>,
}

impl ReadOptions {
    /// As the reader takes them.
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

/// Which file to look at again, and how.
#[derive(Debug, Object)]
pub(super) struct AnalyzeRequest {
    /// The uploaded file, as the upload named it.
    pub file_uri: String,
    /// How to read it.
    pub options: Option<ReadOptions>,
}

/// An uploaded file, and what is in it.
#[derive(Debug, Object)]
pub(super) struct Uploaded {
    /// The file.
    file_id: FileId,
    /// Its name for the import.
    file_uri: String,
    /// As it was named by the client.
    name: String,
    /// Bytes.
    size: u64,
    /// What is in it.
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

/// What is in a file.
#[derive(Debug, Object)]
pub(super) struct FileAnalysis {
    /// The kind of file.
    format: FileFormat,
    /// The text's encoding, of files of text.
    #[oai(skip_serializing_if_is_none)]
    encoding: Option<String>,
    /// The delimiter, of CSV.
    #[oai(skip_serializing_if_is_none)]
    delimiter: Option<String>,
    /// Whether the first row holds the columns' names.
    has_header: bool,
    /// The sheet that was looked at, of workbooks.
    #[oai(skip_serializing_if_is_none)]
    sheet: Option<String>,
    /// The sheets of a workbook.
    sheets: Vec<String>,
    /// The columns, in order.
    columns: Vec<FileColumn>,
    /// Number of rows, without the header; an estimate if `is_complete` is false.
    row_count: u64,
    /// Whether the whole file was analysed. If false, only its beginning was: columns, types and problems are
    /// those of the beginning.
    is_complete: bool,
    /// Rows that can't be read.
    problem_count: u64,
    /// The first of them.
    problems: Vec<RowIssue>,
    /// What a person should know before importing.
    warnings: Vec<FileWarning>,
    /// The first rows, as text.
    sample_rows: Vec<Vec<String>>,
    /// Fields that would take the columns, as an import without fields of its own creates them.
    suggested_fields: Vec<Field>,
    /// Pairs of columns that together are points.
    suggested_points: Vec<PointColumns>,
}

/// A column of a file.
#[derive(Debug, Object)]
struct FileColumn {
    /// Its name, made unique.
    name: String,
    /// A key for a field made of it.
    key: String,
    /// The type that its values seem to have.
    field_type: FieldType,
    /// The values, when they seem to be a choice.
    options: Vec<String>,
    /// Some of the values.
    samples: Vec<String>,
    /// Rows that have nothing there.
    empty_count: u64,
}

/// A row that can't be read.
#[derive(Debug, Object)]
struct RowIssue {
    /// Its number; the first row of data is 1.
    row: u64,
    /// A code for programs.
    code: String,
    /// The same for people.
    message: String,
}

/// Something about a file that a person should know.
#[derive(Debug, Object)]
struct FileWarning {
    /// A code for programs.
    code: String,
    /// The same for people.
    message: String,
}

/// Two columns that together are a point.
#[derive(Debug, Object)]
struct PointColumns {
    /// The column with the latitudes.
    latitude_column: String,
    /// The column with the longitudes.
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
