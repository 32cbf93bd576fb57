//! Workbooks. A thread of its own unpacks one sheet and sends its rows in batches, so that a sheet is streamed and a
//! panic in a parser of foreign formats becomes an error. Nothing is unpacked before [`guard`] has looked at it.

mod guard;
mod ods;
mod xls;
mod xlsx;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use chrono::{NaiveDateTime, NaiveTime};

use crate::{
    FileError, Format, Limits, RowProblem, Source, Warning,
    columns::{name_columns, number_columns},
    row::{Cells, Row, SheetCell},
};
pub(crate) use guard::format_of_package;

/// Rows in a batch.
const BATCH_ROWS: usize = 256;
/// Bytes in a batch, about.
const BATCH_BYTES: usize = 1 << 20;
/// Batches that may wait for the reader.
const BATCHES: usize = 4;

/// A row as a parser delivers it.
#[derive(Clone, Default)]
struct SheetRow {
    /// Counts from 0 and includes blank rows.
    index: u32,
    cells: Vec<SheetCell>,
    /// How much the cells hold, about.
    bytes: usize,
    /// Cells were left out because there was too much in them.
    too_long: bool,
}

impl SheetRow {
    fn at(index: u32) -> Self {
        Self { index, ..Self::default() }
    }

    /// Puts a cell into its column. Of what lies far outside the table, only that it is there matters.
    fn place(&mut self, column: usize, cell: SheetCell, limits: &Limits) {
        let column = column.min(limits.max_columns);
        self.bytes += size_of::<SheetCell>();
        if let SheetCell::Text(text) = &cell {
            self.bytes += text.len();
        }
        if self.bytes > limits.max_row_bytes {
            self.too_long = true;
            return;
        }
        if self.cells.len() <= column {
            self.cells.resize(column + 1, SheetCell::Empty);
        }
        self.cells[column] = cell;
    }

    fn is_blank(&self) -> bool {
        !self.too_long && self.cells.iter().all(SheetCell::is_blank)
    }
}

enum Message {
    Opened { sheets: Vec<String>, sheet: String, rows: Option<u64> },
    Rows(Vec<SheetRow>),
    Failed(FileError),
    Done,
}

pub(crate) struct SheetReader {
    messages: Receiver<Message>,
    batch: std::vec::IntoIter<SheetRow>,
    ended: bool,
    /// The sheet's column that is the file's first.
    first_column: usize,
    columns: usize,
    /// How many rows the sheet claims to have.
    rows: Option<u64>,
    last_index: u64,
    pub(crate) sheets: Vec<String>,
    pub(crate) sheet: String,
}

impl SheetReader {
    pub(crate) fn open(
        source: Box<dyn Source>,
        format: Format,
        sheet: Option<&str>,
        limits: &Limits,
    ) -> Result<Self, FileError> {
        let (sender, messages) = sync_channel(BATCHES);
        let (sheet, limits) = (sheet.map(str::to_owned), *limits);
        thread::Builder::new()
            .name("sheet-reader".to_owned())
            .spawn(move || run(source, format, sheet.as_deref(), &limits, sender))?;
        match messages.recv() {
            Ok(Message::Opened { sheets, sheet, rows }) => Ok(Self {
                messages,
                batch: Vec::new().into_iter(),
                ended: false,
                first_column: 0,
                columns: 0,
                rows,
                last_index: 0,
                sheets,
                sheet,
            }),
            Ok(Message::Failed(error)) => Err(error),
            _ => Err(stopped()),
        }
    }

    /// Reads the names of the columns, or numbers them after the first rows.
    pub(crate) fn read_columns(
        &mut self,
        has_header: bool,
        limits: &Limits,
    ) -> Result<(Vec<String>, Vec<Warning>), FileError> {
        if has_header {
            let Some(header) = self.next_filled()? else {
                return Ok((Vec::new(), Vec::new()));
            };
            let (first, end) = extent(&header.cells);
            self.first_column = first;
            let names = header.cells.into_iter().take(end).skip(first).map(SheetCell::into_name).collect();
            let (columns, warnings) = name_columns(names, limits)?;
            self.columns = columns.len();
            return Ok((columns, warnings));
        }
        self.receive()?;
        let extents =
            self.batch.as_slice().iter().map(|row| extent(&row.cells)).filter(|(first, end)| first < end);
        let (first, end) = extents.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or_default();
        self.first_column = first;
        self.columns = end - first;
        Ok((number_columns(self.columns, limits)?, Vec::new()))
    }

    /// Reads the next row that is not blank; `false` at the end.
    pub(crate) fn next(&mut self, row: &mut Row) -> Result<bool, FileError> {
        row.clear();
        let Some(SheetRow { index, mut cells, too_long, .. }) = self.next_filled()? else {
            return Ok(false);
        };
        row.line = Some(u64::from(index) + 1);
        let (first, end) = extent(&cells);
        if too_long {
            row.problem = Some(RowProblem::new("row_too_long", "the row's cells hold more than a row may"));
        } else if first < self.first_column || end > self.first_column + self.columns {
            row.problem = Some(RowProblem::ragged(self.columns, end - first.min(self.first_column)));
            cells.truncate(end);
        } else {
            cells.resize(self.first_column + self.columns, SheetCell::Empty);
            cells.drain(..self.first_column);
        }
        row.cells = Cells::Sheet(cells);
        Ok(true)
    }

    /// The share of the sheet that was read, as the numerator and denominator.
    pub(crate) fn progress(&self) -> Option<(u64, u64)> {
        if self.ended {
            return Some((1, 1));
        }
        let rows = self.rows.filter(|rows| *rows > 0)?;
        Some((self.last_index.min(rows), rows))
    }

    fn next_filled(&mut self) -> Result<Option<SheetRow>, FileError> {
        loop {
            for row in self.batch.by_ref() {
                self.last_index = u64::from(row.index) + 1;
                if !row.is_blank() {
                    return Ok(Some(row));
                }
            }
            if !self.receive()? {
                return Ok(None);
            }
        }
    }

    fn receive(&mut self) -> Result<bool, FileError> {
        if self.ended {
            return Ok(false);
        }
        match self.messages.recv() {
            Ok(Message::Rows(rows)) => {
                self.batch = rows.into_iter();
                Ok(true)
            }
            Ok(Message::Done) => {
                self.ended = true;
                Ok(false)
            }
            Ok(Message::Failed(error)) => Err(error),
            Ok(Message::Opened { .. }) | Err(_) => Err(stopped()),
        }
    }
}

fn stopped() -> FileError {
    FileError::Corrupt("the workbook can't be read".to_owned())
}

/// From the first cell that is not blank to behind the last.
fn extent(cells: &[SheetCell]) -> (usize, usize) {
    let filled = |cell: &SheetCell| !cell.is_blank();
    match (cells.iter().position(filled), cells.iter().rposition(filled)) {
        (Some(first), Some(last)) => (first, last + 1),
        _ => (0, 0),
    }
}

fn run(
    source: Box<dyn Source>,
    format: Format,
    sheet: Option<&str>,
    limits: &Limits,
    sender: SyncSender<Message>,
) {
    let mut out = Output { sender, batch: Vec::new(), bytes: 0 };
    // What a panic leaves behind is dropped with the thread, so nothing broken is seen again.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        match format {
            Format::Xls => xls::read(source, sheet, limits, &mut out)?,
            Format::Ods => ods::read(guard::check(source, limits)?, sheet, limits, &mut out)?,
            _ => xlsx::read(guard::check(source, limits)?, sheet, limits, &mut out)?,
        }
        out.flush()
    }));
    let last = match outcome {
        Ok(Ok(())) => Message::Done,
        Ok(Err(Stop::File(error))) => Message::Failed(error),
        Ok(Err(Stop::NobodyListens)) => return,
        Err(_) => Message::Failed(FileError::Corrupt("its parser gave up".to_owned())),
    };
    // The reader may have been dropped; then the result is not needed.
    let _ = out.sender.send(last);
}

/// Why a parser stops early.
enum Stop {
    File(FileError),
    /// The reader was dropped.
    NobodyListens,
}

impl<E: Into<FileError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::File(error.into())
    }
}

/// Where parsers put their rows.
struct Output {
    sender: SyncSender<Message>,
    batch: Vec<SheetRow>,
    bytes: usize,
}

impl Output {
    fn opened(&mut self, sheets: Vec<String>, sheet: String, rows: Option<u64>) -> Result<(), Stop> {
        self.send(Message::Opened { sheets, sheet, rows })
    }

    fn row(&mut self, row: SheetRow) -> Result<(), Stop> {
        self.bytes += row.bytes;
        self.batch.push(row);
        if self.batch.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Stop> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        self.send(Message::Rows(batch))
    }

    fn send(&mut self, message: Message) -> Result<(), Stop> {
        self.sender.send(message).map_err(|_| Stop::NobodyListens)
    }
}

/// The sheet asked for, or the first.
fn choose(sheets: &[String], wanted: Option<&str>) -> Result<String, FileError> {
    match wanted {
        None => {
            sheets.first().cloned().ok_or_else(|| FileError::Corrupt("the workbook has no sheets".to_owned()))
        }
        Some(wanted) if sheets.iter().any(|sheet| sheet == wanted) => Ok(wanted.to_owned()),
        Some(wanted) => Err(FileError::NoSuchSheet { wanted: wanted.to_owned(), sheets: sheets.to_vec() }),
    }
}

/// A day, unless there is a time of day.
fn date_or_time(at: NaiveDateTime) -> SheetCell {
    if at.time() == NaiveTime::MIN { SheetCell::Date(at.date()) } else { SheetCell::DateTime(at) }
}
