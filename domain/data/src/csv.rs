//! Writing CSV (RFC 4180), by the core of the `csv` crate: cell by cell into a buffer, since a line of an
//! error report ends with text that is CSV already.

use std::sync::LazyLock;

use tabular::formula;

/// The end of a line.
pub const LINE_END: &[u8] = b"\r\n";

/// Knows which bytes need quotes; holds no state of a row.
static COMMA_SEPARATED: LazyLock<csv_core::Writer> = LazyLock::new(csv_core::Writer::new);

/// Appends a cell that a spreadsheet takes for no formula, in quotes where it needs them. Imports read it as the text
/// that is given here.
pub fn push_safe_cell(out: &mut Vec<u8>, text: &str) {
    push_cell(out, &formula::marked(text));
}

/// Appends a cell, in quotes where it needs them.
pub fn push_cell(out: &mut Vec<u8>, text: &str) {
    let cell = text.as_bytes();
    // White space at the ends would be lost on some readers.
    let is_padded = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_whitespace);
    if !COMMA_SEPARATED.should_quote(cell) && !is_padded(cell.first()) && !is_padded(cell.last()) {
        out.extend_from_slice(cell);
        return;
    }
    out.push(b'"');
    let start = out.len();
    out.resize(start + 2 * cell.len(), 0); // enough even if it is all quotes
    let (_, _, written) = csv_core::quote(cell, &mut out[start..], b'"', b'"', true);
    out.truncate(start + written);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cell_is_quoted_only_where_it_must_be() {
        let cases = [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("\"\"", "\"\"\"\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            (" kept ", "\" kept \""),
        ];
        for (text, written) in cases {
            let mut out = Vec::new();
            push_cell(&mut out, text);
            assert_eq!(String::from_utf8(out).unwrap(), written);
        }
    }

    /// The cells of a file's first row, as an import reads them.
    fn imported(file: Vec<u8>) -> Vec<String> {
        let options = tabular::Options {
            format: Some(tabular::Format::Csv),
            delimiter: Some(','),
            encoding: Some("utf-8".to_owned()),
            ..tabular::Options::default()
        };
        let mut reader = tabular::Reader::open(std::io::Cursor::new(file), &options, "a.csv").unwrap();
        let row = reader.next_row().unwrap().unwrap();
        assert!(row.problem().is_none());
        let text = |cell| match cell {
            tabular::Cell::Text(text) => text.to_owned(),
            _ => String::new(),
        };
        row.cells().map(text).collect()
    }

    proptest! {
        #[test]
        fn an_import_reads_back_the_cells_of_a_safe_file(
            cells in prop::collection::vec("['=+@0-9a,\"\\r\\n\t ＝.-]{0,8}", 3)
        ) {
            let mut file = b"a,b,c\r\n".to_vec();
            for (n, cell) in cells.iter().enumerate() {
                if n > 0 {
                    file.push(b',');
                }
                push_safe_cell(&mut file, cell);
            }
            file.extend_from_slice(LINE_END);
            prop_assert_eq!(imported(file), cells);
        }

        #[test]
        fn another_reader_gets_the_cells_that_were_written(
            cells in prop::collection::vec("[a-z,\"\\r\\n é;]{0,8}", 2..5)
        ) {
            let mut line = Vec::new();
            for (n, cell) in cells.iter().enumerate() {
                if n > 0 {
                    line.push(b',');
                }
                push_cell(&mut line, cell);
            }
            line.extend_from_slice(LINE_END);
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_slice());
            let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(rows, [csv::StringRecord::from(cells)]);
        }
    }
}
