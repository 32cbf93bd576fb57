//! The form in which the values of unique fields are compared.

use std::borrow::Cow;

use fields::FieldType;
use sha2::{Digest, Sha256};

/// Above so many bytes a value is compared by its hash: an index entry has no room for it.
const MAX_LEN: usize = 200;

/// Content of `unique_values.value` for a value in its stored form, which is the JSON that
/// [`fields::Field::write_cell`] appended. Equal values give equal texts: `1.50` is `1.5`.
#[must_use]
pub fn unique_value(field_type: FieldType, json: &[u8]) -> Cow<'_, str> {
    let text = text_of(json).unwrap_or_else(|| String::from_utf8_lossy(json));
    if field_type == FieldType::Decimal {
        return without_trailing_zeros(text);
    }
    if text.len() > MAX_LEN { Cow::Owned(hex::encode(Sha256::digest(text.as_bytes()))) } else { text }
}

/// The text of a JSON string, or the JSON itself of any other value. Copies only what has escapes.
pub(super) fn text_of(json: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(json).ok()?;
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        None => Some(Cow::Borrowed(text)),
        Some(inner) if !inner.contains('\\') => Some(Cow::Borrowed(inner)),
        Some(_) => serde_json::from_str(text).ok().map(Cow::Owned),
    }
}

fn without_trailing_zeros(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.contains('.') {
        return text;
    }
    match text.trim_end_matches('0').trim_end_matches('.') {
        "-0" => Cow::Borrowed("0"),
        trimmed => Cow::Owned(trimmed.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_decimals_are_equal_whatever_their_scale() {
        let values = [r#""1.50""#, r#""1.5""#, r#""2.00""#, r#""2""#, r#""-0.00""#, r#""100""#];
        assert_eq!(
            values.map(|json| unique_value(FieldType::Decimal, json.as_bytes())),
            ["1.5", "1.5", "2", "2", "0", "100"]
        );
    }

    #[test]
    fn texts_are_compared_by_what_they_say_not_by_how_json_spells_them() {
        assert_eq!(unique_value(FieldType::Text, br#""a\"b\n""#), "a\"b\n");
        assert_eq!(unique_value(FieldType::Text, r#""é""#.as_bytes()), "é");
        assert_eq!(unique_value(FieldType::Text, br#""2.00""#), "2.00");
        assert_eq!(unique_value(FieldType::Integer, b"42"), "42");
        assert_eq!(unique_value(FieldType::Boolean, b"true"), "true");
    }

    #[test]
    fn a_long_text_is_compared_by_its_hash() {
        let json = serde_json::to_vec(&"x".repeat(201)).unwrap();
        let value = unique_value(FieldType::Text, &json);
        assert_eq!(value.len(), 64);
        let other = serde_json::to_vec(&format!("{}y", "x".repeat(200))).unwrap();
        assert_ne!(unique_value(FieldType::Text, &other), value);
    }
}
