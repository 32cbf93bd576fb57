//! The details of an event and of an entry of the audit: ids, names and what has changed. Both are kept for long and
//! read in lists, so that whole bodies don't belong there.

use serde::Serialize;
use serde_json::{Map, Value};

/// Maximum size of one member of details, as JSON. A larger one is left out and named.
pub const MAX_DETAIL_BYTES: usize = 4 << 10;

/// The member with the names of those that were left out.
const OMITTED: &str = "omitted";

/// Serialises details: each member that is not too large, and in `omitted` the names of the others.
///
/// # Errors
/// An error of the serialisation.
pub(crate) fn of(data: impl Serialize) -> Result<Value, String> {
    let mut details = match serde_json::to_value(data).map_err(|error| error.to_string())? {
        Value::Object(members) => members,
        other if is_small(&other) => return Ok(other),
        other => Map::from_iter([("details".to_owned(), other)]),
    };
    let large: Vec<_> =
        details.iter().filter(|(_, value)| !is_small(value)).map(|(name, _)| name.clone()).collect();
    if !large.is_empty() {
        details.retain(|name, _| !large.contains(name));
        details.insert(OMITTED.to_owned(), large.into());
    }
    Ok(Value::Object(details))
}

fn is_small(value: &Value) -> bool {
    jobs::border::fits(value, MAX_DETAIL_BYTES)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_member_that_is_too_large_is_named_and_left_out() {
        let (small, large) = ("s".repeat(MAX_DETAIL_BYTES - 2), "l".repeat(MAX_DETAIL_BYTES - 1));
        let details = of(json!({ "id": 1, "small": small, "large": large })).unwrap();
        assert_eq!(details, json!({ "id": 1, "small": small, "omitted": ["large"] }));
        assert_eq!(of(json!({ "id": 1 })).unwrap(), json!({ "id": 1 }));
        assert_eq!(of(json!([1])).unwrap(), json!([1]));
        assert_eq!(of(json!([large])).unwrap(), json!({ "omitted": ["details"] }));
    }
}
