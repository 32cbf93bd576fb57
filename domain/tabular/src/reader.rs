//! One reader over all formats: it opens a file, names the columns, and hands out rows.

use std::io::{Seek, SeekFrom};

use crate::{
    Encoding, FileError, Format, Limits, Options, Position, Resolved, Source, Warning,
    columns::{name_columns, number_columns},
    delimited::DelimitedReader,
    json::JsonReader,
    row::{Row, display},
    sheet::SheetReader,
    sniff::{Sniffed, sniff},
    window::Window,
};

/// Rows of JSON whose members become columns.
const COLUMN_ROWS: usize = 1_000;
/// Bytes of JSON that are read for the columns at most.
const COLUMN_BYTES: u64 = 64 << 20;

/// Reads the rows of a file in order.
pub struct Reader {
    rows: Rows,
    resolved: Resolved,
    warnings: Vec<Warning>,
    only_ascii: bool,
    row: Row,
    read: u64,
    source_len: u64,
}

enum Rows {
    Delimited(Box<DelimitedReader>),
    Json(JsonReader),
    Sheet(SheetReader),
}

impl Reader {
    /// Opens a file within the default [`Limits`]. `name` is a hint where the content could be several things.
    pub fn open(source: impl Source + 'static, options: &Options, name: &str) -> Result<Self, FileError> {
        Self::open_within(source, options, name, &Limits::default())
    }

    /// Opens a file.
    pub fn open_within(
        source: impl Source + 'static,
        options: &Options,
        name: &str,
        limits: &Limits,
    ) -> Result<Self, FileError> {
        let (sniffed, mut source) = sniff(Box::new(source), options, name)?;
        let Sniffed { format, encoding, delimiter, quote, only_ascii } = sniffed;
        let is_csv = format == Format::Csv;
        let mut resolved = Resolved {
            format,
            encoding,
            delimiter: is_csv.then_some(delimiter),
            quote: is_csv.then_some(quote),
            has_header: options.has_header,
            sheet: options.sheet.clone().filter(|_| format.is_spreadsheet()),
            formula_marks: options.formula_marks,
            columns: Vec::new(),
        };
        let source_len = source.seek(SeekFrom::End(0))?;
        let (rows, warnings) = match format {
            Format::Csv => {
                let mut rows = delimited(source, &resolved, limits)?;
                let warnings;
                (resolved.columns, warnings) = delimited_columns(&mut rows, resolved.has_header, limits)?;
                if !resolved.has_header {
                    rows = delimited(rows.into_window().into_source(), &resolved, limits)?;
                }
                rows.set_columns(resolved.columns.len());
                (Rows::Delimited(Box::new(rows)), warnings)
            }
            Format::Json | Format::Ndjson | Format::GeoJson => {
                let mut rows = json(source, &resolved, limits)?;
                resolved.columns = rows.collect_columns(COLUMN_ROWS, COLUMN_BYTES, limits.max_columns)?;
                let rows = json(rows.into_window().into_source(), &resolved, limits)?;
                (Rows::Json(rows.with_columns(resolved.columns.clone())), Vec::new())
            }
            Format::Xlsx | Format::Xls | Format::Ods => {
                let mut rows = SheetReader::open(source, format, resolved.sheet.as_deref(), limits)?;
                resolved.sheet = Some(rows.sheet.clone());
                let warnings;
                (resolved.columns, warnings) = rows.read_columns(resolved.has_header, limits)?;
                (Rows::Sheet(rows), warnings)
            }
        };
        if resolved.columns.is_empty() && !matches!(format, Format::Json | Format::Ndjson | Format::GeoJson) {
            return Err(FileError::Empty);
        }
        Ok(Self { rows, resolved, warnings, only_ascii, row: Row::default(), read: 0, source_len })
    }

    /// Opens a file that was [`resolved`](Self::resolved) before, and continues with exactly the row behind
    /// `position`; the default position is the beginning.
    ///
    /// UTF-8 text is entered at the position; other files are read up to it.
    pub fn resume(
        source: impl Source + 'static,
        resolved: &Resolved,
        position: Position,
    ) -> Result<Self, FileError> {
        Self::resume_within(source, resolved, position, &Limits::default())
    }

    /// [`Reader::resume`] with other limits.
    pub fn resume_within(
        source: impl Source + 'static,
        resolved: &Resolved,
        position: Position,
        limits: &Limits,
    ) -> Result<Self, FileError> {
        let mut source: Box<dyn Source> = Box::new(source);
        let source_len = source.seek(SeekFrom::End(0))?;
        let can_enter = position.row > 0 && resolved.encoding == Some(Encoding::UTF_8);
        let rows = match resolved.format {
            Format::Csv if can_enter => {
                let window = Window::open_at(source, position.byte)?;
                let rows = delimited_in(window, resolved, limits);
                Rows::Delimited(Box::new(rows.starting_at(position, resolved)))
            }
            Format::Csv => {
                let mut rows = delimited(source, resolved, limits)?;
                if resolved.has_header {
                    rows.next(&mut Row::default())?;
                }
                rows.set_columns(resolved.columns.len());
                Rows::Delimited(Box::new(rows))
            }
            Format::Json | Format::Ndjson | Format::GeoJson => {
                let rows = if can_enter {
                    let window = Window::open_at(source, position.byte)?;
                    JsonReader::resume(window, resolved.format, position.line, limits.max_row_bytes)
                } else {
                    json(source, resolved, limits)?
                };
                Rows::Json(rows.with_columns(resolved.columns.clone()))
            }
            Format::Xlsx | Format::Xls | Format::Ods => {
                let mut rows = SheetReader::open(source, resolved.format, resolved.sheet.as_deref(), limits)?;
                rows.read_columns(resolved.has_header, limits)?;
                Rows::Sheet(rows)
            }
        };
        let mut reader = Self {
            rows,
            resolved: resolved.clone(),
            warnings: Vec::new(),
            only_ascii: false,
            row: Row::default(),
            read: if can_enter { position.row } else { 0 },
            source_len,
        };
        while reader.read < position.row && reader.next_row()?.is_some() {}
        Ok(reader)
    }

    /// Reads the next row; `None` at the end. The row lives until the next call.
    ///
    /// # Errors
    /// When the file can't be read any further. What is wrong with one row is the row's own
    /// [`problem`](Row::problem).
    pub fn next_row(&mut self) -> Result<Option<&Row>, FileError> {
        let found = match &mut self.rows {
            Rows::Delimited(rows) => rows.next(&mut self.row)?,
            Rows::Json(rows) => rows.next(&mut self.row)?,
            Rows::Sheet(rows) => rows.next(&mut self.row)?,
        };
        if !found {
            return Ok(None);
        }
        self.read += 1;
        self.row.number = self.read;
        Ok(Some(&self.row))
    }

    /// How the file is read, for every later run.
    pub fn resolved(&self) -> &Resolved {
        &self.resolved
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.resolved.columns
    }

    /// The sheets of a workbook, the visible ones first.
    pub fn sheets(&self) -> &[String] {
        match &self.rows {
            Rows::Sheet(rows) => &rows.sheets,
            _ => &[],
        }
    }

    /// What was changed about the names of the columns.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Where to [`resume`](Self::resume) behind the rows read so far.
    pub fn position(&self) -> Position {
        let (byte, line) = match &self.rows {
            Rows::Delimited(rows) => rows.position(),
            Rows::Json(rows) => rows.position(),
            Rows::Sheet(_) => (0, 0),
        };
        Position { row: self.read, byte, line }
    }

    /// How much of the file is behind, out of [`source_len`](Self::source_len): exact for UTF-8, close for other
    /// encodings, and by rows for workbooks.
    pub fn bytes_consumed(&self) -> u64 {
        let bytes = match &self.rows {
            Rows::Delimited(rows) => rows.window().source_bytes(),
            Rows::Json(rows) => rows.window().source_bytes(),
            Rows::Sheet(rows) => {
                let Some((read, rows)) = rows.progress() else {
                    return 0;
                };
                let share = u128::from(self.source_len) * u128::from(read) / u128::from(rows);
                u64::try_from(share).unwrap_or(self.source_len)
            }
        };
        bytes.min(self.source_len)
    }

    /// The length of the file in bytes.
    pub fn source_len(&self) -> u64 {
        self.source_len
    }

    /// Whether the text was taken for UTF-8 only because its beginning is ASCII.
    pub(crate) fn is_guessed_utf8(&self) -> bool {
        self.only_ascii && self.resolved.encoding == Some(Encoding::UTF_8)
    }
}

fn delimited(
    source: Box<dyn Source>,
    resolved: &Resolved,
    limits: &Limits,
) -> Result<DelimitedReader, FileError> {
    let window = Window::open(source, resolved.encoding.unwrap_or(Encoding::UTF_8))?;
    Ok(delimited_in(window, resolved, limits))
}

fn delimited_in(window: Window, resolved: &Resolved, limits: &Limits) -> DelimitedReader {
    // Both are ASCII; for other options the defaults apply.
    let ascii = |c: Option<char>, usual: u8| c.and_then(|c| u8::try_from(c).ok()).unwrap_or(usual);
    DelimitedReader::new(
        window,
        ascii(resolved.delimiter, b','),
        ascii(resolved.quote, b'"'),
        limits.max_row_bytes,
    )
    .with_marks(resolved.formula_marks)
}

fn json(source: Box<dyn Source>, resolved: &Resolved, limits: &Limits) -> Result<JsonReader, FileError> {
    let window = Window::open(source, resolved.encoding.unwrap_or(Encoding::UTF_8))?;
    JsonReader::open(window, resolved.format, limits.max_row_bytes)
}

/// Reads the first record as the header, or counts its cells.
fn delimited_columns(
    rows: &mut DelimitedReader,
    has_header: bool,
    limits: &Limits,
) -> Result<(Vec<String>, Vec<Warning>), FileError> {
    let mut first = Row::default();
    if !rows.next(&mut first)? {
        return Ok((Vec::new(), Vec::new()));
    }
    if let Some(problem) = first.problem().filter(|problem| problem.code != "ragged_row") {
        return Err(FileError::Corrupt(format!("in its first row: {}", problem.message)));
    }
    if has_header {
        name_columns(first.cells().map(display).collect(), limits)
    } else {
        Ok((number_columns(first.len(), limits)?, Vec::new()))
    }
}
