//! JSON in which every member of an object is named once. Of a duplicate member, parsers keep one, and not all of
//! them the same: the value that a proxy has checked need not be the one that is read here.

use std::fmt;

use domain::FieldErrors;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::{error::MAX_NAMED, strict};

/// Reads JSON; answers also the duplicate members, the first of them, by path.
pub(super) fn read(bytes: &[u8]) -> serde_json::Result<(Value, FieldErrors)> {
    let mut twice = Twice::default();
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Reading { at: &Place::Body, twice: &mut twice }.deserialize(&mut reader)?;
    reader.end()?;
    Ok((value, twice.fields))
}

/// The duplicate members.
#[derive(Default)]
struct Twice {
    fields: FieldErrors,
    found: usize,
}

impl Twice {
    fn note(&mut self, at: &Place<'_>) {
        self.found += 1;
        if self.found <= MAX_NAMED {
            let reason = vec!["is given more than once".to_owned()];
            self.fields.insert(strict::shown(&at.to_string()), reason);
        }
    }
}

/// Position of a value. It becomes a path only for an error.
enum Place<'a> {
    Body,
    Member(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outer = match self {
            Self::Body => return Ok(()),
            Self::Member(outer, _) | Self::Item(outer, _) => outer,
        };
        if !matches!(outer, Place::Body) {
            write!(f, "{outer}.")?;
        }
        match self {
            Self::Member(_, name) => f.write_str(name),
            Self::Item(_, number) => write!(f, "{number}"),
            Self::Body => Ok(()),
        }
    }
}

struct Reading<'a> {
    at: &'a Place<'a>,
    twice: &'a mut Twice,
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let at = &Place::Item(self.at, items.len());
            match from.next_element_seed(Reading { at, twice: &mut *self.twice })? {
                Some(item) => items.push(item),
                None => return Ok(items.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = from.next_key::<String>()? {
            let at = &Place::Member(self.at, &name);
            let value = from.next_value_seed(Reading { at, twice: &mut *self.twice })?;
            if members.contains_key(&name) {
                self.twice.note(at);
            }
            members.insert(name, value);
        }
        Ok(members.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_as_it_is() {
        for json in [
            r#"{"a": [1, -1, 1.5, 18446744073709551615, 1e300, "x\u0041\n", true, null, {}, []], "b": {"a": 1}}"#,
            "\"x\"",
            " null ",
        ] {
            let (value, twice) = read(json.as_bytes()).unwrap();
            assert_eq!((value, twice), (json.parse().unwrap(), FieldErrors::new()), "{json}");
        }
        // A name with a meaning for the parser itself has none here.
        let (value, _) = read(br#"{"$serde_json::private::RawValue": "[1]"}"#).unwrap();
        assert_eq!(value["$serde_json::private::RawValue"], "[1]");
        let deep = "[".repeat(1000);
        for broken in ["", "{", "{} {}", "[1,]", "nul", &deep] {
            let ours = read(broken.as_bytes()).unwrap_err();
            let theirs = serde_json::from_str::<Value>(broken).unwrap_err();
            assert_eq!(ours.to_string(), theirs.to_string(), "{broken}");
        }
    }

    #[test]
    fn members_that_are_named_twice_are_found_wherever_they_are() {
        let json =
            r#"{"a": 1, "b": [{"c": {"d": 1, "\u0064": 2}}, {"c": 1}], "a": {"e": 1, "e": 1, "e": 1}}"#;
        let (_, twice) = read(json.as_bytes()).unwrap();
        assert_eq!(twice.keys().collect::<Vec<_>>(), ["a", "a.e", "b.0.c.d"]);
    }
}
