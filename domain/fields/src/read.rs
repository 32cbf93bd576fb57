//! How a field reads a value: the one set of rules behind both ways in.
//! This file dispatches on the field's type; each family of types has its own file below.

mod choice;
mod contact;
mod geo;
mod json;
mod number;
mod shape;
mod time;
mod wkt;

use std::borrow::Cow;

use chrono::NaiveTime;
use serde_json::Value;

use crate::{Cell, Field, FieldType, Invalid, Written, code, stored::Stored};

/// Most characters of a `text` field.
const MAX_TEXT: usize = 10_000;
/// Most characters of a `long_text` field.
const MAX_LONG_TEXT: usize = 1_000_000;
/// Most bytes of a text that any field but a geometry reads.
const MAX_CELL: usize = 1 << 20;
/// Most bytes of the text of a geometry: coastlines are long.
const MAX_GEOMETRY: usize = 8 << 20;
/// Most characters of a URL, a phone number or a choice; e-mail addresses have their own.
const MAX_SHORT: usize = 2_048;

impl Field {
    /// Reads a value from the API and answers its stored form; `null` for a value that is null or blank.
    ///
    /// Text is read as a file's cell would be; beyond that only JSON values of the type's own kind are taken.
    pub fn accept_json(&self, value: &Value) -> Result<Value, Invalid> {
        if self.field_type == FieldType::Json && !value.is_null() {
            json::check(value)?;
            return Ok(value.clone());
        }
        self.check_kind(value)?;
        self.read(Cell::from(value)).map(Stored::into_value)
    }

    /// Reads a cell's text and appends the JSON of its stored form to `out`, which stays as it was when the text
    /// is refused. Allocates nothing for the usual spellings.
    pub fn write_text(&self, text: &str, out: &mut Vec<u8>) -> Result<Written, Invalid> {
        self.write_cell(Cell::Text(text), out)
    }

    /// The same for a cell of any kind, as spreadsheets and JSON files have them.
    ///
    /// More is taken than from the API: a number is good text, since spreadsheets make numbers of what people typed.
    pub fn write_cell(&self, cell: Cell<'_>, out: &mut Vec<u8>) -> Result<Written, Invalid> {
        Ok(self.read(cell)?.write(out))
    }

    fn read<'a>(&'a self, cell: Cell<'a>) -> Result<Stored<'a>, Invalid> {
        if cell.is_blank() {
            return if self.required {
                Err(Invalid::new(code::REQUIRED, format!("{} is required", self.label)))
            } else {
                Ok(Stored::Empty)
            };
        }
        if let Cell::Text(text) = cell {
            self.check_text(text)?;
            return self.read_text(text);
        }
        match (self.field_type, cell) {
            (FieldType::Integer, Cell::Int(int)) => Ok(Stored::Int(int)),
            (FieldType::Decimal, Cell::Int(int)) => Ok(Stored::Decimal(int.into())),
            (FieldType::Integer, Cell::Float(float)) => number::integer_of_float(float),
            (FieldType::Decimal, Cell::Float(float)) => number::decimal_of_float(float),
            (FieldType::Integer | FieldType::Decimal, Cell::Json(Value::Number(big))) => {
                self.read_text(&big.to_string()).map(Stored::into_owned)
            }
            (FieldType::Boolean, Cell::Bool(yes)) => Ok(Stored::Bool(yes)),
            (FieldType::Date, Cell::Date(date)) => {
                time::checked(date.and_time(NaiveTime::MIN)).map(|_| Stored::Date(date))
            }
            (FieldType::Date, Cell::DateTime(at)) if at.time() == NaiveTime::MIN => {
                time::checked(at).map(|at| Stored::Date(at.date()))
            }
            (FieldType::Datetime, Cell::Date(date)) => {
                time::checked(date.and_time(NaiveTime::MIN)).map(Stored::Datetime)
            }
            (FieldType::Datetime, Cell::DateTime(at)) => time::checked(at).map(Stored::Datetime),
            (FieldType::MultiChoice, Cell::Json(Value::Array(items))) => choice::many(self, items),
            (FieldType::GeoPoint, Cell::Json(value)) => geo::point_of_json(value),
            (FieldType::Geometry, Cell::Json(value)) => geo::geometry_of_json(value),
            (FieldType::Json, cell) => json::of_cell(cell),
            (FieldType::Text | FieldType::LongText, Cell::Json(value)) => {
                let text = value.to_string();
                json::check(value)?;
                self.check_text(&text)?;
                self.read_text(&text).map(Stored::into_owned)
            }
            (_, Cell::Json(value)) => Err(self.wrong_kind(value)),
            (_, cell) => self.read_text(&text_of(cell)).map(Stored::into_owned),
        }
    }

    fn read_text<'a>(&'a self, text: &'a str) -> Result<Stored<'a>, Invalid> {
        match self.field_type {
            FieldType::Text => limited(text, MAX_TEXT),
            FieldType::LongText => limited(text, MAX_LONG_TEXT),
            FieldType::Integer => number::integer(text.trim()),
            FieldType::Decimal => number::decimal(text.trim()),
            FieldType::Boolean => number::boolean(text.trim()),
            FieldType::Date => time::date(text.trim()),
            FieldType::Datetime => time::datetime(text.trim()),
            FieldType::Email => contact::email(text.trim()),
            FieldType::Url => contact::url(text.trim()),
            FieldType::Phone => contact::phone(text.trim()),
            FieldType::Choice => choice::one(self, text.trim()).map(Stored::Text),
            FieldType::MultiChoice => choice::many_of_text(self, text.trim()),
            FieldType::Json => json::of_text(text),
            FieldType::GeoPoint => geo::point(text.trim()),
            FieldType::Geometry => geo::geometry(text.trim()),
        }
    }

    fn check_text(&self, text: &str) -> Result<(), Invalid> {
        let most = if self.field_type == FieldType::Geometry { MAX_GEOMETRY } else { MAX_CELL };
        if text.len() > most {
            return Err(too_long(&format!("{} MiB", most >> 20)));
        }
        if text.as_bytes().contains(&0) {
            return Err(Invalid::new(code::NUL_CHARACTER, "the text contains the character U+0000"));
        }
        Ok(())
    }

    /// The API takes JSON of the type's own kind, or text: a number in a text field is a client's mistake.
    fn check_kind(&self, value: &Value) -> Result<(), Invalid> {
        let taken = match value {
            Value::Null | Value::String(_) => true,
            Value::Bool(_) => self.field_type == FieldType::Boolean,
            Value::Number(_) => {
                matches!(self.field_type, FieldType::Integer | FieldType::Decimal | FieldType::Boolean)
            }
            Value::Array(_) => self.field_type == FieldType::MultiChoice,
            Value::Object(_) => matches!(self.field_type, FieldType::GeoPoint | FieldType::Geometry),
        };
        if taken { Ok(()) } else { Err(self.wrong_kind(value)) }
    }

    fn wrong_kind(&self, value: &Value) -> Invalid {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        Invalid::new(
            code::WRONG_TYPE,
            format!("a {} field takes no value that is {kind}", self.field_type.as_str()),
        )
    }
}

fn limited(text: &str, most: usize) -> Result<Stored<'_>, Invalid> {
    // No text has more characters than bytes, so short ones need no counting.
    if text.len() > most && text.chars().count() > most {
        return Err(too_long(&format!("{most} characters")));
    }
    Ok(Stored::Text(Cow::Borrowed(text)))
}

fn too_long(most: &str) -> Invalid {
    Invalid::new(code::TOO_LONG, format!("the text is longer than {most}"))
}

/// The text that a person would type for a typed cell.
fn text_of(cell: Cell<'_>) -> String {
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

#[cfg(test)]
mod tests;
