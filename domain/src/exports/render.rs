//! Records as lines of CSV (RFC 4180, UTF-8): the record's id, then its fields.
//!
//! Text stands as it is, other values as their JSON, so that an import reads back what an export wrote.

use std::{borrow::Cow, collections::HashMap, fmt};

use serde::{
    Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::Column;
use crate::{RecordId, csv};

/// Writes records of one export.
#[derive(Debug)]
pub struct CsvRows {
    columns: Vec<Column>,
    index: HashMap<String, usize>,
}

impl CsvRows {
    /// For these columns.
    #[must_use]
    pub fn new(columns: Vec<Column>) -> Self {
        let index = columns.iter().enumerate().map(|(n, column)| (column.key.clone(), n)).collect();
        Self { columns, index }
    }

    /// Appends the header.
    pub fn header(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"id");
        for column in &self.columns {
            out.push(b',');
            csv::push_cell(out, &column.label);
        }
        out.extend_from_slice(csv::LINE_END);
    }

    /// Appends records, given with their data as the text of a JSON object.
    ///
    /// # Errors
    /// When that text is no JSON object, which a `jsonb` object's text always is.
    pub fn rows(&self, records: &[(RecordId, String)], out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let mut cells: Vec<Option<&RawValue>> = vec![None; self.columns.len()];
        let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
        for (record, data) in records {
            cells.fill(None);
            let members = Members { index: &self.index, cells: &mut cells };
            serde_json::Deserializer::from_str(data).deserialize_map(members)?;
            out.extend_from_slice(record.0.hyphenated().encode_lower(&mut id).as_bytes());
            for cell in &cells {
                out.push(b',');
                if let Some(value) = cell {
                    csv::push_cell(out, &text_of(value)?);
                }
            }
            out.extend_from_slice(csv::LINE_END);
        }
        Ok(())
    }
}

/// What stands in the cell of a value.
fn text_of(value: &RawValue) -> Result<Cow<'_, str>, serde_json::Error> {
    let json = value.get();
    match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Ok(Cow::Borrowed(plain)),
        Some(_) => serde_json::from_str(json).map(Cow::Owned),
        None if json == "null" => Ok(Cow::Borrowed("")),
        None => Ok(Cow::Borrowed(json)),
    }
}

/// Puts an object's members where their columns are, without copying them.
struct Members<'m, 'de> {
    index: &'m HashMap<String, usize>,
    cells: &'m mut [Option<&'de RawValue>],
}

impl<'de> Visitor<'de> for Members<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record's data")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut members: M) -> Result<(), M::Error> {
        while let Some(key) = members.next_key::<Cow<'de, str>>()? {
            let value = members.next_value::<&'de RawValue>()?;
            if let Some(n) = self.index.get(key.as_ref()) {
                self.cells[*n] = Some(value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(data: &str) -> String {
        let column = |key: &str, label: &str| Column { key: key.into(), label: label.into() };
        let rows = CsvRows::new(vec![
            column("name", "Full name"),
            column("tags", "Tags, all"),
            column("age", "Age"),
        ]);
        let mut out = Vec::new();
        rows.header(&mut out);
        rows.rows(&[(RecordId(uuid::Uuid::nil()), data.to_owned())], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let (header, row) = text.split_once("\r\n").unwrap();
        assert_eq!(header, "id,Full name,\"Tags, all\",Age");
        row.strip_prefix("00000000-0000-0000-0000-000000000000,").unwrap().to_owned()
    }

    #[test]
    fn text_stands_as_it_is_and_other_values_as_their_json() {
        assert_eq!(
            rendered(r#"{"age": 36, "name": "Ada", "tags": ["a", "b"]}"#),
            "Ada,\"[\"\"a\"\", \"\"b\"\"]\",36\r\n"
        );
    }

    #[test]
    fn absent_values_and_unknown_members_leave_no_trace() {
        assert_eq!(rendered(r#"{"other": {"x": 1}}"#), ",,\r\n");
    }

    #[test]
    fn escapes_are_undone_and_quotes_doubled() {
        assert_eq!(rendered(r#"{"name": "say \"hi\"\nü\u00fc"}"#), "\"say \"\"hi\"\"\nüü\",,\r\n");
    }
}
