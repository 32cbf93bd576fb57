//! Lists have one shape on each surface, but for those to which the contract gives another.

use jobs::Surface;
use serde_json::Value;

use super::{Operation, SURFACES, document, operations, resolved, types_of};

/// The shapes of a surface's lists: the members of the answer, and the parameters that go with them.
fn shapes(surface: Surface) -> &'static [(&'static [&'static str], &'static [&'static str])] {
    match surface {
        Surface::Workspace => &[
            (&["items"], &[]),
            (&["items", "page", "page_size", "pages", "total"], &["page", "page_size"]),
            (&["items", "page", "page_size", "pages", "total", "total_is_capped"], &["page", "page_size"]),
            (&["items", "limit", "skip", "total"], &["limit", "skip"]),
        ],
        // The envelope's `data` is the list.
        Surface::Platform => &[(&[], &["limit", "offset"])],
        Surface::Ops => &[(&["items"], &[]), (&["items", "next"], &["before", "limit"])],
    }
}

/// Lists of another shape, and whose that is.
const OTHERS: [(&str, &str, &[&str]); 11] = [
    // The reference says that these answer a bare array.
    ("list_api_keys", "W-KEY-01", &[]),
    ("list_modules", "W-MOD-01", &[]),
    // Not lists of things, but what the contract asks for about one thing.
    ("list_member_items", "W-MEM-07", &["groups", "member_id", "total"]),
    ("list_own_permissions", "W-PERM-04", &["permissions", "role"]),
    ("list_role_permissions", "W-PERM-05: a map", &[]),
    // The reference names the list's member.
    ("list_audit_logs", "P-AUD-01", &["logs", "total"]),
    ("list_dlq_messages", "P-DLQ-02", &["messages", "total"]),
    ("list_books", "P-TOK-02", &["data", "pagination"]),
    ("look_up_tenants", "P-PUB-07: not paged", &[]),
    // Not in the contract: with the moment, or the span of time, that all of it is of.
    ("list_queues", "ops", &["at", "led", "pools"]),
    ("list_throughput", "ops", &["from", "items", "step", "to"]),
];

/// What a list answers, without the envelope of its surface.
fn answer<'a>(document: &'a Value, operation: &'a Operation) -> Option<&'a Value> {
    let response =
        operation.body["responses"].as_object()?.iter().find(|(status, _)| status.starts_with('2'))?;
    let schema = &resolved(document, response.1)["content"]["application/json"]["schema"];
    let schema = resolved(document, schema);
    let is_envelope = schema["properties"]["success"].is_object();
    Some(if is_envelope { resolved(document, &schema["properties"]["data"]) } else { schema })
}

fn members(schema: &Value) -> Vec<&str> {
    let mut members: Vec<_> =
        schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    members.sort_unstable();
    members
}

#[test]
fn a_list_has_the_shape_of_its_surface_or_the_contract_s() {
    let mut others = Vec::new();
    for surface in SURFACES {
        let document = document(surface);
        for operation in operations(&document) {
            let Some(answer) = answer(&document, &operation) else { continue };
            let is_array = types_of(answer) == ["array"];
            let here = format!("{surface:?} {}", operation.id);
            let has_items = answer["properties"]["items"].is_object();
            if !operation.id.starts_with("list_") && !is_array && !has_items {
                continue;
            }
            let found = members(answer);
            if let Some((_, why, expected)) = OTHERS.iter().find(|(id, ..)| *id == operation.id) {
                assert_eq!(found, *expected, "{here} is as {why} says");
                others.push(operation.id);
                continue;
            }
            let mut parameters: Vec<_> = operation.body["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|parameter| parameter["name"].as_str())
                .filter(|name| {
                    ["page", "page_size", "per_page", "skip", "offset", "limit", "before"].contains(name)
                })
                .collect();
            parameters.sort_unstable();
            assert_eq!(is_array, surface == Surface::Platform, "{here}: {found:?}");
            assert!(
                shapes(surface).contains(&(&*found, &*parameters)),
                "{here} has a shape of its own: {found:?}, by {parameters:?}"
            );
        }
    }
    others.sort();
    let mut expected: Vec<_> = OTHERS.iter().map(|(id, ..)| (*id).to_owned()).collect();
    expected.sort();
    assert_eq!(others, expected, "what is listed as another shape is one");
}
