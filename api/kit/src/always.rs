//! `Always<true>`: a constant member of an answer, which documents show as a constant.

use std::borrow::Cow;

use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef},
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde_json::{Value, json};

/// A boolean with one value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Always<const VALUE: bool>;

impl<const VALUE: bool> Type for Always<VALUE> {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        if VALUE { "true".into() } else { "false".into() }
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            enum_items: vec![json!(VALUE)],
            ..MetaSchema::new("boolean")
        }))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl<const VALUE: bool> ParseFromJSON for Always<VALUE> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value {
            Some(Value::Bool(value)) if value == VALUE => Ok(Self),
            other => Err(ParseError::expected_type(other.unwrap_or_default())),
        }
    }
}

impl<const VALUE: bool> ToJSON for Always<VALUE> {
    fn to_json(&self) -> Option<Value> {
        Some(json!(VALUE))
    }
}
