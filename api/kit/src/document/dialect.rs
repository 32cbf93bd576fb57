//! From the dialect that the framework writes, OpenAPI 3.0, to OpenAPI 3.1, whose schemas are JSON Schema:
//! `null` is a type, a reference has siblings, exclusive bounds are numbers.

use serde_json::{Map, Value, json};

/// Members that may stand beside a reference without changing what it accepts.
const ANNOTATIONS: [&str; 8] =
    ["description", "title", "default", "deprecated", "readOnly", "writeOnly", "example", "nullable"];

/// Rewrites a whole document.
pub(super) fn modernize(document: &mut Value) {
    document["openapi"] = json!("3.1.0");
    for (name, schema) in document["components"]["schemas"].as_object_mut().into_iter().flatten() {
        if schema["title"] == json!(name)
            && let Some(members) = schema.as_object_mut()
        {
            members.remove("title");
        }
        rewrite(schema);
    }
    for operation in super::operations_mut(document) {
        for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
            leave_out_defaults(parameter);
            rewrite(&mut parameter["schema"]);
        }
        rewrite_content(operation.get_mut("requestBody"));
        for (_, response) in operation["responses"].as_object_mut().into_iter().flatten() {
            for (_, header) in
                response.get_mut("headers").and_then(Value::as_object_mut).into_iter().flatten()
            {
                leave_out_defaults(header);
                rewrite(&mut header["schema"]);
            }
            rewrite_content(Some(response));
        }
    }
}

/// Leaves out members that have their default value.
fn leave_out_defaults(parameter: &mut Value) {
    if let Some(members) = parameter.as_object_mut() {
        members.retain(|name, value| match name.as_str() {
            "deprecated" => *value != json!(false),
            "explode" => *value != json!(true),
            _ => true,
        });
    }
}

/// Schemas by media type. JSON is always UTF-8, so its parameter is redundant.
fn rewrite_content(holder: Option<&mut Value>) {
    let content = holder.and_then(|holder| holder.get_mut("content")).and_then(Value::as_object_mut);
    let Some(content) = content else { return };
    for (_, media) in content.iter_mut() {
        rewrite(&mut media["schema"]);
    }
    if let Some(json) = content.remove("application/json; charset=utf-8") {
        content.insert("application/json".to_owned(), json);
    }
}

/// Rewrites a schema, and those within it.
fn rewrite(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    for name in ["items", "additionalProperties"] {
        members.get_mut(name).into_iter().for_each(rewrite);
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        members.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten().for_each(rewrite);
    }
    for (_, property) in members.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        rewrite(property);
    }
    refer(members);
    bound(members);
    // The title of a type of ids: the property's description names the resource.
    if members.get("format").is_some_and(|format| format == "uuid") {
        members.remove("title");
    }
    if let Some(example) = members.remove("example") {
        members.insert("examples".to_owned(), json!([example]));
    }
    // A single value is a constant.
    if members.get("type").is_some_and(|ty| ty == "boolean")
        && let Some([only]) = members.get("enum").and_then(Value::as_array).map(Vec::as_slice)
    {
        let only = only.clone();
        members.remove("enum");
        members.insert("const".to_owned(), only);
    }
    if members.remove("nullable").is_some_and(|nullable| nullable == true) {
        admit_null(members);
    }
}

/// `allOf` of one reference and of annotations is the reference, with the annotations beside it.
fn refer(members: &mut Map<String, Value>) {
    let Some(parts) = members.get("allOf").and_then(Value::as_array) else { return };
    let is_annotation = |part: &Value| {
        part.as_object().is_some_and(|part| part.keys().all(|name| ANNOTATIONS.contains(&&**name)))
    };
    let (annotations, others): (Vec<_>, Vec<_>) = parts.iter().cloned().partition(is_annotation);
    let [reference] = others.as_slice() else { return };
    let Some(target) = reference.get("$ref").cloned() else { return };
    members.remove("allOf");
    for annotation in annotations {
        for (name, value) in annotation.as_object().into_iter().flatten() {
            members.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    members.insert("$ref".to_owned(), target);
}

/// Bounds of whole numbers are whole, and an exclusive one is the bound itself.
fn bound(members: &mut Map<String, Value>) {
    for name in ["minimum", "maximum", "multipleOf"] {
        let Some(number) = members.get(name).and_then(Value::as_f64) else { continue };
        #[allow(clippy::cast_possible_truncation)] // checked: the number is whole and small
        if number.fract() == 0.0 && number.abs() < 9e15 {
            members.insert(name.to_owned(), json!(number as i64));
        }
    }
    for (exclusive, inclusive) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        if members.remove(exclusive).is_some_and(|is_exclusive| is_exclusive == true)
            && let Some(bound) = members.remove(inclusive)
        {
            members.insert(exclusive.to_owned(), bound);
        }
    }
}

fn admit_null(members: &mut Map<String, Value>) {
    let nothing = json!({ "type": "null" });
    if let Some(target) = members.remove("$ref") {
        members.insert("anyOf".to_owned(), json!([{ "$ref": target }, nothing]));
        return;
    }
    if let Some(ty) = members.get("type").and_then(Value::as_str) {
        let ty = json!([ty, "null"]);
        members.insert("type".to_owned(), ty);
        if let Some(values) = members.get_mut("enum").and_then(Value::as_array_mut) {
            values.push(Value::Null);
        }
        return;
    }
    for name in ["anyOf", "oneOf"] {
        if let Some(ways) = members.get_mut(name).and_then(Value::as_array_mut) {
            ways.push(nothing);
            return;
        }
    }
    if let Some(parts) = members.remove("allOf") {
        members.insert("anyOf".to_owned(), json!([{ "allOf": parts }, nothing]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(mut schema: Value) -> Value {
        rewrite(&mut schema);
        schema
    }

    #[test]
    fn null_is_a_type() {
        let nullable = |mut schema: Value| {
            schema["nullable"] = json!(true);
            rewritten(schema)
        };
        assert_eq!(nullable(json!({ "type": "string" })), json!({ "type": ["string", "null"] }));
        assert_eq!(
            nullable(json!({ "type": "string", "enum": ["a"] })),
            json!({ "type": ["string", "null"], "enum": ["a", null] })
        );
        assert_eq!(
            nullable(json!({ "anyOf": [{ "type": "string" }] })),
            json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] })
        );
    }

    #[test]
    fn a_reference_keeps_its_description_beside_it() {
        let described =
            json!({ "allOf": [{ "$ref": "#/a" }, { "description": "An a." }], "description": "An a." });
        assert_eq!(rewritten(described.clone()), json!({ "$ref": "#/a", "description": "An a." }));
        let mut optional = described;
        optional["nullable"] = json!(true);
        assert_eq!(
            rewritten(optional),
            json!({ "anyOf": [{ "$ref": "#/a" }, { "type": "null" }], "description": "An a." })
        );
    }

    #[test]
    fn bounds_are_numbers() {
        assert_eq!(
            rewritten(json!({ "minimum": 0.0, "exclusiveMinimum": true, "maximum": 1.5 })),
            json!({ "exclusiveMinimum": 0, "maximum": 1.5 })
        );
        assert_eq!(
            rewritten(json!({ "type": "boolean", "enum": [true] })),
            json!({ "type": "boolean", "const": true })
        );
    }

    #[test]
    fn a_property_may_be_called_as_a_keyword_is() {
        let schema =
            json!({ "properties": { "nullable": { "type": "boolean" }, "example": { "type": "string" } } });
        assert_eq!(rewritten(schema.clone()), schema);
    }
}
