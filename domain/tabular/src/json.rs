//! JSON in three shapes: an array of objects (alone or as a member of an object), one object a line, and GeoJSON
//! features. Elements are found by a scanner that never nests, then parsed one by one; a bad one is a problem of its
//! row, and depth is limited by the parser.

mod scan;

use serde_json::{Map, Value};

use crate::{
    FileError, Format, RowProblem,
    row::{Cells, Row},
    window::Window,
};
use scan::Scanner;

pub(crate) struct JsonReader {
    window: Window,
    format: Format,
    columns: Vec<String>,
    max_row_bytes: usize,
    line: u64,
    ended: bool,
}

/// What a row turned out to be.
enum Next {
    Object(Map<String, Value>),
    /// The row has a problem.
    Bad,
    End,
}

/// One element as it stands in the window.
enum Element {
    Whole(usize),
    TooLong,
    Truncated,
}

impl JsonReader {
    /// A reader in front of the first row.
    pub(crate) fn open(window: Window, format: Format, max_row_bytes: usize) -> Result<Self, FileError> {
        let mut reader = Self::resume(window, format, 0, max_row_bytes);
        if format != Format::Ndjson {
            reader.enter()?;
        }
        Ok(reader)
    }

    /// A reader whose window stands between two rows.
    pub(crate) fn resume(window: Window, format: Format, line: u64, max_row_bytes: usize) -> Self {
        Self { window, format, columns: Vec::new(), max_row_bytes, line, ended: false }
    }

    pub(crate) fn with_columns(mut self, columns: Vec<String>) -> Self {
        self.columns = columns;
        self
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
        match self.next_object(row)? {
            Next::End => return Ok(false),
            Next::Object(object) => self.fill_row(row, object),
            Next::Bad => {}
        }
        Ok(true)
    }

    /// The names of the columns that the next `max_rows` rows ask for, looking at no more than `max_bytes`.
    pub(crate) fn collect_columns(
        &mut self,
        max_rows: usize,
        max_bytes: u64,
        max_columns: usize,
    ) -> Result<Vec<String>, FileError> {
        let mut row = Row::default();
        let mut columns: Vec<String> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let mut has_id = false;
        for _ in 0..max_rows {
            let next = self.next_object(&mut row)?;
            row.clear();
            let mut object = match next {
                Next::Object(object) => object,
                Next::Bad => continue,
                Next::End => break,
            };
            has_id |= self.format == Format::GeoJson && object.contains_key("id");
            if self.format == Format::GeoJson {
                object = properties(&mut object);
            }
            for (name, _) in object {
                if !name.trim().is_empty()
                    && name.len() <= 255
                    && !name.contains('\0')
                    && seen.insert(name.clone())
                {
                    columns.push(name);
                }
            }
            if columns.len() > max_columns {
                return Err(FileError::TooManyColumns { found: columns.len(), most: max_columns });
            }
            if self.window.offset() > max_bytes {
                break;
            }
        }
        if self.format == Format::GeoJson {
            if has_id && seen.insert("id".to_owned()) {
                columns.insert(0, "id".to_owned());
            }
            let mut geometry = "geometry".to_owned();
            while !seen.insert(geometry.clone()) {
                geometry.push('_');
            }
            columns.push(geometry);
        }
        Ok(columns)
    }

    fn next_object(&mut self, row: &mut Row) -> Result<Next, FileError> {
        if self.ended {
            return Ok(Next::End);
        }
        let element =
            if self.format == Format::Ndjson { self.next_line(row)? } else { self.next_element(row)? };
        let len = match element {
            None => {
                self.ended = true;
                return Ok(Next::End);
            }
            Some(Element::Whole(len)) => len,
            Some(Element::TooLong) => {
                row.problem = Some(RowProblem::too_long(self.max_row_bytes));
                return Ok(Next::Bad);
            }
            Some(Element::Truncated) => {
                self.ended = true;
                row.problem =
                    Some(RowProblem::new("truncated_file", "the file ends in the middle of this row"));
                return Ok(Next::Bad);
            }
        };
        let json = &self.window.data()[..len];
        let next = match parse(json) {
            Ok(object) => {
                // Valid JSON is valid UTF-8.
                row.raw = Some(String::from_utf8_lossy(json.trim_ascii()).into_owned());
                Next::Object(object)
            }
            Err(problem) => {
                row.keep_raw(json.trim_ascii());
                row.problem = Some(problem);
                Next::Bad
            }
        };
        self.consume(len);
        Ok(next)
    }

    fn consume(&mut self, len: usize) {
        self.line += memchr::memchr_iter(b'\n', &self.window.data()[..len]).count() as u64;
        self.window.consume(len);
    }

    /// The next line that is not blank.
    fn next_line(&mut self, row: &mut Row) -> Result<Option<Element>, FileError> {
        let mut scanned = 0;
        loop {
            let data = self.window.data();
            if let Some(at) = memchr::memchr(b'\n', &data[scanned..]) {
                let len = scanned + at + 1;
                if data[..len].trim_ascii().is_empty() {
                    self.consume(len);
                    scanned = 0;
                    continue;
                }
                row.line = Some(self.line + 1);
                if len > self.max_row_bytes {
                    row.keep_raw(&self.window.data()[..len]);
                    self.consume(len);
                    return Ok(Some(Element::TooLong));
                }
                return Ok(Some(Element::Whole(len)));
            }
            scanned = data.len();
            if scanned > self.max_row_bytes {
                row.line = Some(self.line + 1);
                row.keep_raw(data);
                self.discard_line()?;
                return Ok(Some(Element::TooLong));
            }
            if !self.window.fill()? {
                let rest = self.window.data();
                row.line = Some(self.line + 1);
                return Ok((!rest.trim_ascii().is_empty()).then_some(Element::Whole(rest.len())));
            }
        }
    }

    fn discard_line(&mut self) -> Result<(), FileError> {
        loop {
            let data = self.window.data();
            if let Some(at) = memchr::memchr(b'\n', data) {
                self.consume(at + 1);
                return Ok(());
            }
            self.consume(data.len());
            if !self.window.fill()? {
                return Ok(());
            }
        }
    }

    /// The next element of the array that the window stands in.
    fn next_element(&mut self, row: &mut Row) -> Result<Option<Element>, FileError> {
        loop {
            match self.peek_solid()? {
                Some(b',') => self.window.consume(1),
                Some(b']') => return Ok(None),
                Some(_) => break,
                None => {
                    row.line = Some(self.line + 1);
                    return Ok(Some(Element::Truncated));
                }
            }
        }
        row.line = Some(self.line + 1);
        let mut scanner = Scanner::default();
        let mut scanned = 0;
        loop {
            if let Some(end) = scanner.find_end(&self.window.data()[scanned..]) {
                // A stray bracket is no value; taken as one, it is reported and reading goes on behind it.
                return Ok(Some(Element::Whole((scanned + end).max(1))));
            }
            scanned = self.window.data().len();
            if scanned > self.max_row_bytes {
                row.keep_raw(self.window.data());
                self.consume(scanned);
                self.discard_value(scanner)?;
                return Ok(Some(Element::TooLong));
            }
            if !self.window.fill()? {
                row.keep_raw(self.window.data());
                return Ok(Some(Element::Truncated));
            }
        }
    }

    fn peek_solid(&mut self) -> Result<Option<u8>, FileError> {
        loop {
            let data = self.window.data();
            if let Some(at) = data.iter().position(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n')) {
                self.consume(at);
                return Ok(self.window.data().first().copied());
            }
            self.consume(data.len());
            if !self.window.fill()? {
                return Ok(None);
            }
        }
    }

    /// Runs over the rest of a value that the scanner has begun.
    fn discard_value(&mut self, mut scanner: Scanner) -> Result<(), FileError> {
        loop {
            if let Some(end) = scanner.find_end(self.window.data()) {
                self.consume(end);
                return Ok(());
            }
            self.consume(self.window.data().len());
            if !self.window.fill()? {
                return Ok(());
            }
        }
    }

    /// Moves into the array that holds the rows.
    fn enter(&mut self) -> Result<(), FileError> {
        match self.peek_solid()? {
            Some(b'[') if self.format == Format::Json => {
                self.window.consume(1);
                Ok(())
            }
            Some(b'{') => {
                self.window.consume(1);
                self.enter_member()
            }
            Some(_) => Err(FileError::not(self.format, "something else")),
            None => Err(FileError::Empty),
        }
    }

    /// Looks for the member that holds the rows: `features`, or the first array of objects.
    fn enter_member(&mut self) -> Result<(), FileError> {
        let damaged = || FileError::Corrupt("the JSON object around the rows is broken".to_owned());
        loop {
            match self.peek_solid()? {
                Some(b',') => {
                    self.window.consume(1);
                    continue;
                }
                Some(b'"') => {}
                Some(b'}') => {
                    let missing = match self.format {
                        Format::GeoJson => "JSON without an array of features",
                        _ => "an object without an array of objects",
                    };
                    return Err(FileError::not(self.format, missing));
                }
                _ => return Err(damaged()),
            }
            let name_len = self.whole_value()?.ok_or_else(damaged)?;
            let name: String =
                serde_json::from_slice(&self.window.data()[..name_len]).map_err(|_| damaged())?;
            self.consume(name_len);
            if self.peek_solid()? != Some(b':') {
                return Err(damaged());
            }
            self.window.consume(1);
            if self.peek_solid()? == Some(b'[') && self.holds_rows(&name)? {
                self.window.consume(1);
                return Ok(());
            }
            if self.window.data().is_empty() {
                return Err(damaged());
            }
            self.discard_value(Scanner::default())?;
        }
    }

    fn whole_value(&mut self) -> Result<Option<usize>, FileError> {
        const MAX_NAME: usize = 1 << 20;
        let mut scanner = Scanner::default();
        let mut scanned = 0;
        loop {
            if let Some(end) = scanner.find_end(&self.window.data()[scanned..]) {
                return Ok(Some(scanned + end));
            }
            scanned = self.window.data().len();
            if scanned > MAX_NAME || !self.window.fill()? {
                return Ok(None);
            }
        }
    }

    /// Whether the array in front of the window is the one with the rows.
    fn holds_rows(&mut self, name: &str) -> Result<bool, FileError> {
        if self.format == Format::GeoJson {
            return Ok(name == "features");
        }
        loop {
            let inside = &self.window.data()[1..];
            if let Some(first) = inside.iter().find(|b| !b.is_ascii_whitespace()) {
                return Ok(*first == b'{');
            }
            if inside.len() > 1 << 20 || !self.window.fill()? {
                return Ok(false);
            }
        }
    }

    fn fill_row(&self, row: &mut Row, mut object: Map<String, Value>) {
        if !matches!(row.cells, Cells::Json(_)) {
            row.cells = Cells::Json(Vec::with_capacity(self.columns.len()));
        }
        let Cells::Json(values) = &mut row.cells else {
            return;
        };
        if self.format == Format::GeoJson {
            let mut members = properties(&mut object);
            let (own, geometry) = self.columns.split_at(self.columns.len().saturating_sub(1));
            for name in own {
                let value =
                    members.remove(name).or_else(|| if name == "id" { object.remove("id") } else { None });
                values.push(value.unwrap_or_default());
            }
            if !geometry.is_empty() {
                values.push(object.remove("geometry").unwrap_or_default());
            }
            row.extra_keys.extend(members.into_iter().map(|(name, _)| name));
        } else {
            values.extend(self.columns.iter().map(|name| object.remove(name).unwrap_or_default()));
            row.extra_keys.extend(object.into_iter().map(|(name, _)| name));
        }
    }
}

fn properties(feature: &mut Map<String, Value>) -> Map<String, Value> {
    match feature.remove("properties") {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

fn parse(json: &[u8]) -> Result<Map<String, Value>, RowProblem> {
    match serde_json::from_slice(json) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(RowProblem::new("not_an_object", "the row is not a JSON object")),
        Err(_) if std::str::from_utf8(json).is_err() => {
            Err(RowProblem::new("bad_encoding", "the row is not valid UTF-8"))
        }
        Err(error) => Err(RowProblem::new("bad_json", format!("the row is not JSON: {error}"))),
    }
}
