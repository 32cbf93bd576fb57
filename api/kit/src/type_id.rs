//! `TypeId`: an id of the Platform API, according to the `TypeID` specification 0.3: a prefix for its type,
//! and the UUID in Crockford's base32. It is the same id that the Workspace API shows as a
//! plain UUID, and clients may send either.

mod within;

use std::{borrow::Cow, fmt, str::FromStr};

use domain::{ApiKeyId, RecordId, UserId, WorkspaceId};
use jobs::{Id, JobId, ScheduleId};
use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef},
    types::{ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type},
};
use serde_json::{Value, json};
use uuid::Uuid;

pub use within::with_type_ids;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 130 bits in groups of five: a UUID with two zeros in front.
const LENGTH: usize = 26;

/// An id on the Platform API: rendered as a `TypeID`, read as one or as a plain UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TypeId<I>(pub I);

impl<I: Id> fmt::Display for TypeId<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render(I::PREFIX, self.0.uuid()))
    }
}

/// The text is no id of this type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an id that begins with {0}_, or a uuid")]
pub struct NotThatId(&'static str);

impl<I: Id> FromStr for TypeId<I> {
    type Err = NotThatId;

    fn from_str(text: &str) -> Result<Self, NotThatId> {
        read(I::PREFIX, text).map(|id| Self(I::of(id))).ok_or(NotThatId(I::PREFIX))
    }
}

/// An id of any type, such as an audit entry names: with the type's own prefix, or with its name where the
/// Platform API has no such resources otherwise. An action on several resources, or on a part of one, is named after
/// that resource, and has its id.
#[must_use]
pub fn type_id_of(kind: &str, id: Uuid) -> String {
    render(prefix_of(kind), id)
}

/// An id that [`type_id_of`] made for that type, or a plain UUID.
#[must_use]
pub fn id_of_kind(kind: &str, text: &str) -> Option<Uuid> {
    read(prefix_of(kind), text)
}

fn prefix_of(kind: &str) -> &str {
    match kind {
        "api_key" => ApiKeyId::PREFIX,
        "job" | "import" | "export" => JobId::PREFIX,
        "record" => RecordId::PREFIX,
        "scheduled_job" => ScheduleId::PREFIX,
        "user" | "password" | "sign_in" | "account_letter" | "impersonation" => UserId::PREFIX,
        "workspace" | "governance" | "role" => WorkspaceId::PREFIX,
        // An action on many of them: the id is that of their container.
        "records" => "recordset",
        other => other,
    }
}

fn render(prefix: &str, id: Uuid) -> String {
    let bits = id.as_u128();
    let digit = |place: usize| char::from(ALPHABET[usize::try_from(bits >> (5 * place) & 31).unwrap_or(0)]);
    let suffix: String = (0..LENGTH).rev().map(digit).collect();
    if prefix.is_empty() { suffix } else { format!("{prefix}_{suffix}") }
}

fn read(prefix: &str, text: &str) -> Option<Uuid> {
    let suffix = match prefix {
        "" => text,
        prefix => match text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')) {
            Some(suffix) => suffix,
            None => return Uuid::try_parse(text).ok(),
        },
    };
    // A first digit above 7 is more than 128 bits.
    if suffix.len() != LENGTH || suffix.as_bytes()[0] > b'7' {
        return None;
    }
    let mut bits = 0_u128;
    for byte in suffix.bytes() {
        let digit = ALPHABET.iter().position(|known| *known == byte)?;
        bits = bits << 5 | u128::try_from(digit).ok()?;
    }
    Some(Uuid::from_u128(bits))
}

impl<I: Id> Type for TypeId<I> {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        format!("{}_id", I::PREFIX).into()
    }

    fn schema_ref() -> MetaSchemaRef {
        // The moment of the specification's own example.
        let example = render(I::PREFIX, Uuid::from_u128(0x0189_0a5d_ac96_774b_bcce_b302_099a_8057));
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            example: Some(json!(example)),
            ..MetaSchema::new_with_format("string", "typeid")
        }))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl<I: Id> ParseFromParameter for TypeId<I> {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        value.parse().map_err(ParseError::custom)
    }
}

impl<I: Id> ParseFromJSON for TypeId<I> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value {
            Some(Value::String(text)) => text.parse().map_err(ParseError::custom),
            other => Err(ParseError::expected_type(other.unwrap_or_default())),
        }
    }
}

impl<I: Id> ToJSON for TypeId<I> {
    fn to_json(&self) -> Option<Value> {
        Some(json!(self.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the specification's `valid.yml`.
    const VALID: [(&str, &str, &str); 8] = [
        ("", "00000000000000000000000000", "00000000-0000-0000-0000-000000000000"),
        ("", "00000000000000000000000001", "00000000-0000-0000-0000-000000000001"),
        ("", "0000000000000000000000000a", "00000000-0000-0000-0000-00000000000a"),
        ("", "0000000000000000000000000g", "00000000-0000-0000-0000-000000000010"),
        ("", "00000000000000000000000010", "00000000-0000-0000-0000-000000000020"),
        ("", "7zzzzzzzzzzzzzzzzzzzzzzzzz", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
        ("prefix", "prefix_0123456789abcdefghjkmnpqrs", "0110c853-1d09-52d8-d73e-1194e95b5f19"),
        ("prefix", "prefix_01h455vb4pex5vsknk084sn02q", "01890a5d-ac96-774b-bcce-b302099a8057"),
    ];

    /// From its `invalid.yml`, as far as this prefix is concerned.
    const INVALID: [&str; 12] = [
        "PREFIX_00000000000000000000000000",
        "12345_00000000000000000000000000",
        "pre.fix_00000000000000000000000000",
        "  prefix_00000000000000000000000000",
        "_00000000000000000000000000",
        "prefix_1234567890123456789012345",
        "prefix_123456789012345678901234567",
        "prefix_1234567890123456789012345 ",
        "prefix_0123456789ABCDEFGHJKMNPQRS",
        "prefix_123456789-123456789-123456",
        "prefix_i23456789ol23456789oi23456",
        "prefix_8zzzzzzzzzzzzzzzzzzzzzzzzz",
    ];

    #[test]
    fn the_specifications_valid_ids_are_read_and_rendered() {
        for (prefix, text, id) in VALID {
            let id: Uuid = id.parse().unwrap();
            assert_eq!(read(prefix, text), Some(id), "{text}");
            assert_eq!(render(prefix, id), text);
        }
    }

    #[test]
    fn the_specifications_invalid_ids_are_refused() {
        for text in INVALID {
            assert_eq!(read("prefix", text), None, "{text}");
        }
        assert_eq!(read("prefix", "prefix_"), None);
        assert_eq!(read("prefix", "prefix_ß1h455vb4pex5vsknk084sn02"), None);
    }

    #[test]
    fn a_plain_uuid_names_the_same_thing_and_another_prefix_does_not() {
        let job: TypeId<JobId> = "job_01h455vb4pex5vsknk084sn02q".parse().unwrap();
        assert_eq!("01890a5d-ac96-774b-bcce-b302099a8057".parse(), Ok(job));
        let error = "obj_01h455vb4pex5vsknk084sn02q".parse::<TypeId<JobId>>().unwrap_err();
        assert_eq!(error.to_string(), "must be an id that begins with job_, or a uuid");
    }
}
