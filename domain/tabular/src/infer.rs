//! Guesses a column's type: the most specific one that accepts every value seen. The tests are those of the fields
//! themselves, so that a guess is never refused by its own import; on top of them lie a few doubts that only apply to
//! guessing (an id with leading zeros is no number).

use std::collections::HashSet;

use fields::{Cell, Field, FieldType, code};
use serde_json::Value;

use crate::row::display;

/// Candidates, the most specific first.
const CANDIDATES: [FieldType; 12] = [
    FieldType::Boolean,
    FieldType::Integer,
    FieldType::GeoPoint,
    FieldType::Decimal,
    FieldType::Date,
    FieldType::Datetime,
    FieldType::Email,
    FieldType::Url,
    FieldType::Phone,
    FieldType::Geometry,
    FieldType::MultiChoice,
    FieldType::Json,
];
/// Values of which a choice can consist.
const MAX_OPTIONS: usize = 20;
/// Values that a column must have before it may be a choice.
const MIN_FOR_CHOICE: usize = 50;
const MAX_OPTION_LEN: usize = 50;
/// Distinct values that are counted.
const MAX_DISTINCT: usize = 1_000;
/// Characters beyond which a text is long.
const MAX_TEXT: usize = 255;

/// What is known about a column after some of its values.
pub(crate) struct Guess {
    candidates: Vec<Field>,
    seen: usize,
    distinct: HashSet<String>,
    is_long: bool,
    is_short: bool,
    /// Values that could be dates if their order of day and month were known.
    ambiguous_dates: usize,
    other_dates: usize,
    scratch: Vec<u8>,
}

impl Guess {
    pub(crate) fn new() -> Self {
        Self {
            candidates: CANDIDATES.iter().map(|field_type| Field::new("value", *field_type)).collect(),
            seen: 0,
            distinct: HashSet::new(),
            is_long: false,
            is_short: true,
            ambiguous_dates: 0,
            other_dates: 0,
            scratch: Vec::new(),
        }
    }

    pub(crate) fn see(&mut self, cell: Cell<'_>) {
        if cell.is_blank() {
            return;
        }
        self.seen += 1;
        self.see_date(cell);
        let scratch = &mut self.scratch;
        self.candidates.retain(|field| {
            scratch.clear();
            is_plausible(field.field_type, cell) && field.write_cell(cell, scratch).is_ok()
        });
        if let Cell::Text(text) = cell {
            self.is_long |= text.contains('\n') || (text.len() > MAX_TEXT && text.chars().count() > MAX_TEXT);
            self.is_short &= text.len() <= MAX_OPTION_LEN;
        }
        if self.distinct.len() < MAX_DISTINCT {
            let mut text = display(cell);
            text.truncate(text.floor_char_boundary(MAX_TEXT));
            self.distinct.insert(text);
        }
    }

    fn see_date(&mut self, cell: Cell<'_>) {
        // Counting stops with the first value that is no date.
        if let Cell::Text(_) = cell
            && self.ambiguous_dates + self.other_dates + 1 == self.seen
        {
            self.scratch.clear();
            match Field::new("value", FieldType::Datetime).write_cell(cell, &mut self.scratch) {
                Ok(_) => self.other_dates += 1,
                Err(invalid) if invalid.code == code::AMBIGUOUS_DATE => self.ambiguous_dates += 1,
                Err(_) => {}
            }
        }
    }

    /// The type, and the options when it is a choice.
    pub(crate) fn conclude(&self) -> (FieldType, Vec<String>) {
        if self.seen == 0 {
            return (FieldType::Text, Vec::new());
        }
        let fits = |field: &&Field| match field.field_type {
            // A column of ones alone counts something; with zeros it may well be a flag.
            FieldType::Boolean => {
                self.distinct.len() > 1 || !self.distinct.iter().all(|text| is_digits(text))
            }
            _ => true,
        };
        if let Some(field) = self.candidates.iter().find(fits) {
            return (field.field_type, Vec::new());
        }
        let repeats = self.seen >= MIN_FOR_CHOICE && self.seen >= 2 * self.distinct.len();
        if repeats && self.is_short && !self.is_long && (2..=MAX_OPTIONS).contains(&self.distinct.len()) {
            let mut options: Vec<String> = self.distinct.iter().map(|text| text.trim().to_owned()).collect();
            options.sort();
            options.dedup();
            return (FieldType::Choice, options);
        }
        (if self.is_long { FieldType::LongText } else { FieldType::Text }, Vec::new())
    }

    /// How many different values were seen; counting ends at 1,000.
    pub(crate) fn distinct_count(&self) -> usize {
        self.distinct.len()
    }

    /// Whether the column would hold dates if the order of day and month were certain.
    pub(crate) fn has_ambiguous_dates(&self) -> bool {
        self.ambiguous_dates > 0 && self.ambiguous_dates + self.other_dates == self.seen
    }
}

/// Doubts about a type that would accept the value.
fn is_plausible(field_type: FieldType, cell: Cell<'_>) -> bool {
    match (field_type, cell) {
        (FieldType::Integer | FieldType::Decimal, Cell::Text(text)) => is_plausible_number(text.trim()),
        (FieldType::Phone, Cell::Text(text)) => is_plausible_phone(text),
        // "1,5" is a number long before it is a place.
        (FieldType::GeoPoint, Cell::Text(text)) => {
            text.contains('(') || text.contains('{') || text.matches('.').count() == 2
        }
        (FieldType::Json, Cell::Text(text)) => text.trim_start().starts_with(['{', '[']),
        (FieldType::MultiChoice, Cell::Json(Value::Array(items))) => items.iter().all(Value::is_string),
        (FieldType::Json | FieldType::Geometry, Cell::Json(_)) => true,
        (FieldType::Integer | FieldType::Decimal, Cell::Bool(_))
        | (FieldType::Phone | FieldType::Json | FieldType::MultiChoice, _) => false,
        _ => true,
    }
}

/// Numbers with leading zeros are ids, with a plus they are phone numbers, with blanks they may be anything.
fn is_plausible_number(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let has_leading_zero =
        unsigned.len() > 1 && unsigned.starts_with('0') && unsigned.as_bytes()[1].is_ascii_digit();
    !has_leading_zero && !text.starts_with('+') && !text.contains(char::is_whitespace)
}

fn is_plausible_phone(text: &str) -> bool {
    let text = text.trim();
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let separators = text.bytes().filter(|byte| matches!(byte, b' ' | b'-' | b'.')).count();
    text.starts_with('+') || text.contains('(') || (digits >= 7 && separators >= 2)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn guess(values: &[&str]) -> FieldType {
        let mut guess = Guess::new();
        for text in values {
            guess.see(Cell::Text(text));
        }
        guess.conclude().0
    }

    #[test]
    fn the_most_specific_type_that_takes_all_values_wins() {
        let cases: [(&[&str], FieldType); 22] = [
            (&["yes", "no", ""], FieldType::Boolean),
            (&["0", "1"], FieldType::Boolean),
            (&["1", "1"], FieldType::Integer),
            (&["1", "-20", " "], FieldType::Integer),
            (&["007", "010"], FieldType::Text),
            (&["1", "2.50"], FieldType::Decimal),
            (&["1,234.50", "0,5"], FieldType::Decimal),
            (&["2026-01-05", "05.11.2026"], FieldType::Date),
            (&["2026-01-05", "2026-01-05 10:00"], FieldType::Datetime),
            (&["03/04/2026", "25/04/2026"], FieldType::Text),
            (&["a@example.org"], FieldType::Email),
            (&["https://example.org/a"], FieldType::Url),
            (&["+49 30 1234567", "(030) 123456"], FieldType::Phone),
            (&["+4930123456"], FieldType::Phone),
            (&["4930123456"], FieldType::Integer),
            (&["2021-00017"], FieldType::Text),
            (&["52.52,13.4", "48.1, 11.5"], FieldType::GeoPoint),
            (&["POINT(1 2)"], FieldType::GeoPoint),
            (&["POINT(1 2)", "LINESTRING(1 2,3 4)"], FieldType::Geometry),
            (&[r#"{"a":1}"#, "[1]"], FieldType::Json),
            (&["one\ntwo"], FieldType::LongText),
            (&["", " "], FieldType::Text),
        ];
        for (values, expected) in cases {
            assert_eq!(guess(values), expected, "{values:?}");
        }
    }

    #[test]
    fn few_values_that_repeat_are_a_choice_and_become_its_options() {
        let mut column = Guess::new();
        for index in 0..60 {
            column.see(Cell::Text(["lead", "won", "lost"][index % 3]));
        }
        let options = ["lead", "lost", "won"].map(str::to_owned).to_vec();
        assert_eq!(column.conclude(), (FieldType::Choice, options));
        let few: Vec<_> = (0..40).map(|index| ["lead", "won"][index % 2]).collect();
        assert_eq!(guess(&few), FieldType::Text);
    }

    #[test]
    fn nested_json_has_the_type_of_its_values() {
        let see = |value: Value| {
            let mut guess = Guess::new();
            guess.see(Cell::Json(&value));
            guess.conclude().0
        };
        assert_eq!(see(json!({"type": "Point", "coordinates": [1, 2]})), FieldType::GeoPoint);
        assert_eq!(see(json!({"type": "LineString", "coordinates": [[1, 2], [3, 4]]})), FieldType::Geometry);
        assert_eq!(see(json!(["red", "green"])), FieldType::MultiChoice);
        assert_eq!(see(json!({"a": 1})), FieldType::Json);
    }

    #[test]
    fn dates_that_can_be_read_in_two_ways_are_noticed() {
        let mut column = Guess::new();
        for text in ["03/04/2026", "25/04/2026"] {
            column.see(Cell::Text(text));
        }
        assert!(column.has_ambiguous_dates());
        column.see(Cell::Text("soon"));
        assert!(!column.has_ambiguous_dates());
    }
}
