//! The OpenAPI documents of the surfaces: complete, served, kept to, and every change of them visible.

mod access;
mod answers;
mod audit;
mod authority;
mod codes;
mod crud;
mod guards;
mod in_person;
mod lists;
mod nonsense;
mod pages;
mod permissions;
mod strict;

use std::collections::BTreeMap;

use jobs::Surface;
use serde_json::{Map, Value};

/// Operations that anyone may call: before there is a token, by a signed link, or to look after the process.
const PUBLIC: &[&str] = &[
    "accept_invitation",
    "activate_account",
    "api_docs",
    "check_clerk_user",
    "download_export",
    "download_import_report",
    "exchange_impersonation",
    "get_activation",
    "get_avatar",
    "get_invitation_details",
    "get_signup_job",
    "get_stripe_invite",
    "get_tenant_config",
    "health",
    "landing_page",
    "login",
    "look_up_tenants",
    "lookup_invite",
    "openapi_document",
    "ready",
    "refresh_tokens",
    "register",
    "request_password_reset",
    "resend_activation",
    "reset_password",
    "signup",
    "signup_async",
    "signup_stripe_invite",
    "signup_stripe_invite_async",
    "stream_signup_job",
    "stripe_webhook",
];

const SURFACES: [Surface; 3] = [Surface::Workspace, Surface::Platform, Surface::Ops];

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// An operation of a document.
struct Operation {
    path: String,
    method: String,
    id: String,
    body: Value,
}

fn document(surface: Surface) -> Value {
    api_server::documents::document(surface).unwrap()
}

/// Those that members of a workspace use.
const FOR_PEOPLE: [Surface; 2] = [Surface::Workspace, Surface::Platform];

fn operations(document: &Value) -> Vec<Operation> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &Value)| -> Vec<Operation> {
        let methods =
            item.as_object().unwrap().iter().filter(|(method, _)| METHODS.contains(&method.as_str()));
        methods
            .map(|(method, body)| Operation {
                path: path.clone(),
                method: method.clone(),
                id: body["operationId"].as_str().unwrap_or_default().to_owned(),
                body: body.clone(),
            })
            .collect()
    };
    paths.iter().flat_map(of_path).collect()
}

#[test]
fn every_operation_has_an_id_of_its_own_a_tag_and_a_summary() {
    for surface in SURFACES {
        let document = document(surface);
        let tags: Vec<_> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        for Operation { path, method, id, body } in operations(&document) {
            let here = format!("{method} {path}");
            assert!(!id.is_empty(), "{here} has no operationId");
            let is_snake = id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            assert!(is_snake, "{here}: {id} is not snake_case");
            if let Some(there) = seen.insert(id.clone(), here.clone()) {
                panic!("{here} and {there} are both {id}");
            }
            let of = body["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
            assert_eq!(of.len(), 1, "{here} has one tag");
            assert!(tags.contains(&&of[0]), "{here}: {} is not described", of[0]);
            let summary = body["summary"].as_str().unwrap_or_default();
            assert!((5..=80).contains(&summary.len()), "{here}: a summary of {summary:?}");
            assert!(!summary.ends_with('.'), "{here}: {summary:?} is a heading");
        }
        assert!(!seen.is_empty());
    }
}

#[test]
fn every_operation_documents_how_it_succeeds_and_how_it_fails() {
    for surface in SURFACES {
        let document = document(surface);
        for Operation { path, method, id, body } in operations(&document) {
            let responses = body["responses"].as_object().unwrap();
            let has = |status: &str| responses.contains_key(status);
            assert!(responses.keys().any(|status| status.starts_with('2')), "{method} {path}");
            for (status, response) in responses {
                let response = resolved(&document, response);
                assert!(!response["description"].as_str().unwrap().is_empty(), "{method} {path} {status}");
                if status.as_str() >= "400" {
                    let schema = &response["content"]["application/json"]["schema"]["$ref"];
                    let name =
                        schema.as_str().unwrap_or_else(|| panic!("{method} {path} {status}: no schema"));
                    assert!(name.ends_with("Error"), "{method} {path} {status}: {name}");
                    let examples = response["content"]["application/json"]["examples"].as_object();
                    assert!(examples.is_some_and(|all| !all.is_empty()), "{name} has no example");
                }
            }
            if id == "health" {
                continue;
            }
            assert!(has("500") && has("503"), "{method} {path}: faults of ours");
            if !body["requestBody"].is_null() {
                for status in ["400", "413", "415", "422"] {
                    assert!(has(status), "{method} {path}: a body can be wrong, {status}");
                }
            }
            if path.contains('{') {
                assert!(has("404"), "{method} {path}: it may not be there");
            }
            if !PUBLIC.contains(&&*id) {
                assert!(has("401"), "{method} {path}: a token may be bad");
            }
            if !body["x-permission"].is_null() {
                assert!(has("403") && has("404"), "{method} {path}: the caller may not, or not be there");
            }
        }
    }
}

#[test]
fn every_operation_declares_its_security_or_is_known_to_be_public() {
    for surface in SURFACES {
        let document = document(surface);
        let schemes = document["components"]["securitySchemes"].as_object().cloned().unwrap_or_default();
        for Operation { path, method, id, body } in operations(&document) {
            let security = body["security"].as_array().cloned();
            let security = security.unwrap_or_else(|| panic!("{method} {path} says nothing of security"));
            assert_eq!(security.is_empty(), PUBLIC.contains(&&*id), "{method} {path} ({id}): {security:?}");
            for name in security.iter().flat_map(|way| way.as_object().unwrap().keys()) {
                assert!(schemes.contains_key(name), "{method} {path}: {name} is not described");
            }
        }
    }
}

#[test]
fn every_parameter_and_property_is_of_a_described_schema() {
    for surface in SURFACES {
        let document = document(surface);
        let schemas = document["components"]["schemas"].as_object().unwrap();
        references(&document, &mut |reference| {
            let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference}"));
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        });
        for Operation { path, method, body, .. } in operations(&document) {
            for parameter in body["parameters"].as_array().into_iter().flatten() {
                let described = parameter["description"].as_str().is_some_and(|text| !text.is_empty());
                assert!(described, "{method} {path}: {} has no description", parameter["name"]);
            }
        }
        for (name, schema) in schemas {
            for (property, schema) in schema["properties"].as_object().unwrap_or(&Map::new()) {
                let said = ["description", "$ref", "allOf", "anyOf", "properties"];
                let described = said.iter().any(|part| !schema[part].is_null());
                assert!(described, "{name}.{property} has no description");
            }
        }
    }
}

/// Texts from the comments of the sources are written for clients.
#[test]
fn no_description_speaks_of_the_sources() {
    for surface in SURFACES {
        descriptions(&document(surface), "", &mut |here, text| {
            for path in text.match_indices("](").map(|(at, _)| &text[at + 2..]) {
                assert!(path.starts_with("http"), "{surface:?} {here}: a link to a file: {text}");
            }
            let of_sources =
                ["::", "[`", "crate", ".rs", "Query<", "Option<", "Vec<", "#[", "See the module"];
            for mark in of_sources {
                assert!(!text.contains(mark), "{surface:?} {here}: {mark} in {text}");
            }
        });
    }
}

/// Calls with every text of a document that is for people, and where it is.
fn descriptions(value: &Value, here: &str, call: &mut impl FnMut(&str, &str)) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value.as_str().filter(|_| ["description", "summary", "title"].contains(&&**name)) {
                    Some(text) => call(here, text),
                    None => descriptions(value, &format!("{here}/{name}"), call),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| descriptions(item, here, call)),
        _ => {}
    }
}

/// What a component's reference leads to, or the thing itself.
fn resolved<'a>(document: &'a Value, thing: &'a Value) -> &'a Value {
    let pointer = thing["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    pointer.map_or(thing, |pointer| document.pointer(pointer).unwrap_or_else(|| panic!("{pointer}")))
}

/// The types that a schema admits, with or without null.
fn types_of(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}

/// Calls with every `$ref` in a document.
fn references(value: &Value, call: &mut impl FnMut(&str)) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value.as_str().filter(|_| name == "$ref") {
                    Some(reference) => call(reference),
                    None => references(value, call),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, call)),
        _ => {}
    }
}

#[test]
fn a_change_of_the_contract_shows_in_a_diff() {
    insta::assert_json_snapshot!("workspace-api", document(Surface::Workspace));
    insta::assert_json_snapshot!("platform-api", document(Surface::Platform));
    insta::assert_json_snapshot!("ops-api", document(Surface::Ops));
}

#[test]
fn the_documents_are_of_the_present_dialect() {
    for surface in SURFACES {
        let document = document(surface);
        assert_eq!(document["openapi"], "3.1.0");
        let text = document.to_string();
        for old in ["\"nullable\"", "\"exclusiveMinimum\":true", "\"example\":", "charset=utf-8\":{\"schema"]
        {
            assert!(!text.contains(old), "{surface:?}: {old}");
        }
        assert!(document["info"]["description"].as_str().unwrap().contains("parameter_unknown"));
        assert!(document["info"]["license"]["identifier"].is_string());
    }
}

/// Generators make a member with a default one that is always there.
#[test]
fn nothing_that_may_be_absent_from_a_request_has_a_default() {
    for surface in SURFACES {
        let document = document(surface);
        for Operation { path, method, body, .. } in operations(&document) {
            let mut seen = BTreeMap::new();
            collect(&document, &body["requestBody"], &mut seen);
            for (name, schema) in seen {
                for (member, schema) in schema["properties"].as_object().into_iter().flatten() {
                    assert!(schema["default"].is_null(), "{method} {path}: {name}.{member}");
                }
            }
        }
    }
}

/// Every schema that a value refers to.
fn collect<'a>(document: &'a Value, value: &'a Value, seen: &mut BTreeMap<String, &'a Value>) {
    references(value, &mut |reference| {
        let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
        if seen.insert(reference.to_owned(), schema).is_none() {
            collect(document, schema, seen);
        }
    });
}

#[test]
fn a_stream_is_documented_as_one_of_its_events() {
    let document = document(Surface::Workspace);
    let stream = &document["paths"]["/jobs/{job_id}/stream"]["get"]["responses"]["200"]["content"];
    let message = resolved(&document, &stream["text/event-stream"]["schema"]);
    let ways: Vec<_> =
        message["oneOf"].as_array().unwrap().iter().map(|way| resolved(&document, way)).collect();
    let statuses: Vec<_> = ways
        .iter()
        .flat_map(|way| resolved(&document, &way["properties"]["status"])["enum"].as_array().unwrap())
        .map(|status| status.as_str().unwrap())
        .collect();
    assert_eq!(
        statuses,
        ["PENDING", "QUEUED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "HEARTBEAT", "GAP", "CLOSED"]
    );
}
