//! The stored form of a value, and the two ways it leaves this crate: as bytes for `COPY`, as a JSON value for the API.

use std::{borrow::Cow, io::Write};

use chrono::{Datelike, NaiveDate, NaiveDateTime, Timelike};
use rust_decimal::Decimal;
use serde_json::Value;

/// Form in which [`Field::write_text`](crate::Field::write_text) and similar methods left the value in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Written {
    /// The value's JSON was appended.
    Value,
    /// The cell is blank: nothing was appended, and the record leaves the field out.
    Empty,
}

/// A value that a field accepted. Borrows from the input wherever the stored form is the input's own text.
#[derive(Debug, Clone)]
pub(crate) enum Stored<'a> {
    Empty,
    /// Valid JSON that can be copied as it is, such as the digits of a whole number.
    Verbatim(&'a str),
    Text(Cow<'a, str>),
    Int(i64),
    Decimal(Decimal),
    Bool(bool),
    Date(NaiveDate),
    Datetime(NaiveDateTime),
    List(Vec<Cow<'a, str>>),
    Point {
        longitude: f64,
        latitude: f64,
    },
    Json(Cow<'a, Value>),
}

impl Stored<'_> {
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> Written {
        match self {
            Self::Empty => return Written::Empty,
            Self::Verbatim(json) => out.extend_from_slice(json.as_bytes()),
            Self::Text(text) => write_string(text, out),
            Self::Int(int) => write_display(int, out),
            Self::Decimal(decimal) => {
                out.push(b'"');
                write_display(decimal, out);
                out.push(b'"');
            }
            Self::Bool(yes) => out.extend_from_slice(if *yes { b"true" } else { b"false" }),
            Self::Date(date) => {
                out.push(b'"');
                write_date(*date, out);
                out.push(b'"');
            }
            Self::Datetime(at) => write_datetime(*at, out),
            Self::List(texts) => {
                out.push(b'[');
                for (index, text) in texts.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_string(text, out);
                }
                out.push(b']');
            }
            Self::Point { longitude, latitude } => {
                out.extend_from_slice(br#"{"type":"Point","coordinates":["#);
                write_json(longitude, out);
                out.push(b',');
                write_json(latitude, out);
                out.extend_from_slice(b"]}");
            }
            Self::Json(value) => write_json(value.as_ref(), out),
        }
        Written::Value
    }

    pub(crate) fn into_value(self) -> Value {
        match self {
            Self::Empty => Value::Null,
            Self::Text(text) => Value::String(text.into_owned()),
            Self::Int(int) => int.into(),
            Self::Bool(yes) => yes.into(),
            Self::Json(value) => value.into_owned(),
            other => {
                let mut json = Vec::new();
                let _ = other.write(&mut json);
                serde_json::from_slice(&json).expect("write() appends valid JSON")
            }
        }
    }

    /// The same value without ties to its input.
    pub(crate) fn into_owned(self) -> Stored<'static> {
        match self {
            Self::Empty => Stored::Empty,
            Self::Verbatim(json) => Stored::Json(Cow::Owned(
                serde_json::from_str(json).expect("verbatim values are digits that were checked"),
            )),
            Self::Text(text) => Stored::Text(Cow::Owned(text.into_owned())),
            Self::Int(int) => Stored::Int(int),
            Self::Decimal(decimal) => Stored::Decimal(decimal),
            Self::Bool(yes) => Stored::Bool(yes),
            Self::Date(date) => Stored::Date(date),
            Self::Datetime(at) => Stored::Datetime(at),
            Self::List(texts) => {
                Stored::List(texts.into_iter().map(|text| Cow::Owned(text.into_owned())).collect())
            }
            Self::Point { longitude, latitude } => Stored::Point { longitude, latitude },
            Self::Json(value) => Stored::Json(Cow::Owned(value.into_owned())),
        }
    }
}

/// Appends a JSON string. Runs without anything to escape, nearly all of them, are copied whole.
fn write_string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut copied = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[copied..at]);
        copied = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}

fn write_display(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    write!(out, "{value}").expect("writing to memory can't fail");
}

fn write_json(value: &impl serde::Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("JSON values serialise, and writing to memory can't fail");
}

fn write_date(date: NaiveDate, out: &mut Vec<u8>) {
    write_padded(date.year().unsigned_abs(), 4, out); // readers allow the years 1 to 9999 only
    out.push(b'-');
    write_padded(date.month(), 2, out);
    out.push(b'-');
    write_padded(date.day(), 2, out);
}

fn write_datetime(at: NaiveDateTime, out: &mut Vec<u8>) {
    out.push(b'"');
    write_date(at.date(), out);
    for (before, part) in [(b'T', at.hour()), (b':', at.minute()), (b':', at.second())] {
        out.push(before);
        write_padded(part, 2, out);
    }
    let micros = at.nanosecond() / 1_000;
    if micros > 0 {
        out.push(b'.');
        if micros.is_multiple_of(1_000) {
            write_padded(micros / 1_000, 3, out);
        } else {
            write_padded(micros, 6, out);
        }
    }
    out.extend_from_slice(b"Z\"");
}

/// Appends a number with leading zeros; its digits beyond `width` would be cut, and no caller has any.
fn write_padded(number: u32, width: usize, out: &mut Vec<u8>) {
    const POWERS: [u32; 6] = [100_000, 10_000, 1_000, 100, 10, 1];
    for power in &POWERS[POWERS.len() - width..] {
        out.push(b'0' + u8::try_from(number / power % 10).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn every_string_is_written_as_the_json_that_reads_back(text in "\\PC*|[\\x00-\\x7f]*") {
            let mut out = Vec::new();
            write_string(&text, &mut out);
            proptest::prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
