//! Choices. An option is found by its exact text first and without regard to case second; what is stored is always
//! the option's own spelling.

use std::borrow::Cow;

use serde_json::Value;

use super::{MAX_SHORT, too_long};
use crate::{Field, Invalid, code, stored::Stored};

pub(super) fn one<'a>(field: &'a Field, text: &'a str) -> Result<Cow<'a, str>, Invalid> {
    if field.options.is_empty() {
        return if text.len() > MAX_SHORT {
            Err(too_long(&format!("{MAX_SHORT} bytes")))
        } else {
            Ok(text.into())
        };
    }
    find(field, text)
        .map(Cow::Borrowed)
        .ok_or_else(|| Invalid::showing(code::NOT_A_CHOICE, text, "is not one of the field's options"))
}

fn find<'a>(field: &'a Field, text: &str) -> Option<&'a str> {
    let options = || field.options.iter().map(String::as_str);
    options()
        .find(|option| *option == text)
        .or_else(|| options().find(|option| option.eq_ignore_ascii_case(text)))
        .or_else(|| {
            let lower = text.to_lowercase();
            options().find(|option| !option.is_ascii() && option.to_lowercase() == lower)
        })
}

/// Text with several choices: a JSON array, one whole option, or parts between `;`, `|` or `,` (the first of these
/// that occurs).
pub(super) fn many_of_text<'a>(field: &'a Field, text: &'a str) -> Result<Stored<'a>, Invalid> {
    if text.starts_with('[')
        && let Ok(items) = serde_json::from_str::<Vec<Value>>(text)
    {
        return many(field, &items).map(Stored::into_owned);
    }
    if let Some(option) = find(field, text) {
        return Ok(Stored::List(vec![option.into()]));
    }
    let separator = [';', '|', ','].into_iter().find(|separator| text.contains(*separator));
    let mut chosen = Vec::new();
    for part in text.split(|c| Some(c) == separator).map(str::trim).filter(|part| !part.is_empty()) {
        add(&mut chosen, one(field, part)?);
    }
    list(field, chosen)
}

pub(super) fn many<'a>(field: &'a Field, items: &'a [Value]) -> Result<Stored<'a>, Invalid> {
    let mut chosen = Vec::with_capacity(items.len());
    for item in items {
        let Value::String(text) = item else {
            return Err(Invalid::new(
                code::WRONG_TYPE,
                "a multi_choice field takes an array of strings only",
            ));
        };
        field.check_text(text)?;
        if !text.trim().is_empty() {
            add(&mut chosen, one(field, text.trim())?);
        }
    }
    list(field, chosen)
}

fn add<'a>(chosen: &mut Vec<Cow<'a, str>>, option: Cow<'a, str>) {
    if !chosen.contains(&option) {
        chosen.push(option);
    }
}

fn list<'a>(field: &Field, chosen: Vec<Cow<'a, str>>) -> Result<Stored<'a>, Invalid> {
    const MAX_OPTIONS_READ: usize = 1_000;
    match chosen.len() {
        0 if field.required => Err(Invalid::new(code::REQUIRED, format!("{} is required", field.label))),
        0 => Ok(Stored::Empty),
        1..=MAX_OPTIONS_READ => Ok(Stored::List(chosen)),
        _ => Err(too_long("1,000 choices")),
    }
}
