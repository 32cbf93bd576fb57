//! Excel's workbooks since 2007, cell by cell: the sheet is streamed, shared strings are held.

use std::io::{self, BufReader};

use calamine::{Data, DataRef, ExcelDateTime, Reader as _, SheetType, SheetVisible, Xlsx, XlsxError};

use super::{Output, SheetRow, Stop, choose, date_or_time};
use crate::{FileError, Limits, Source, row::SheetCell};

pub(super) fn read(
    source: Box<dyn Source>,
    wanted: Option<&str>,
    limits: &Limits,
    out: &mut Output,
) -> Result<(), Stop> {
    let mut book = Xlsx::new(BufReader::with_capacity(64 << 10, source)).map_err(explain)?;
    let sheets = names(book.sheets_metadata());
    let sheet = choose(&sheets, wanted)?;
    let mut reader = book.worksheet_cells_reader(&sheet).map_err(explain)?;
    let claimed = u64::from(reader.dimensions().end.0);
    out.opened(sheets, sheet, (claimed > 0).then_some(claimed + 1))?;
    let mut row = SheetRow::default();
    while let Some(cell) = reader.next_cell().map_err(explain)? {
        let (index, column) = cell.get_position();
        let value = cell_of(cell.get_value());
        if value == SheetCell::Empty {
            continue;
        }
        if index != row.index {
            out.row(std::mem::replace(&mut row, SheetRow::at(index)))?;
        }
        row.place(column as usize, value, limits);
    }
    out.row(row)
}

/// The names of the sheets with cells, the visible ones first.
pub(super) fn names(sheets: &[calamine::Sheet]) -> Vec<String> {
    let with_cells = || sheets.iter().filter(|sheet| sheet.typ == SheetType::WorkSheet);
    let (visible, hidden): (Vec<_>, Vec<_>) =
        with_cells().partition(|sheet| sheet.visible == SheetVisible::Visible);
    visible.into_iter().chain(hidden).map(|sheet| sheet.name.clone()).collect()
}

pub(super) fn cell_of(value: &DataRef<'_>) -> SheetCell {
    match value {
        DataRef::Empty => SheetCell::Empty,
        DataRef::Int(int) => SheetCell::Int(*int),
        DataRef::Float(float) => SheetCell::Float(*float),
        DataRef::String(text) | DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => {
            SheetCell::Text(text.clone())
        }
        DataRef::SharedString(text) => SheetCell::Text((*text).to_owned()),
        DataRef::Bool(yes) => SheetCell::Bool(*yes),
        DataRef::DateTime(at) => cell_of_time(at),
        DataRef::Error(error) => SheetCell::Text(error.to_string()),
    }
}

pub(super) fn cell_of_data(value: &Data) -> SheetCell {
    match value {
        Data::Empty => SheetCell::Empty,
        Data::Int(int) => SheetCell::Int(*int),
        Data::Float(float) => SheetCell::Float(*float),
        Data::String(text) | Data::DateTimeIso(text) | Data::DurationIso(text) => {
            SheetCell::Text(text.clone())
        }
        Data::Bool(yes) => SheetCell::Bool(*yes),
        Data::DateTime(at) => cell_of_time(at),
        Data::Error(error) => SheetCell::Text(error.to_string()),
    }
}

/// Days, points in time, and times of day or durations, which have no day and stay text.
fn cell_of_time(at: &ExcelDateTime) -> SheetCell {
    if at.is_duration() || (0.0..1.0).contains(&at.as_f64()) {
        let Some(duration) = at.as_duration() else {
            return SheetCell::Float(at.as_f64());
        };
        let seconds = duration.num_seconds();
        let sign = if seconds < 0 { "-" } else { "" };
        let seconds = seconds.unsigned_abs();
        return SheetCell::Text(format!(
            "{sign}{:02}:{:02}:{:02}",
            seconds / 3_600,
            seconds / 60 % 60,
            seconds % 60
        ));
    }
    at.as_datetime().map_or(SheetCell::Float(at.as_f64()), date_or_time)
}

fn explain(error: XlsxError) -> FileError {
    match error {
        XlsxError::Io(error) => broken_or_unread(error),
        XlsxError::Password => FileError::Unsupported { found: "password-protected" },
        error => FileError::Corrupt(error.to_string()),
    }
}

/// Tells a broken file from a source that failed to deliver it.
pub(super) fn broken_or_unread(error: io::Error) -> FileError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            FileError::Corrupt(error.to_string())
        }
        _ => FileError::Io(error),
    }
}
