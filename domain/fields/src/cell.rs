//! A value as a file holds it, before any field has read it.

use chrono::{NaiveDate, NaiveDateTime};
use serde_json::Value;

/// One cell of a row, with the type that the file itself gives.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Cell<'a> {
    /// Empty cell.
    #[default]
    Empty,
    /// Text; the only kind that delimited files have.
    Text(&'a str),
    /// A whole number.
    Int(i64),
    /// A number as spreadsheets and JSON hold it.
    Float(f64),
    /// A yes or no.
    Bool(bool),
    /// A day.
    Date(NaiveDate),
    /// A local time without zone, read as UTC.
    DateTime(NaiveDateTime),
    /// A nested JSON value.
    Json(&'a Value),
}

impl<'a> From<&'a Value> for Cell<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Empty,
            Value::Bool(yes) => Self::Bool(*yes),
            Value::String(text) => Self::Text(text),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(int), _) => Self::Int(int),
                (None, Some(float)) if number.is_f64() => Self::Float(float),
                _ => Self::Json(value), // a whole number beyond i64
            },
            Value::Array(_) | Value::Object(_) => Self::Json(value),
        }
    }
}

impl Cell<'_> {
    /// Whether there is nothing to store: empty, or text of nothing but white space.
    pub fn is_blank(&self) -> bool {
        match self {
            Self::Empty | Self::Json(Value::Null) => true,
            Self::Text(text) => text.trim().is_empty(),
            _ => false,
        }
    }
}
