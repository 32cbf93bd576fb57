//! What is created and changed in each section: what its document requires, and beyond that what is here.

use serde_json::{Map, Value, json};

use super::{
    super::{resolved, types_of},
    Operation, Section,
};
use crate::{Client, TestApp, workspace::members::member_of};

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
        "/api-keys" | "/v1/keys" => new(json!({ "scopes": ["read"] })),
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
        // POST invites; who accepts is a member.
        "/members" => sample.there = Some(member_of(&app.join(owner, "viewer").await).await),
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

/// A body with what its schema requires, or, of one that requires nothing, with its first text, else its first switch.
fn required(document: &Value, operation: &Operation, text: &str) -> Value {
    let schema = resolved(document, &operation.body["requestBody"]["content"]["application/json"]["schema"]);
    let properties = schema["properties"].as_object().expect("a body has properties");
    let of_type = |ty: &'static str| {
        let found = properties.iter().find(|(_, schema)| {
            types_of(schema).contains(&ty) && schema["enum"].is_null() && schema["format"].is_null()
        });
        found.map(|(name, _)| name.as_str())
    };
    let mut names: Vec<_> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() {
        names.extend(of_type("string").or_else(|| of_type("boolean")));
    }
    let value = |name: &str| {
        let schema = resolved(document, &properties[name]);
        let ty = types_of(schema);
        match ty.first() {
            Some(&"boolean") => json!(false),
            Some(&"integer" | &"number") => json!(1),
            Some(&"object") => json!({}),
            Some(&"array") => json!([]),
            _ if schema["pattern"].as_str().is_some_and(|pattern| pattern.starts_with("^http")) => {
                format!("https://example.com/{text}").into()
            }
            _ => schema["enum"].get(0).cloned().unwrap_or_else(|| text.into()),
        }
    };
    names.into_iter().map(|name| (name.to_owned(), value(name))).collect::<Map<_, _>>().into()
}
