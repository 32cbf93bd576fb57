//! Text with delimiters, after RFC 4180: quoted cells may hold delimiters, line breaks and doubled quotes.
//! A row that can't be read costs at most its first line; the next one begins right after it.

use crate::{
    FileError, Position, Resolved, RowProblem,
    row::{Cells, Row},
    window::Window,
};

pub(crate) struct DelimitedReader {
    window: Window,
    parser: csv_core::Reader,
    columns: usize,
    max_row_bytes: usize,
    /// The unescaped cells of the row being read, and where each ends.
    cells: Vec<u8>,
    ends: Vec<usize>,
    /// Lines that lie behind the window's start.
    line: u64,
    /// Whether cells have marks that are taken off, see [`crate::formula`].
    has_marks: bool,
}

/// End of the reading of one record.
enum Record {
    Read {
        len: usize,
        cells: usize,
        bytes: usize,
    },
    /// The end of the text inside a quoted cell.
    Unterminated,
    TooLong,
}

impl DelimitedReader {
    pub(crate) fn new(window: Window, delimiter: u8, quote: u8, max_row_bytes: usize) -> Self {
        let parser = csv_core::ReaderBuilder::new().delimiter(delimiter).quote(quote).build();
        Self {
            window,
            parser,
            columns: 0,
            max_row_bytes,
            cells: vec![0; 4 << 10],
            ends: vec![0; 64],
            line: 0,
            has_marks: true,
        }
    }

    pub(crate) fn with_marks(mut self, has_marks: bool) -> Self {
        self.has_marks = has_marks;
        self
    }

    /// Continues behind `position`.
    pub(crate) fn starting_at(mut self, position: Position, resolved: &Resolved) -> Self {
        self.line = position.line;
        self.columns = resolved.columns.len();
        self
    }

    pub(crate) fn set_columns(&mut self, columns: usize) {
        self.columns = columns;
    }

    pub(crate) fn window(&self) -> &Window {
        &self.window
    }

    pub(crate) fn into_window(self) -> Window {
        self.window
    }

    pub(crate) fn position(&self) -> (u64, u64) {
        (self.window.offset(), self.line)
    }

    /// Reads the next row; `false` at the end.
    pub(crate) fn next(&mut self, row: &mut Row) -> Result<bool, FileError> {
        row.clear();
        row.has_marks = self.has_marks;
        if !self.skip_line_breaks()? {
            return Ok(false);
        }
        row.line = Some(self.line + 1);
        match self.read_record()? {
            Record::Read { len, cells, bytes } => {
                self.take_record(row, len, cells, bytes);
            }
            Record::Unterminated => {
                row.problem = Some(RowProblem::new("unterminated_quote", "a quoted cell is never closed"));
                self.take_first_line(row)?;
            }
            Record::TooLong => {
                row.problem = Some(RowProblem::too_long(self.max_row_bytes));
                self.take_first_line(row)?;
            }
        }
        Ok(true)
    }

    fn skip_line_breaks(&mut self) -> Result<bool, FileError> {
        loop {
            let data = self.window.data();
            let breaks = data.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            let found = breaks < data.len();
            self.line += count_lines(&data[..breaks]);
            self.window.consume(breaks);
            if found {
                return Ok(true);
            }
            if !self.window.fill()? {
                return Ok(false);
            }
        }
    }

    fn read_record(&mut self) -> Result<Record, FileError> {
        use csv_core::ReadRecordResult::{End, InputEmpty, OutputEndsFull, OutputFull, Record as Whole};
        self.parser.reset();
        let (mut bytes, mut len, mut cells) = (0, 0, 0);
        loop {
            let visible = self.window.data();
            let (at_end, input) = if bytes < visible.len() {
                (false, &visible[bytes..])
            } else if bytes > self.max_row_bytes {
                return Ok(Record::TooLong);
            } else if self.window.fill()? {
                continue;
            } else {
                // A line break ends any record, except inside quotes.
                (true, &b"\n"[..])
            };
            let (result, read, written, ended) =
                self.parser.read_record(input, &mut self.cells[len..], &mut self.ends[cells..]);
            if !at_end {
                bytes += read;
            }
            len += written;
            cells += ended;
            match result {
                Whole | End if bytes > self.max_row_bytes => return Ok(Record::TooLong),
                Whole | End => return Ok(Record::Read { len, cells, bytes }),
                InputEmpty if at_end => return Ok(Record::Unterminated),
                InputEmpty => {}
                OutputFull => self.cells.resize(self.cells.len() * 2, 0),
                OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
            }
        }
    }

    fn take_record(&mut self, row: &mut Row, len: usize, count: usize, bytes: usize) {
        let ends = &self.ends[..count];
        let record = &self.window.data()[..bytes];
        if count != self.columns {
            row.problem = Some(RowProblem::ragged(self.columns, count));
        }
        // A break inside quotes or at the record's end; that of a "\r\n" is counted with the next row's.
        self.line += count_lines(record);
        match std::str::from_utf8(&self.cells[..len]) {
            // Text that is whole only across a delimiter was broken in both of its cells.
            Ok(valid) if ends.iter().all(|end| valid.is_char_boundary(*end)) => {
                if !matches!(row.cells, Cells::Text { .. }) {
                    row.cells = Cells::default();
                }
                if let Cells::Text { text, ends: row_ends } = &mut row.cells {
                    text.push_str(valid);
                    row_ends.extend_from_slice(ends);
                }
            }
            _ => {
                row.problem = Some(RowProblem::new("bad_encoding", "the row is not valid UTF-8"));
                row.keep_raw(record.trim_ascii_end());
            }
        }
        self.window.consume(bytes);
    }

    /// Gives up on a record: only its first line is taken, since what follows may well be good.
    fn take_first_line(&mut self, row: &mut Row) -> Result<(), FileError> {
        let line_end = memchr::memchr(b'\n', self.window.data());
        let shown = line_end.unwrap_or(self.window.data().len());
        row.keep_raw(self.window.data()[..shown].trim_ascii_end());
        let mut line_end = line_end;
        loop {
            if let Some(at) = line_end {
                self.window.consume(at + 1);
                self.line += 1;
                return Ok(());
            }
            self.window.consume(self.window.data().len());
            if !self.window.fill()? {
                return Ok(());
            }
            line_end = memchr::memchr(b'\n', self.window.data());
        }
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}
