//! Excel's workbooks before 2007. Their parser builds a dense table of each sheet from whatever coordinates its
//! records name, so the records are measured first.

use std::io::{BufReader, Read, SeekFrom};

use calamine::{Data, Reader as _, Xls, XlsError};

use super::{
    Output, SheetRow, Stop, choose,
    xlsx::{broken_or_unread, cell_of_data, names},
};
use crate::{FileError, Limits, Source};

pub(super) fn read(
    mut source: Box<dyn Source>,
    wanted: Option<&str>,
    limits: &Limits,
    out: &mut Output,
) -> Result<(), Stop> {
    let len = source.seek(SeekFrom::End(0))?;
    if len > limits.max_held_bytes {
        return Err(FileError::TooLargeInside(format!(
            "{len} bytes, at most {} are read",
            limits.max_held_bytes
        ))
        .into());
    }
    let source = measure(source, limits)?;
    let mut book = Xls::new(BufReader::new(source)).map_err(explain)?;
    let sheets = names(book.sheets_metadata());
    let sheet = choose(&sheets, wanted)?;
    let range = book.worksheet_range(&sheet).map_err(explain)?;
    drop(book);
    let (first_row, first_column) = range.start().unwrap_or_default();
    out.opened(sheets, sheet, range.end().map(|(row, _)| u64::from(row) + 1))?;
    for (index, cells) in (first_row..).zip(range.rows()) {
        let mut row = SheetRow::at(index);
        for (column, cell) in (first_column as usize..).zip(cells).filter(|(_, cell)| **cell != Data::Empty) {
            row.place(column, cell_of_data(cell), limits);
        }
        out.row(row)?;
    }
    Ok(())
}

/// Walks the workbook's records and adds up the tables that their coordinates span.
fn measure(source: Box<dyn Source>, limits: &Limits) -> Result<Box<dyn Source>, FileError> {
    let mut file = cfb::CompoundFile::open(source).map_err(broken_or_unread)?;
    let name = ["/Workbook", "/Book"].into_iter().find(|name| file.is_stream(name)).ok_or_else(|| {
        if file.is_stream("/EncryptedPackage") {
            FileError::Unsupported { found: "password-protected" }
        } else {
            FileError::Unsupported { found: "compound" }
        }
    })?;
    let mut records = Vec::new();
    let stream = file.open_stream(name).map_err(broken_or_unread)?;
    stream.take(limits.max_held_bytes).read_to_end(&mut records).map_err(broken_or_unread)?;
    let most = limits.max_cells;
    if spanned_cells(&records) > most {
        return Err(FileError::TooLargeInside(format!("its sheets span more than {most} cells")));
    }
    Ok(file.into_inner())
}

fn spanned_cells(mut records: &[u8]) -> u64 {
    const BOF: u16 = 0x0809;
    const DIMENSIONS: u16 = 0x0200;
    /// Formulas, numbers, labels, booleans and the like: all begin with their row and column.
    const CELLS: [u16; 9] = [0x0006, 0x0203, 0x0204, 0x00D6, 0x0205, 0x027E, 0x00FD, 0x00BD, 0x0207];
    let mut total = 0_u64;
    let mut sheet = Bounds::default();
    while let Some((kind, rest)) = u16_and_rest(records) {
        let Some((len, rest)) = u16_and_rest(rest) else {
            break;
        };
        let Some((body, rest)) = rest.split_at_checked(usize::from(len)) else {
            break;
        };
        match kind {
            BOF => total = total.saturating_add(std::mem::take(&mut sheet).cells()),
            DIMENSIONS => sheet.include_dimensions(body),
            kind if CELLS.contains(&kind) => {
                if let Some((row, rest)) = u16_and_rest(body)
                    && let Some((column, _)) = u16_and_rest(rest)
                {
                    // A record of several cells spans at most as many columns as it has bytes.
                    let last =
                        if kind == 0x00BD { u64::from(column) + u64::from(len) / 6 } else { column.into() };
                    sheet.include(row.into(), column.into());
                    sheet.include(row.into(), last);
                }
            }
            _ => {}
        }
        records = rest;
    }
    total.saturating_add(sheet.cells())
}

fn u16_and_rest(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_le_bytes(*head), rest))
}

#[derive(Default)]
struct Bounds {
    rows: Option<(u64, u64)>,
    columns: Option<(u64, u64)>,
    declared: u64,
}

impl Bounds {
    fn include(&mut self, row: u64, column: u64) {
        let widen = |bounds: &mut Option<(u64, u64)>, at: u64| {
            *bounds = Some(bounds.map_or((at, at), |(low, high)| (low.min(at), high.max(at))));
        };
        widen(&mut self.rows, row);
        widen(&mut self.columns, column);
    }

    /// The parser reserves what a sheet declares: rows as 32 or 16 bits, then columns as 16.
    fn include_dimensions(&mut self, body: &[u8]) {
        let number = |at: usize, len: usize| {
            body.get(at..at + len)
                .map_or(0, |bytes| bytes.iter().rev().fold(0_u64, |n, b| n << 8 | u64::from(*b)))
        };
        let (rows, columns) = if body.len() >= 14 {
            (number(4, 4).saturating_sub(number(0, 4)), number(10, 2).saturating_sub(number(8, 2)))
        } else {
            (number(2, 2).saturating_sub(number(0, 2)), number(6, 2).saturating_sub(number(4, 2)))
        };
        self.declared = self.declared.max((rows + 1).saturating_mul(columns + 1));
    }

    fn cells(&self) -> u64 {
        let span = |bounds: Option<(u64, u64)>| bounds.map_or(0, |(low, high)| high - low + 1);
        span(self.rows).saturating_mul(span(self.columns)).max(self.declared)
    }
}

fn explain(error: XlsError) -> FileError {
    match error {
        XlsError::Io(error) => broken_or_unread(error),
        XlsError::Password => FileError::Unsupported { found: "password-protected" },
        error => FileError::Corrupt(error.to_string()),
    }
}
