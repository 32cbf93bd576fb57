//! What the document says of a section's values is kept: a value that breaks the rules of its schema is refused by
//! field, and one that is said to be unique is taken once.

use regex::Regex;
use serde_json::{Value, json};

use super::{People, Walk, sample, sample::Sample};

/// The phrase of a description for values that are unique in a workspace.
const UNIQUE: &str = "unique in the workspace";
/// The phrase for values without regard to case.
const WITHOUT_CASE: &str = "without regard to case";

/// Texts that names, addresses and the like don't often admit. A link may be one that runs a script in the browser that opens it.
const UNUSUAL: [&str; 10] =
    ["", " ", "two\nlines", "CRM", "1st", "_x", "a-b", "a b", "\u{e4}", "javascript:alert(1)"];

/// Values that break the rules of a schema.
fn broken(schema: &Value) -> Vec<Value> {
    let number = |rule: &str| schema[rule].as_i64();
    let length = |rule: &str| number(rule).and_then(|length| usize::try_from(length).ok());
    let of_length = |length: usize| json!("x".repeat(length));
    let mut broken = Vec::new();
    broken.extend(length("minLength").and_then(|least| least.checked_sub(1)).map(of_length));
    broken.extend(length("maxLength").map(|most| of_length(most + 1)));
    broken.extend(number("minimum").and_then(|least| least.checked_sub(1)).map(Value::from));
    broken.extend(number("maximum").and_then(|most| most.checked_add(1)).map(Value::from));
    if schema["enum"].is_array() || schema["format"] == "uuid" || schema["format"] == "date-time" {
        broken.push(json!("no such value"));
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        let pattern = Regex::new(pattern).expect("a pattern of the document");
        let long = "x".repeat(64);
        let texts = UNUSUAL.into_iter().chain([long.as_str()]);
        let before = broken.len();
        broken.extend(texts.filter(|text| !pattern.is_match(text)).map(Value::from));
        assert!(broken.len() > before, "{pattern} admits each of {UNUSUAL:?}");
    }
    broken
}

/// An error's reasons about a field, on either surface.
fn said_of<'a>(error: &'a Value, field: &str) -> &'a Value {
    let plain = &error["fields"][field];
    if plain.is_null() { &error["error"]["fields"][field] } else { plain }
}

impl Walk<'_> {
    /// Each rule of each property is broken once, by those who may create and change.
    pub(super) async fn keep_the_rules(&self, document: &Value, people: &People) {
        let before = self.present(people).await;
        let Sample { new, change, .. } = &self.sample;
        let bodies = [(Some(self.section.create), new), (self.section.change, change)];
        for (operation, good) in bodies.into_iter().filter_map(|(operation, good)| Some((operation?, good))) {
            for (property, schema) in sample::properties(document, operation) {
                for value in broken(sample::present(document, schema)) {
                    let mut body = good.clone();
                    body[property] = value.clone();
                    let reply = self.send(people.least(operation), operation, &body).await;
                    let here = format!("{}: {property} {value}: {}", operation.id, reply.text);
                    assert_eq!(reply.status, 422, "{here}");
                    assert!(said_of(&reply.json(), property).is_array(), "{here}");
                }
            }
        }
        assert_eq!(self.present(people).await, before, "{}: broken rules", self.section.collection);
    }

    /// What is unique in the workspace by its description is not taken twice there, and free elsewhere.
    pub(super) async fn keep_unique(&self, document: &Value, people: &People) {
        let create = self.section.create;
        for (property, schema) in sample::properties(document, create) {
            let description = schema["description"].as_str().unwrap_or_default();
            let Some(value) = self.sample.new[property].as_str() else { continue };
            if !description.contains(UNIQUE) {
                continue;
            }
            let mut again = vec![value.to_owned()];
            if description.contains(WITHOUT_CASE) {
                again.push(value.to_uppercase());
            }
            for value in again {
                let mut body = self.sample.new.clone();
                body[property] = value.into();
                let reply = self.send(people.least(create), create, &body).await;
                let found = (reply.status, reply.code());
                assert_eq!(found, (409, Some(format!("{property}_taken"))), "{}: {}", create.id, reply.text);
            }
            let elsewhere = self.call(&people.stranger, create).await;
            assert_eq!(elsewhere.status, 201, "{}: {property} is free: {}", create.id, elsewhere.text);
        }
    }
}
