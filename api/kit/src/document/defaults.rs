//! Generators treat a member with a `default` as always present, which is true of answers and not of requests:
//! in those the default is part of the description.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// Moves the defaults of everything that a request may contain into its description.
pub(super) fn say(document: &mut Value) {
    let mut names = BTreeSet::new();
    for item in document["paths"].as_object().into_iter().flat_map(serde_json::Map::values) {
        for operation in item.as_object().into_iter().flat_map(serde_json::Map::values) {
            collect(&operation["requestBody"], document, &mut names);
        }
    }
    for name in names {
        let schema = &mut document["components"]["schemas"][&name];
        for (_, member) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
            say_of(member);
        }
    }
}

/// The names of the schemas that a value refers to, directly or indirectly.
fn collect(value: &Value, document: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            let target = members.get("$ref").and_then(Value::as_str);
            if let Some(name) = target.and_then(|target| target.strip_prefix("#/components/schemas/"))
                && names.insert(name.to_owned())
            {
                collect(&document["components"]["schemas"][name], document, names);
            }
            members.values().for_each(|member| collect(member, document, names));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, document, names)),
        _ => {}
    }
}

fn say_of(member: &mut Value) {
    let Some(members) = member.as_object_mut() else { return };
    let mut default = members.remove("default");
    // Beside a reference, the default is in a part of its own.
    for part in members.get_mut("allOf").and_then(Value::as_array_mut).into_iter().flatten() {
        let beside = part.as_object_mut().and_then(|part| part.remove("default"));
        default = default.or(beside);
    }
    let Some(default) = default else { return };
    let said = match &default {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let description = members.get("description").and_then(Value::as_str).unwrap_or_default();
    let description = format!("{description} `{said}` if absent.").trim_start().to_owned();
    members.insert("description".to_owned(), json!(description));
}
