//! Bodies without what differs from run to run, so that whole ones can be compared: ids, times, tokens
//! and the addresses that `new_signup` makes up.

use serde_json::{Map, Value};
use uuid::Uuid;

/// The value with `[id]`, `[time]`, `[token]` and `[email]` where they are.
pub fn masked(value: &Value) -> Value {
    mask("", value)
}

fn mask(name: &str, value: &Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members.iter().map(|(name, value)| (name.clone(), mask(name, value))).collect::<Map<_, _>>(),
        ),
        Value::Array(items) => items.iter().map(|item| mask(name, item)).collect(),
        Value::String(text) => stand_in(name, text).unwrap_or(text).into(),
        other => other.clone(),
    }
}

fn stand_in(name: &str, text: &str) -> Option<&'static str> {
    if Uuid::try_parse(text).is_ok() {
        Some("[id]")
    } else if name.ends_with("_token") {
        Some("[token]")
    } else if is_type_id(text) {
        Some("[id]")
    } else if name.ends_with("_at") || name == "timestamp" {
        Some("[time]")
    } else if text.starts_with("ada.") && text.ends_with("@example.com") {
        Some("[email]")
    } else {
        None
    }
}

/// A prefix of small letters, and 26 digits of base32. A token may look like that by chance.
fn is_type_id(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
    text.rsplit_once('_').is_some_and(|(prefix, suffix)| {
        let is_prefix = prefix.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        is_prefix && suffix.len() == 26 && suffix.bytes().all(is_digit)
    })
}
