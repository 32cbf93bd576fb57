//! `Patch`: a partial update of a value that may be null.

use std::borrow::Cow;

use poem_openapi::{
    registry::{MetaSchemaRef, Registry},
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde_json::Value;

/// A member of the body of a partial update: absent, null or a value. The statement is always
/// `set x = case when $2 then $3 else x end`, with [`is_given`](Self::is_given) and [`value`](Self::value). What is
/// never null is an `Option`: `set x = coalesce($2, x)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// The value stays as it is.
    #[default]
    Absent,
    /// The value becomes null.
    Null,
    /// The value becomes this one.
    Value(T),
}

impl<T> Patch<T> {
    /// Whether the value changes.
    #[must_use]
    pub const fn is_given(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    /// Whether the value becomes null.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The new value; none if absent or null.
    #[must_use]
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    /// The value after the update.
    #[must_use]
    pub fn over(self, current: Option<T>) -> Option<T> {
        match self {
            Self::Absent => current,
            Self::Null => None,
            Self::Value(value) => Some(value),
        }
    }
}

impl<T: Type> Type for Patch<T> {
    const IS_REQUIRED: bool = false;

    type RawValueType = T::RawValueType;
    type RawElementValueType = T::RawElementValueType;

    fn name() -> Cow<'static, str> {
        format!("optional_{}", T::name()).into()
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn as_raw_value(&self) -> Option<&Self::RawValueType> {
        self.value().and_then(Type::as_raw_value)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self::RawElementValueType> + 'a> {
        match self.value() {
            Some(value) => value.raw_element_iter(),
            None => Box::new(std::iter::empty()),
        }
    }

    fn is_none(&self) -> bool {
        self.value().is_none()
    }
}

impl<T: ParseFromJSON> ParseFromJSON for Patch<T> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value {
            None => Ok(Self::Absent),
            Some(Value::Null) => Ok(Self::Null),
            value => T::parse_from_json(value).map(Self::Value).map_err(ParseError::propagate),
        }
    }
}

impl<T: ToJSON> ToJSON for Patch<T> {
    fn to_json(&self) -> Option<Value> {
        match self {
            Self::Absent => None,
            Self::Null => Some(Value::Null),
            Self::Value(value) => value.to_json(),
        }
    }
}

#[cfg(test)]
mod tests {
    use poem_openapi::Object;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Object)]
    struct Changes {
        note: Patch<String>,
    }

    #[test]
    fn absent_null_and_a_value_are_told_apart() {
        let read = |body: Value| Changes::parse_from_json(Some(body)).map(|changes| changes.note).ok();
        assert_eq!(read(json!({})), Some(Patch::Absent));
        assert_eq!(read(json!({ "note": null })), Some(Patch::Null));
        assert_eq!(read(json!({ "note": "n" })), Some(Patch::Value("n".to_owned())));
        assert_eq!(read(json!({ "note": ["n"] })), None);
    }

    #[test]
    fn what_is_absent_stays() {
        let after = |patch: Patch<i32>| (patch.is_given(), patch.value().copied(), patch.over(Some(1)));
        assert_eq!(after(Patch::Absent), (false, None, Some(1)));
        assert_eq!(after(Patch::Null), (true, None, None));
        assert_eq!(after(Patch::Value(2)), (true, Some(2), Some(2)));
    }
}
