//! Ids within free-form JSON, such as results of jobs and details of the audit log, in the form of the Platform
//! API. A member's name determines the type of its id: `user_id`, `created_by`, `job_ids`.

use serde_json::Value;
use uuid::Uuid;

use super::type_id_of;

/// Members whose content belongs to the client: nothing in it is an id of ours.
const OF_CLIENTS: [&str; 4] = ["data", "payload", "settings", "metadata"];

/// A value with its ids in the form of this surface. `of` is the type of its subject, which the members
/// `id`, `replaced_by` and `parent_id` refer to.
#[must_use]
pub fn with_type_ids(value: Value, of: Option<&str>) -> Value {
    within(value, "", of)
}

fn within(value: Value, name: &str, of: Option<&str>) -> Value {
    match value {
        Value::Object(members) => {
            let of = Some(singular(name)).filter(|name| !name.is_empty()).or(of);
            let shown = members.into_iter().map(|(name, value)| {
                let value =
                    if OF_CLIENTS.contains(&name.as_str()) { value } else { within(value, &name, of) };
                (name, value)
            });
            Value::Object(shown.collect())
        }
        Value::Array(items) => items.into_iter().map(|item| within(item, name, of)).collect(),
        Value::String(text) => match (text.parse::<Uuid>(), kind_of(name, of)) {
            (Ok(id), Some(kind)) => type_id_of(kind, id).into(),
            _ => Value::String(text),
        },
        other => other,
    }
}

/// The type of a member's id.
fn kind_of<'a>(name: &'a str, of: Option<&'a str>) -> Option<&'a str> {
    Some(match name {
        "id" | "ids" | "parent_id" | "replaced_by" => return of,
        // Both ends of the records that an import wrote.
        "first_id" | "last_id" => "record",
        // The member that takes over another's items.
        "to" => "member",
        "managed_by" | "tenant" => "workspace",
        "owner_id" | "staff_id" | "impersonator_id" => "user",
        // The client's own value, unchanged.
        "request_id" => return None,
        _ => match name.strip_suffix("_ids").or_else(|| name.strip_suffix("_id")) {
            Some(kind) => kind,
            None => name.strip_suffix("_by").map(|_| "user")?,
        },
    })
}

fn singular(name: &str) -> &str {
    name.strip_suffix('s').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "01a20189-3c1e-7510-aa72-0a8fa32945d6";

    fn prefix_of(value: &Value) -> &str {
        value.as_str().and_then(|text| text.rsplit_once('_')).map_or("", |(prefix, _)| prefix)
    }

    #[test]
    fn ids_have_the_prefix_of_what_their_member_names() {
        let ids = json!({ "workspace_id": ID, "recordset_id": ID, "user_id": ID, "created_by": ID, "job_id": ID,
                          "first_id": ID, "managed_by": ID, "id": ID, "replaced_by": ID });
        let shown = with_type_ids(ids, Some("api_key"));
        let prefixes = [
            ("workspace_id", "tn"),
            ("recordset_id", "recordset"),
            ("user_id", "usr"),
            ("created_by", "usr"),
            ("job_id", "job"),
            ("first_id", "obj"),
            ("managed_by", "tn"),
            ("id", "key"),
            ("replaced_by", "key"),
        ];
        for (name, prefix) in prefixes {
            assert_eq!(prefix_of(&shown[name]), prefix, "{name}");
        }
    }

    #[test]
    fn lists_of_ids_and_things_within_are_shown_alike() {
        let shown = with_type_ids(
            json!({ "job_ids": [ID, ID], "record": { "id": ID }, "by": [{ "user_id": ID }], "rows": 3 }),
            Some("job"),
        );
        assert_eq!((prefix_of(&shown["job_ids"][0]), prefix_of(&shown["job_ids"][1])), ("job", "job"));
        assert_eq!(
            (prefix_of(&shown["record"]["id"]), prefix_of(&shown["by"][0]["user_id"])),
            ("obj", "usr")
        );
        assert_eq!(shown["rows"], 3);
    }

    #[test]
    fn what_clients_sent_stays_as_they_sent_it() {
        let own = json!({ "record": { "data": { "user_id": ID } }, "request_id": ID, "recordset_id": "leads", "name": ID });
        assert_eq!(with_type_ids(own.clone(), None), own);
    }
}
