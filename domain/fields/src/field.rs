//! The definition of a field: its type, its options, and whether a record may lack it.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::FieldKey;

/// The type of a field, with the form that its values have in a record's `jsonb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Enum), oai(rename_all = "snake_case"))]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    /// String of at most 10,000 characters.
    Text,
    /// String of at most 1,000,000 characters and 1 MiB.
    LongText,
    /// Whole number of 64 bits.
    Integer,
    /// Exact decimal number of up to 28 digits, stored as a string that keeps its scale (`"1234.50"`).
    Decimal,
    /// `true` or `false`.
    Boolean,
    /// Day, as `"YYYY-MM-DD"`.
    Date,
    /// Point in time, as RFC 3339 in UTC (`"2026-11-05T08:00:00Z"`) with at most microseconds.
    Datetime,
    /// E-mail address.
    Email,
    /// Absolute http, https, ftp or mailto URL.
    Url,
    /// Phone number as written, of 5 to 15 digits.
    Phone,
    /// String: one of the field's options; any string while the field has none.
    Choice,
    /// Array of distinct strings out of the field's options; any strings while the field has none.
    MultiChoice,
    /// Any JSON value.
    Json,
    /// GeoJSON point, longitude first.
    GeoPoint,
    /// GeoJSON geometry of any type.
    Geometry,
}

impl FieldType {
    /// Every type, in the order that a menu would show.
    pub const ALL: [Self; 15] = [
        Self::Text,
        Self::LongText,
        Self::Integer,
        Self::Decimal,
        Self::Boolean,
        Self::Date,
        Self::Datetime,
        Self::Email,
        Self::Url,
        Self::Phone,
        Self::Choice,
        Self::MultiChoice,
        Self::Json,
        Self::GeoPoint,
        Self::Geometry,
    ];

    /// The name in JSON and in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::LongText => "long_text",
            Self::Integer => "integer",
            Self::Decimal => "decimal",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Datetime => "datetime",
            Self::Email => "email",
            Self::Url => "url",
            Self::Phone => "phone",
            Self::Choice => "choice",
            Self::MultiChoice => "multi_choice",
            Self::Json => "json",
            Self::GeoPoint => "geo_point",
            Self::Geometry => "geometry",
        }
    }

    /// Whether fields of this type choose from options.
    pub const fn has_options(self) -> bool {
        matches!(self, Self::Choice | Self::MultiChoice)
    }
}

/// A field of a recordset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Object), oai(deny_unknown_fields))]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Key: the name in stored records and in the API.
    pub key: FieldKey,
    /// Label: the name for display.
    pub label: String,
    /// Type of the values.
    pub field_type: FieldType,
    /// Whether every record must have a value.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", oai(default))]
    pub required: bool,
    /// Whether the values must be unique among the records.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", oai(default))]
    pub unique: bool,
    /// Options of a `choice` or `multi_choice`; an empty list allows any value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", oai(default))]
    pub options: Vec<String>,
}

impl Field {
    /// A field that is neither required nor unique, with a key derived from its label.
    pub fn new(label: impl Into<String>, field_type: FieldType) -> Self {
        let label = label.into();
        Self {
            key: FieldKey::from_label(&label),
            label,
            field_type,
            required: false,
            unique: false,
            options: Vec::new(),
        }
    }

    /// The same field, required.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The same field, choosing from `options`.
    #[must_use]
    pub fn with_options<S: Into<String>>(mut self, options: impl IntoIterator<Item = S>) -> Self {
        self.options = options.into_iter().map(Into::into).collect();
        self
    }
}

/// Something wrong with the definition of a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{key}: {message}")]
pub struct FieldProblem {
    /// The field's key.
    pub key: FieldKey,
    /// `duplicate_key`, `blank_label`, `too_long`, `options_not_allowed`, `blank_option`, `duplicate_option`,
    /// `too_many_options` or `cannot_be_unique`.
    pub code: &'static str,
    /// Reason, for display.
    pub message: String,
}

/// Checks the fields of a recordset together and answers all errors.
pub fn validate_fields(fields: &[Field]) -> Result<(), Vec<FieldProblem>> {
    let mut problems = Vec::new();
    let mut seen = HashSet::new();
    for field in fields {
        if !seen.insert(&field.key) {
            problems.push(problem(field, "duplicate_key", "another field has the same key"));
        }
        check_definition(field, &mut problems);
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn check_definition(field: &Field, problems: &mut Vec<FieldProblem>) {
    const MAX_LABEL: usize = 255;
    const MAX_OPTIONS: usize = 1_000;
    let mut complain = |code, message| problems.push(problem(field, code, message));
    if field.label.trim().is_empty() {
        complain("blank_label", "the label is blank");
    }
    if field.label.chars().count() > MAX_LABEL || field.label.contains('\0') {
        complain("too_long", "the label is longer than 255 characters or contains U+0000");
    }
    if !field.options.is_empty() && !field.field_type.has_options() {
        complain("options_not_allowed", "only choice and multi_choice fields have options");
    }
    if field.options.len() > MAX_OPTIONS {
        complain("too_many_options", "a field has at most 1,000 options");
    }
    if field
        .options
        .iter()
        .any(|option| option.trim() != option || option.is_empty() || option.contains('\0'))
    {
        complain("blank_option", "an option is blank, has white space around it, or contains U+0000");
    }
    if field.options.iter().any(|option| option.chars().count() > MAX_LABEL) {
        complain("too_long", "an option is longer than 255 characters");
    }
    if field.options.iter().collect::<HashSet<_>>().len() < field.options.len() {
        complain("duplicate_option", "an option is listed twice");
    }
    let comparable = !matches!(
        field.field_type,
        FieldType::LongText
            | FieldType::MultiChoice
            | FieldType::Json
            | FieldType::GeoPoint
            | FieldType::Geometry
    );
    if field.unique && !comparable {
        complain("cannot_be_unique", "values of this type can't be kept unique");
    }
}

fn problem(field: &Field, code: &'static str, message: &str) -> FieldProblem {
    FieldProblem { key: field.key.clone(), code, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_definition_survives_the_trip_through_json() {
        let field = Field::new("Stage", FieldType::Choice).required().with_options(["lead", "won"]);
        let json = serde_json::to_value(&field).unwrap();
        assert_eq!(
            json,
            json!({"key": "stage", "label": "Stage", "field_type": "choice", "required": true, "unique": false,
                   "options": ["lead", "won"]})
        );
        assert_eq!(serde_json::from_value::<Field>(json).unwrap(), field);
    }

    #[test]
    fn every_type_has_the_same_name_in_json_and_in_rust() {
        for field_type in FieldType::ALL {
            assert_eq!(serde_json::to_value(field_type).unwrap(), json!(field_type.as_str()));
        }
    }

    #[test]
    fn unknown_types_and_unknown_members_are_refused_by_name() {
        let unknown_type = json!({"key": "a", "label": "A", "field_type": "colour"});
        let error = serde_json::from_value::<Field>(unknown_type).unwrap_err().to_string();
        assert!(error.contains("unknown variant `colour`"), "{error}");
        let unknown_member = json!({"key": "a", "label": "A", "field_type": "text", "width": 3});
        let error = serde_json::from_value::<Field>(unknown_member).unwrap_err().to_string();
        assert!(error.contains("unknown field `width`"), "{error}");
    }

    #[test]
    fn everything_wrong_with_a_list_of_fields_is_reported_at_once() {
        let twice = Field::new("Name", FieldType::Text);
        let mut blank = Field::new("x", FieldType::Integer).with_options(["1"]);
        blank.label = " ".to_owned();
        let mut doubled = Field::new("Tags", FieldType::MultiChoice).with_options(["a", "a", ""]);
        doubled.unique = true;
        let problems = validate_fields(&[twice.clone(), twice, blank, doubled]).unwrap_err();
        let found: Vec<_> = problems.iter().map(|p| (p.key.as_str(), p.code)).collect();
        assert_eq!(
            found,
            [
                ("name", "duplicate_key"),
                ("x", "blank_label"),
                ("x", "options_not_allowed"),
                ("tags", "blank_option"),
                ("tags", "duplicate_option"),
                ("tags", "cannot_be_unique"),
            ]
        );
    }

    #[test]
    fn a_choice_without_options_is_an_open_list_and_allowed() {
        assert_eq!(validate_fields(&[Field::new("Tag", FieldType::Choice)]), Ok(()));
    }
}
