//! The border between handlers and the ledger: texts of a job in a form that PostgreSQL can store and watchers
//! can take.
//!
//! NUL, which PostgreSQL stores neither in text nor in JSON, is removed; long texts are cut, between
//! characters. (A lone surrogate can't come this far: a Rust string holds none.) Only a result is not cut, because
//! half a result is useless: see [`TooLarge`].

use std::io;

use serde_json::Value;

/// Maximum number of bytes of a text: a message, an error, a line of the log.
pub const MAX_MESSAGE_BYTES: usize = 4096;
/// Maximum number of bytes of a step's name.
pub const MAX_STEP_BYTES: usize = 256;
/// Maximum number of bytes of an error's code.
pub const MAX_CODE_BYTES: usize = 64;
/// Maximum number of bytes of a result, as JSON. A job with a larger one fails.
pub const MAX_RESULT_BYTES: usize = 256 << 10;

/// The code of a job whose result is larger than [`MAX_RESULT_BYTES`].
pub const RESULT_TOO_LARGE: &str = "result_too_large";
/// The code of a job whose end the ledger refused to store.
pub const NOT_STORABLE: &str = "not_storable";

/// A result has more than [`MAX_RESULT_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the result has more than {MAX_RESULT_BYTES} bytes as JSON")]
pub(crate) struct TooLarge;

/// A text without NUL, of no more than `max` bytes.
pub(crate) fn text(text: impl Into<String>, max: usize) -> String {
    let mut text = text.into();
    // Cut first: a text of megabytes need not be searched.
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    if text.contains('\0') {
        text.retain(|c| c != '\0');
    }
    text
}

/// A message for display.
pub(crate) fn message(sentence: impl Into<String>) -> String {
    text(sentence, MAX_MESSAGE_BYTES)
}

/// A result without NUL.
///
/// # Errors
/// When it is too large.
pub(crate) fn result(mut value: Value) -> Result<Value, TooLarge> {
    if !fits(&value, MAX_RESULT_BYTES) {
        return Err(TooLarge);
    }
    clean(&mut value);
    Ok(value)
}

/// Whether a value has at most `max` bytes as JSON.
#[must_use]
pub fn fits(value: &Value, max: usize) -> bool {
    serde_json::to_writer(Room(max), value).is_ok()
}

fn clean(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => text.retain(|c| c != '\0'),
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Object(members) => {
            if members.keys().any(|name| name.contains('\0')) {
                *members = std::mem::take(members)
                    .into_iter()
                    .map(|(name, member)| (name.replace('\0', ""), member))
                    .collect();
            }
            members.values_mut().for_each(clean);
        }
        _ => {}
    }
}

/// Counts written bytes, up to a maximum.
struct Room(usize);

impl io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_holds_no_nul() {
        assert_eq!(text("a\0b", 10), "ab");
        assert_eq!(text("xxxé", 4), "xxx");
        assert_eq!(message("x".repeat(10 << 20)).len(), MAX_MESSAGE_BYTES);
    }

    #[test]
    fn a_result_holds_no_nul_at_any_depth() {
        let said = json!({ "a\0": ["\0", { "b": "c\0d" }], "n": 1 });
        assert_eq!(result(said), Ok(json!({ "a": ["", { "b": "cd" }], "n": 1 })));
    }

    #[test]
    fn a_result_is_whole_or_refused() {
        let largest = Value::from("x".repeat(MAX_RESULT_BYTES - 2));
        assert_eq!(result(largest.clone()), Ok(largest));
        assert_eq!(result(Value::from("x".repeat(MAX_RESULT_BYTES - 1))), Err(TooLarge));
    }
}
