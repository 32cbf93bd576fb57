//! Arbitrary JSON, as far as PostgreSQL can store it: without U+0000, and not nested without end.

use std::borrow::Cow;

use serde_json::Value;

use crate::{Cell, Invalid, code, stored::Stored};

/// The parser's own limit, kept also for values that were built in another way.
const MAX_DEPTH: usize = 128;

pub(super) fn of_text(text: &str) -> Result<Stored<'_>, Invalid> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| Invalid::new(code::NOT_JSON, format!("the text is not JSON: {error}")))?;
    check(&value)?;
    Ok(Stored::Json(Cow::Owned(value)))
}

pub(super) fn of_cell(cell: Cell<'_>) -> Result<Stored<'_>, Invalid> {
    match cell {
        Cell::Empty => Ok(Stored::Empty),
        Cell::Text(text) => of_text(text),
        Cell::Int(int) => Ok(Stored::Int(int)),
        Cell::Float(float) if float.is_finite() => Ok(Stored::Json(Cow::Owned(float.into()))),
        Cell::Float(_) => Err(Invalid::new(code::NOT_JSON, "the number is not finite")),
        Cell::Bool(yes) => Ok(Stored::Bool(yes)),
        Cell::Date(date) => Ok(Stored::Date(date)),
        Cell::DateTime(at) => Ok(Stored::Datetime(at)),
        Cell::Json(value) => check(value).map(|()| Stored::Json(Cow::Borrowed(value))),
    }
}

/// Refuses what PostgreSQL would refuse, or the stack would not survive.
pub(super) fn check(value: &Value) -> Result<(), Invalid> {
    check_below(value, MAX_DEPTH)
}

fn check_below(value: &Value, depth: usize) -> Result<(), Invalid> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(Invalid::new(code::NOT_JSON, "the value is nested too deeply"));
    };
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        Value::String(text) => check_string(text),
        Value::Array(items) => items.iter().try_for_each(|item| check_below(item, depth)),
        Value::Object(members) => members.iter().try_for_each(|(name, member)| {
            check_string(name)?;
            check_below(member, depth)
        }),
    }
}

fn check_string(text: &str) -> Result<(), Invalid> {
    if text.as_bytes().contains(&0) {
        return Err(Invalid::new(code::NUL_CHARACTER, "a string in the value contains the character U+0000"));
    }
    Ok(())
}
