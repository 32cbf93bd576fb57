//! `Name` and `Text`: user input, trimmed and checked against its limits when it is read.

use std::{borrow::Cow, fmt, ops::Deref, str::FromStr};

use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef},
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde::Serialize;
use serde_json::Value;

/// An error of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// A name that is empty after trimming.
    #[error("must not be empty")]
    Empty,
    /// Too many characters.
    #[error("must have at most {} characters", thousands(*.0))]
    TooLong(usize),
    /// A name with a line break or another control character.
    #[error("must be one line")]
    Lines,
    /// The character that PostgreSQL can't store.
    #[error("must not contain a NUL character")]
    Nul,
}

/// A number of characters for display: `2,000`.
fn thousands(number: usize) -> String {
    if number < 1000 { number.to_string() } else { format!("{},{:03}", number / 1000, number % 1000) }
}

/// Checks a trimmed text by the rules that a schema can express.
///
/// # Errors
/// [`InvalidText::Empty`], [`InvalidText::TooLong`], [`InvalidText::Lines`].
pub fn check(text: &str, min: usize, max: usize, is_one_line: bool) -> Result<(), InvalidText> {
    let length = text.trim().chars().count();
    if length < min {
        Err(InvalidText::Empty)
    } else if length > max {
        Err(InvalidText::TooLong(max))
    } else if is_one_line && text.trim().chars().any(char::is_control) {
        Err(InvalidText::Lines)
    } else {
        Ok(())
    }
}

/// The pattern of a [`Name`] in the OpenAPI documents: no control characters.
pub const ONE_LINE: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";

/// One line of 1 to `MAX` characters, without space around it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name<const MAX: usize>(String);

/// At most `MAX` characters, of any number of lines, without space around them.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> FromStr for Name<MAX> {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        check(text, 1, MAX, true)?;
        Ok(Self(text.trim().to_owned()))
    }
}

impl<const MAX: usize> FromStr for Text<MAX> {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        check(text, 0, MAX, false)?;
        if text.contains('\0') {
            return Err(InvalidText::Nul);
        }
        Ok(Self(text.trim().to_owned()))
    }
}

/// The implementations of both: `str`, SQL, JSON and the OpenAPI documents.
macro_rules! text {
    ($type:ident, $name:literal, $min:expr, $pattern:expr) => {
        impl<const MAX: usize> $type<MAX> {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<const MAX: usize> Deref for $type<MAX> {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl<const MAX: usize> fmt::Display for $type<MAX> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<const MAX: usize> From<$type<MAX>> for String {
            fn from(text: $type<MAX>) -> Self {
                text.0
            }
        }

        impl<const MAX: usize> Type for $type<MAX> {
            const IS_REQUIRED: bool = true;

            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                format!("string_{}_{MAX}", $name).into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Inline(Box::new(MetaSchema {
                    min_length: $min,
                    max_length: Some(MAX),
                    pattern: $pattern,
                    ..MetaSchema::new("string")
                }))
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }

        impl<const MAX: usize> ParseFromJSON for $type<MAX> {
            fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
                match value {
                    Some(Value::String(text)) => text.parse().map_err(ParseError::custom),
                    other => Err(ParseError::expected_type(other.unwrap_or_default())),
                }
            }
        }

        impl<const MAX: usize> ToJSON for $type<MAX> {
            fn to_json(&self) -> Option<Value> {
                Some(self.0.clone().into())
            }
        }
    };
}

text!(Name, "name", Some(1), Some(ONE_LINE.to_owned()));
text!(Text, "text", None, None);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_around_a_text_is_dropped_and_does_not_count() {
        assert_eq!(" Ada Lovelace\n".parse::<Name<12>>().unwrap().as_str(), "Ada Lovelace");
        assert_eq!("\t two\nlines ".parse::<Text<9>>().unwrap().as_str(), "two\nlines");
    }

    #[test]
    fn a_text_that_breaks_a_rule_is_refused_with_the_reason() {
        let name = |text: &str| text.parse::<Name<3>>().map_err(|error| error.to_string());
        assert_eq!(name("  "), Err("must not be empty".to_owned()));
        assert_eq!(name("äöüß"), Err("must have at most 3 characters".to_owned()));
        assert_eq!(name("a\nb"), Err("must be one line".to_owned()));
        assert_eq!(name("a\0b"), Err("must be one line".to_owned()));
        let long = "x".repeat(10_001).parse::<Text<10_000>>().map_err(|error| error.to_string());
        assert_eq!(long, Err("must have at most 10,000 characters".to_owned()));
        assert_eq!("a\0b".parse::<Text<3>>(), Err(InvalidText::Nul));
        assert_eq!("".parse::<Text<3>>().map(String::from), Ok(String::new()));
    }
}
