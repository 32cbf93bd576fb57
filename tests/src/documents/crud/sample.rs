//! What is created and changed in each section: what its document requires, and beyond that what is here.

use serde_json::{Map, Value, json};

use super::{
    super::{resolved, types_of},
    Operation,
    section::Section,
};
use crate::{Client, TestApp, workspace::members::member_of};

/// The section whose POST creates an invitation; the member exists once it is accepted.
pub(super) const OF_INVITED: &str = "/members";

/// A thing to create in a section, and how it is changed.
#[derive(Default)]
pub(super) struct Sample {
    /// The collection's path, with what it lies in.
    pub collection: String,
    pub new: Value,
    pub change: Value,
    /// What is there without being created, where POST creates something else.
    pub there: Option<Value>,
    /// What DELETE marks an item with, where it stays.
    pub stays_with: Option<&'static str>,
}

/// The sample of a section.
pub(super) async fn sample(app: &TestApp, owner: &Client, document: &Value, section: &Section<'_>) -> Sample {
    let mut sample = Sample {
        collection: section.collection.to_owned(),
        new: required(document, section.create, "made"),
        change: section.change.map(|change| required(document, change, "changed")).unwrap_or_default(),
        ..Sample::default()
    };
    let mut new = |more: Value| sample.new.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    match section.collection {
        "/records" => {
            let things = json!({ "name": "Things", "fields": [{ "label": "Name", "field_type": "text" }] });
            let things = owner.post("/recordsets", things).await.expect(201);
            new(json!({ "recordset_id": things["id"], "data": { "name": "made" } }));
            sample.change = json!({ "data": { "name": "changed" } });
        }
        "/v1/scheduled-jobs" => {
            new(json!({ "cron_expression": "@yearly", "action_type": "no_op" }));
            sample.change = json!({ "name": "changed" });
        }
        OF_INVITED => sample.there = Some(member_of(&app.join(owner, "viewer").await).await),
        "/teams/{team_id}/members" => {
            let (team, _) = owner.create("/teams", json!({ "name": "Those" })).await;
            let member = member_of(&app.join(owner, "viewer").await).await;
            new(json!({ "member_id": member["id"] }));
            sample.collection = format!("{team}/members");
            sample.change = json!({ "role": "lead" });
        }
        _ => {}
    }
    if section.collection == "/v1/keys" {
        sample.stays_with = Some("revoked_at");
    }
    sample
}

/// The properties of the body that an operation takes.
pub(super) fn properties<'a>(document: &'a Value, operation: &'a Operation) -> &'a Map<String, Value> {
    body(document, operation)["properties"].as_object().expect("a body has properties")
}

fn body<'a>(document: &'a Value, operation: &'a Operation) -> &'a Value {
    resolved(document, &operation.body["requestBody"]["content"]["application/json"]["schema"])
}

/// Whether an operation can be called without a body, or with an empty one.
pub(super) fn needs_no_body(document: &Value, operation: &Operation) -> bool {
    let content = &operation.body["requestBody"]["content"];
    let required = &body(document, operation)["required"];
    content.is_null()
        || content["application/json"].is_object() && required.as_array().is_none_or(Vec::is_empty)
}

/// The schema of a property without null.
pub(super) fn present<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let ways = schema["anyOf"].as_array().or(schema["allOf"].as_array());
    let way = ways.and_then(|ways| ways.iter().find(|way| way["type"] != "null"));
    resolved(document, way.unwrap_or(schema))
}

/// A body with what its schema requires, or, of one that requires nothing, with its first text, else its first number
/// or switch.
fn required(document: &Value, operation: &Operation, text: &str) -> Value {
    let properties = properties(document, operation);
    let of_type = |ty: &str| {
        let found = properties.iter().find(|(_, schema)| {
            types_of(schema).contains(&ty) && schema["enum"].is_null() && schema["format"].is_null()
        });
        found.map(|(name, _)| name.as_str())
    };
    let schema = body(document, operation);
    let mut names: Vec<_> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() {
        names.extend(["string", "integer", "number", "boolean"].into_iter().find_map(of_type));
    }
    // What the type itself gives as an example goes before what its properties say.
    let example = &schema["examples"][0];
    let value = |name: &str| match &example[name] {
        Value::Null => value(document, &properties[name], text),
        given => given.clone(),
    };
    names.into_iter().map(|name| (name.to_owned(), value(name))).collect::<Map<_, _>>().into()
}

/// A value that a schema takes, with that text in it where it is free.
fn value(document: &Value, schema: &Value, text: &str) -> Value {
    let schema = present(document, schema);
    for given in [&schema["examples"][0], &schema["const"], &schema["enum"][0]] {
        if !given.is_null() {
            return given.clone();
        }
    }
    let is_for_urls = schema["pattern"].as_str().is_some_and(|pattern| pattern.starts_with("^http"));
    match (types_of(schema).first().copied(), schema["format"].as_str()) {
        (Some("boolean"), _) => json!(false),
        (Some("integer" | "number"), _) => match &schema["minimum"] {
            Value::Null => json!(1),
            least => least.clone(),
        },
        (Some("object"), _) => {
            let names = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let members =
                names.map(|name| (name.to_owned(), value(document, &schema["properties"][name], text)));
            members.collect::<Map<_, _>>().into()
        }
        (Some("array"), _) => json!([value(document, &schema["items"], text)]),
        (_, Some("uuid")) => json!(uuid::Uuid::now_v7()),
        (_, Some("date-time")) => json!("2100-01-01T00:00:00Z"),
        (_, Some("date")) => json!("2100-01-01"),
        (_, Some("email")) => format!("{text}@example.com").into(),
        (_, Some("uri" | "url")) => format!("https://example.com/{text}").into(),
        _ if is_for_urls => format!("https://example.com/{text}").into(),
        _ => text.into(),
    }
}
