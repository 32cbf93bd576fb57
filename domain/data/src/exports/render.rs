//! Records as lines of CSV (RFC 4180, UTF-8): the record's id, then its fields.
//!
//! Text stands as it is, other values as their JSON, so that an import reads back what an export wrote. In a *safe*
//! file, what a spreadsheet would take for a formula has a mark in front that the import takes off ([`tabular::formula`]).

use std::{borrow::Cow, collections::HashMap, fmt};

use domain::RecordId;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::Column;
use crate::csv;

/// Writes records of one export.
#[derive(Debug)]
pub struct CsvRows {
    columns: Vec<Column>,
    index: HashMap<String, usize>,
    /// The columns in the order in which `jsonb` has its members: shorter keys first.
    in_order: Vec<usize>,
    push_cell: fn(&mut Vec<u8>, &str),
}

impl CsvRows {
    /// For these columns, in a safe file or another.
    #[must_use]
    pub fn new(columns: Vec<Column>, is_safe: bool) -> Self {
        let push_cell = if is_safe { csv::push_safe_cell } else { csv::push_cell };
        let index = columns.iter().enumerate().map(|(n, column)| (column.key.clone(), n)).collect();
        let mut in_order: Vec<usize> = (0..columns.len()).collect();
        in_order.sort_by(|a, b| jsonb_order(&columns[*a].key).cmp(&jsonb_order(&columns[*b].key)));
        Self { columns, index, in_order, push_cell }
    }

    /// Appends the header.
    pub fn header(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"id");
        for column in &self.columns {
            out.push(b',');
            (self.push_cell)(out, &column.label);
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
            let members = Members { rows: self, cells: &mut cells };
            serde_json::Deserializer::from_str(data).deserialize_map(members)?;
            out.extend_from_slice(record.0.hyphenated().encode_lower(&mut id).as_bytes());
            for cell in &cells {
                out.push(b',');
                if let Some(value) = cell {
                    (self.push_cell)(out, &text_of(value)?);
                }
            }
            out.extend_from_slice(csv::LINE_END);
        }
        Ok(())
    }
}

/// The cell of a value.
fn text_of(value: &RawValue) -> Result<Cow<'_, str>, serde_json::Error> {
    let json = value.get();
    match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Ok(Cow::Borrowed(plain)),
        Some(_) => serde_json::from_str(json).map(Cow::Owned),
        None if json == "null" => Ok(Cow::Borrowed("")),
        None => Ok(Cow::Borrowed(json)),
    }
}

/// `jsonb`'s order of an object's members.
fn jsonb_order(key: &str) -> (usize, &[u8]) {
    (key.len(), key.as_bytes())
}

/// A member's name, borrowed unless it has escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Puts an object's members where their columns are, without copying them.
struct Members<'m, 'de> {
    rows: &'m CsvRows,
    cells: &'m mut [Option<&'de RawValue>],
}

impl<'de> Visitor<'de> for Members<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record's data")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut members: M) -> Result<(), M::Error> {
        let CsvRows { columns, index, in_order, .. } = self.rows;
        let mut expected = in_order.iter().copied().peekable();
        while let Some(Key(key)) = members.next_key()? {
            let value = members.next_value::<&'de RawValue>()?;
            while expected.next_if(|n| jsonb_order(&columns[*n].key) < jsonb_order(&key)).is_some() {}
            // Looking a key up is for objects that are not from a `jsonb`.
            let next = expected.next_if(|n| columns[*n].key == *key);
            if let Some(n) = next.or_else(|| index.get(key.as_ref()).copied()) {
                self.cells[n] = Some(value);
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
        let columns = vec![column("name", "Full name"), column("tags", "Tags, all"), column("age", "Age")];
        let rows = CsvRows::new(columns, true);
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
    fn no_cell_of_a_safe_file_is_a_formula_and_one_of_another_stands_as_it_is() {
        let columns = || vec![Column { key: "a".into(), label: "=1+1".into() }];
        let data = [(RecordId(uuid::Uuid::nil()), r#"{"a": "@SUM(1)"}"#.to_owned())];
        for (is_safe, header, cell) in [(true, "'=1+1", "'@SUM(1)"), (false, "=1+1", "@SUM(1)")] {
            let rows = CsvRows::new(columns(), is_safe);
            let mut out = Vec::new();
            rows.header(&mut out);
            rows.rows(&data, &mut out).unwrap();
            let id = uuid::Uuid::nil();
            assert_eq!(String::from_utf8(out).unwrap(), format!("id,{header}\r\n{id},{cell}\r\n"));
        }
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
