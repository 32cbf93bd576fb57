//! One row, in buffers that the reader uses again for the next.

use chrono::{NaiveDate, NaiveDateTime};
use fields::Cell;
use serde_json::Value;

use crate::{RowProblem, formula};

/// What most lines of a report fit in.
const LINE: usize = 1 << 10;

/// A row of a file: as many cells as the file has columns, or a problem.
#[derive(Debug, Default)]
pub struct Row {
    pub(crate) number: u64,
    pub(crate) line: Option<u64>,
    pub(crate) problem: Option<RowProblem>,
    pub(crate) extra_keys: Vec<String>,
    /// The row's own text, where it says more than its cells would.
    pub(crate) raw: Option<String>,
    /// Whether its text has marks that are taken off.
    pub(crate) has_marks: bool,
    pub(crate) cells: Cells,
}

/// The cells, in the form in which the format has them.
#[derive(Debug)]
pub(crate) enum Cells {
    Text { text: String, ends: Vec<usize> },
    Json(Vec<Value>),
    Sheet(Vec<SheetCell>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SheetCell {
    Empty,
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Date(NaiveDate),
    DateTime(NaiveDateTime),
}

impl Default for Cells {
    fn default() -> Self {
        Self::Text { text: String::new(), ends: Vec::new() }
    }
}

impl Row {
    /// The row's number among the data rows; the first is 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The line of the file, or the row of the sheet, at which it begins; the first is 1.
    pub fn line(&self) -> Option<u64> {
        self.line
    }

    /// How many cells there are; other than the file's columns only where there is a problem.
    pub fn len(&self) -> usize {
        match &self.cells {
            Cells::Text { ends, .. } => ends.len(),
            Cells::Json(values) => values.len(),
            Cells::Sheet(cells) => cells.len(),
        }
    }

    /// Whether there are no cells at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no cell holds anything.
    pub fn is_blank(&self) -> bool {
        self.cells().all(|cell| cell.is_blank())
    }

    /// The cell of a column; empty where the row has none.
    pub fn cell(&self, index: usize) -> Cell<'_> {
        match &self.cells {
            Cells::Text { text, ends } => {
                let Some(&end) = ends.get(index) else {
                    return Cell::Empty;
                };
                let start = index.checked_sub(1).map_or(0, |before| ends[before]);
                match &text[start..end] {
                    "" => Cell::Empty,
                    text if self.has_marks => Cell::Text(formula::unmarked(text)),
                    text => Cell::Text(text),
                }
            }
            Cells::Json(values) => values.get(index).map_or(Cell::Empty, Cell::from),
            Cells::Sheet(cells) => cells.get(index).map_or(Cell::Empty, SheetCell::as_cell),
        }
    }

    /// All cells in the order of the columns.
    pub fn cells(&self) -> impl Iterator<Item = Cell<'_>> {
        (0..self.len()).map(|index| self.cell(index))
    }

    /// What is wrong with the row as a whole; its cells are then not to be trusted.
    pub fn problem(&self) -> Option<&RowProblem> {
        self.problem.as_ref()
    }

    /// Members of a JSON row that no column stands for. They appear after the first 1,000 rows only.
    pub fn extra_keys(&self) -> &[String] {
        &self.extra_keys
    }

    /// The row as text for an error report: its JSON, or its cells joined as CSV, with marks where a spreadsheet would
    /// take them for formulas.
    pub fn original(&self) -> String {
        if let Some(raw) = &self.raw {
            return raw.clone();
        }
        csv_of(self.cells())
    }

    /// Whether the text of the cells is ASCII, as far as cells are text.
    pub(crate) fn is_ascii(&self) -> bool {
        match &self.cells {
            Cells::Text { text, .. } => text.is_ascii(),
            _ => self.raw.as_ref().is_none_or(|raw| raw.is_ascii()),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.line = None;
        self.problem = None;
        self.extra_keys.clear();
        self.raw = None;
        self.has_marks = false;
        match &mut self.cells {
            Cells::Text { text, ends } => {
                text.clear();
                ends.clear();
            }
            Cells::Json(values) => values.clear(),
            Cells::Sheet(cells) => cells.clear(),
        }
    }

    /// Keeps the beginning of what could not be read as a row.
    pub(crate) fn keep_raw(&mut self, bytes: &[u8]) {
        const MAX_ORIGINAL: usize = 64 << 10;
        self.raw = Some(String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_ORIGINAL)]).into_owned());
    }
}

impl SheetCell {
    fn as_cell(&self) -> Cell<'_> {
        match self {
            Self::Empty => Cell::Empty,
            Self::Text(text) => Cell::Text(text),
            Self::Int(int) => Cell::Int(*int),
            Self::Float(float) => Cell::Float(*float),
            Self::Bool(yes) => Cell::Bool(*yes),
            Self::Date(date) => Cell::Date(*date),
            Self::DateTime(at) => Cell::DateTime(*at),
        }
    }

    pub(crate) fn is_blank(&self) -> bool {
        self.as_cell().is_blank()
    }

    /// The cell as the name of a column.
    pub(crate) fn into_name(self) -> String {
        match self {
            Self::Text(text) => text,
            other => display(other.as_cell()),
        }
    }
}

/// A cell as a person would write it.
pub(crate) fn display(cell: Cell<'_>) -> String {
    match cell {
        Cell::Empty => String::new(),
        Cell::Text(text) => text.to_owned(),
        Cell::Int(int) => int.to_string(),
        Cell::Float(float) => float.to_string(),
        Cell::Bool(yes) => yes.to_string(),
        Cell::Date(date) => date.to_string(),
        Cell::DateTime(at) => at.to_string(),
        Cell::Json(value) => value.to_string(),
    }
}

/// The cells as one line of CSV, without its end.
fn csv_of<'a>(cells: impl Iterator<Item = Cell<'a>>) -> String {
    let mut line = csv::WriterBuilder::new().buffer_capacity(LINE).from_writer(Vec::new());
    for cell in cells {
        let written = match cell {
            Cell::Text(text) => line.write_field(&*formula::marked(text)),
            other => line.write_field(&*formula::marked(&display(other))),
        };
        written.expect("writing to memory can't fail");
    }
    // The end of the record closes the last cell's quotes.
    line.write_record(None::<&[u8]>).expect("writing to memory can't fail");
    let mut line = line.into_inner().expect("writing to memory can't fail");
    line.pop();
    String::from_utf8(line).expect("cells are text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_cells_is_whole() {
        let line =
            csv_of([Cell::Text("a,b"), Cell::Empty, Cell::Int(7), Cell::Text("two\nlines")].into_iter());
        assert_eq!(line, "\"a,b\",,7,\"two\nlines\"");
        assert_eq!(csv_of([Cell::Text("=1+1"), Cell::Int(-5)].into_iter()), "'=1+1,-5");
        assert_eq!(csv_of([Cell::Text("say \"hi\"")].into_iter()), "\"say \"\"hi\"\"\"");
    }
}
