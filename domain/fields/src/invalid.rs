//! Why a value can't be stored: a stable code for programs and a message for display.
//! The codes are part of the import report and of the API's `record_invalid` answers, so they only ever grow.

use serde::Serialize;

/// The codes of [`Invalid`].
pub mod code {
    /// The field is required and the value is missing or blank.
    pub const REQUIRED: &str = "required";
    /// Not a whole number.
    pub const NOT_AN_INTEGER: &str = "not_an_integer";
    /// Not a decimal number, or one whose separators can be read in two ways.
    pub const NOT_A_DECIMAL: &str = "not_a_decimal";
    /// Neither a yes nor a no.
    pub const NOT_A_BOOLEAN: &str = "not_a_boolean";
    /// Not a calendar date.
    pub const NOT_A_DATE: &str = "not_a_date";
    /// A date such as 03/04/2026, whose day and month can't be distinguished.
    pub const AMBIGUOUS_DATE: &str = "ambiguous_date";
    /// Not a point in time.
    pub const NOT_A_DATETIME: &str = "not_a_datetime";
    /// Not an e-mail address.
    pub const NOT_AN_EMAIL: &str = "not_an_email";
    /// Not an absolute http, https, ftp or mailto URL.
    pub const NOT_A_URL: &str = "not_a_url";
    /// Not a phone number.
    pub const NOT_A_PHONE: &str = "not_a_phone";
    /// Not one of the field's options.
    pub const NOT_A_CHOICE: &str = "not_a_choice";
    /// Not JSON, or nested too deeply.
    pub const NOT_JSON: &str = "not_json";
    /// Not a point on the globe.
    pub const NOT_A_POINT: &str = "not_a_point";
    /// Not a geometry, or a broken one (an open ring or one that crosses itself, for instance).
    pub const NOT_A_GEOMETRY: &str = "not_a_geometry";
    /// Contains U+0000, which PostgreSQL can't store.
    pub const NUL_CHARACTER: &str = "nul_character";
    /// Longer than the field's type holds.
    pub const TOO_LONG: &str = "too_long";
    /// A number, year or coordinate outside what can be stored.
    pub const OUT_OF_RANGE: &str = "out_of_range";
    /// A JSON value of a kind that the field's type doesn't take.
    pub const WRONG_TYPE: &str = "wrong_type";
}

/// A value was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// One of [`code`].
    pub code: &'static str,
    /// Reason, for display.
    pub message: String,
}

impl Invalid {
    /// A refusal with one of the [`code`]s.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A refusal that shows the beginning of the value, so that a report can be read without the file.
    pub(crate) fn showing(code: &'static str, text: &str, complaint: &str) -> Self {
        const SHOWN: usize = 40;
        let mut shown: String = text.chars().take(SHOWN).filter(|c| !c.is_control()).collect();
        if text.chars().nth(SHOWN).is_some() {
            shown.push('…');
        }
        Self::new(code, format!("“{shown}” {complaint}"))
    }
}
