//! Optional members as OpenAPI describes them: the framework leaves an optional member out of `required` and
//! writes it as null all the same, which its document forbids.

use serde_json::{Map, Value, json};

/// Documents that every optional member of a schema may be null, unless it has a default.
pub(crate) fn admit_null(document: &mut Value) {
    let schemas = document["components"]["schemas"].as_object_mut();
    for schema in schemas.into_iter().flat_map(Map::values_mut) {
        let required: Vec<String> = schema["required"]
            .as_array()
            .map(|names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default();
        let Some(members) = schema.get_mut("properties").and_then(Value::as_object_mut) else { continue };
        for (_, member) in members.iter_mut().filter(|(name, _)| !required.contains(name)) {
            // A schema without a type accepts everything, null included.
            if !has_default(member) && (member.get("type").is_some() || member.get("allOf").is_some()) {
                member["nullable"] = json!(true);
            }
        }
    }
}

/// Also true where the default stands beside a reference.
fn has_default(member: &Value) -> bool {
    let beside = member["allOf"].as_array();
    member.get("default").is_some()
        || beside.is_some_and(|parts| parts.iter().any(|part| part.get("default").is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_optional_may_be_null_and_what_is_required_or_has_a_default_may_not() {
        let thing = json!({ "$ref": "#/components/schemas/Thing" });
        let mut document = json!({
            "components": { "schemas": { "Thing": { "required": ["id"], "properties": {
                "id": { "type": "string" }, "name": { "type": "string" }, "result": {},
                "size": { "type": "integer", "default": 0 },
                "like": { "allOf": [thing, { "description": "Another." }] },
                "kind": { "allOf": [thing, { "default": "csv" }] },
            } } } },
        });
        admit_null(&mut document);
        let members = document["components"]["schemas"]["Thing"]["properties"].as_object().unwrap();
        let nullable: Vec<_> = members
            .iter()
            .filter(|(_, member)| member.get("nullable").is_some())
            .map(|(name, _)| name)
            .collect();
        assert_eq!(nullable, ["like", "name"]);
    }
}
