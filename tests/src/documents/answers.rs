//! What is answered is what the document says: one call of (nearly) every operation, and its body held
//! against the documented schema.

use std::collections::BTreeSet;

use jobs::{Surface, kinds::NoOp};
use serde_json::{Value, json};

use super::{Operation, document, operations};
use crate::{Reply, TestApp, app::new_signup, workspace::sleeper};

/// Operations that answer no JSON, or the same as others do, and have tests of their own.
const LEFT_OUT: [&str; 8] = [
    "cancel_import_job",
    "cancel_job",
    "delete_job",
    "download_export",
    "download_import_report",
    "retry_job",
    "stream_job",
    "stream_signup_job",
];

/// A document to hold answers against, and which operations have been.
struct Contract {
    document: Value,
    operations: Vec<Operation>,
    held: BTreeSet<String>,
}

impl Contract {
    fn new(surface: Surface) -> Self {
        let document = document(surface);
        Self { operations: operations(&document), document, held: BTreeSet::new() }
    }

    /// Holds the answer of an operation against its schema.
    #[track_caller]
    fn hold(&mut self, id: &str, reply: &Reply) -> Value {
        let operation = self.operations.iter().find(|operation| operation.id == id);
        let operation = operation.unwrap_or_else(|| panic!("{id} is no operation"));
        assert!(reply.status < 300, "{id}: {} {}", reply.status, reply.text);
        let response = &operation.body["responses"][reply.status.to_string()];
        assert!(response.is_object(), "{id}: {} is not documented", reply.status);
        self.held.insert(id.to_owned());
        let schema = &response["content"]["application/json; charset=utf-8"]["schema"];
        if schema.is_null() {
            assert!(
                response["content"].as_object().is_none_or(|content| !content.is_empty())
                    || reply.text.is_empty()
            );
            return Value::Null;
        }
        let body = reply.json();
        let mut faults = Vec::new();
        self.compare(schema, &body, id, &mut faults);
        assert!(faults.is_empty(), "{faults:#?} in {body:#}");
        body
    }

    /// The operations that nothing has been held against.
    fn left(&self) -> BTreeSet<&str> {
        let all = self.operations.iter().map(|operation| operation.id.as_str());
        all.filter(|id| !self.held.contains(*id)).collect()
    }

    fn compare(&self, schema: &Value, value: &Value, path: &str, faults: &mut Vec<String>) {
        let schema = match schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/components/schemas/"))
        {
            Some(name) => &self.document["components"]["schemas"][name],
            None => schema,
        };
        for part in schema["allOf"].as_array().into_iter().flatten() {
            // Of several parts, each knows only its own properties.
            let part_only = schema["allOf"].as_array().is_some_and(|parts| parts.len() > 1);
            let mut of_part = Vec::new();
            self.compare(part, value, path, &mut of_part);
            faults.extend(
                of_part.into_iter().filter(|fault| !(part_only && fault.ends_with("is not documented"))),
            );
        }
        let fits = match schema["type"].as_str() {
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("string") => value.is_string(),
            Some("integer") => value.is_i64() || value.is_u64(),
            Some("number") => value.is_number(),
            Some("boolean") => value.is_boolean(),
            _ => true,
        };
        if !fits {
            faults.push(format!("{path} is {value}, not of type {}", schema["type"]));
        }
        if schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
            faults.push(format!("{path} is {value}, none of {}", schema["enum"]));
        }
        let fits = match (schema["format"].as_str(), value.as_str()) {
            (Some("uuid"), Some(text)) => uuid::Uuid::try_parse(text).is_ok(),
            (Some("typeid"), Some(text)) => {
                text.split_once('_').is_some_and(|(_, suffix)| suffix.len() == 26)
            }
            (Some("date-time"), Some(text)) => chrono::DateTime::parse_from_rfc3339(text).is_ok(),
            _ => true,
        };
        if !fits {
            faults.push(format!("{path} is {value}, not of format {}", schema["format"]));
        }
        for required in schema["required"].as_array().into_iter().flatten() {
            let required = required.as_str().unwrap();
            if value.get(required).is_none_or(Value::is_null) {
                faults.push(format!("{path}.{required} is missing"));
            }
        }
        for (name, member) in value.as_object().into_iter().flatten() {
            let here = format!("{path}.{name}");
            match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Value::Null, Value::Null) if schema["properties"].is_object() => {
                    faults.push(format!("{here} is not documented"));
                }
                // What need not be there may be null.
                (property, _) if property.is_object() && member.is_null() => {}
                (property, _) if property.is_object() => self.compare(property, member, &here, faults),
                (_, any) if any.is_object() => self.compare(any, member, &here, faults),
                _ => {}
            }
        }
        for item in value.as_array().into_iter().flatten().filter(|_| schema["items"].is_object()) {
            self.compare(&schema["items"], item, &format!("{path}[]"), faults);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_is_what_is_documented() {
    let app = TestApp::start().await;
    let mut contract = Contract::new(Surface::Workspace);
    let visitor = app.anonymous();

    let signup = new_signup();
    let started = contract.hold("signup_async", &visitor.post("/auth/signup/async", new_signup()).await);
    visitor.follow(&started).await;
    contract.hold("get_signup_job", &visitor.get(started["status_url"].as_str().unwrap()).await);
    let signed_up = contract.hold("signup", &visitor.post("/auth/signup", signup.clone()).await);
    let login = json!({"email": signup["email"], "password": signup["password"]});
    let logged_in = contract.hold("login", &visitor.post("/auth/login", login).await);
    let refresh = json!({"refresh_token": logged_in["refresh_token"]});
    contract.hold("refresh_tokens", &visitor.post("/auth/refresh", refresh).await);
    let owner = visitor.signed_in(&signed_up);
    let me = format!("/auth/me?workspace_id={}", owner.workspace.as_ref().unwrap());
    contract.hold("get_current_user", &owner.get(&me).await);

    let leads = json!({"name": "Leads", "fields": [{"label": "Name", "field_type": "text"},
                       {"label": "Stage", "field_type": "choice", "options": ["won"]}]});
    let leads = contract.hold("create_recordset", &owner.post("/recordsets", leads).await);
    contract.hold("get_recordset", &owner.get("/recordsets/leads").await);
    contract.hold("list_recordsets", &owner.get("/recordsets").await);
    contract.hold("update_recordset", &owner.patch("/recordsets/leads", json!({"description": "x"})).await);
    let record = json!({"recordset_id": leads["id"], "data": {"name": "Ada", "stage": "won"}});
    let record = contract.hold("create_record", &owner.post("/records", record).await);
    let record = format!("/records/{}", record["id"].as_str().unwrap());
    contract.hold("get_record", &owner.get(&record).await);
    contract.hold("update_record", &owner.patch(&record, json!({"data": {"stage": null}})).await);
    contract.hold("list_records", &owner.get("/records").await);

    let upload = owner.upload("/recordsets/import/upload", "people.csv", "Name,Age\nAda,36\nEve,x\n").await;
    let upload = contract.hold("upload_import_file", &upload);
    let file = json!({"file_uri": upload["file_uri"]});
    contract.hold("analyze_import_file", &owner.post("/recordsets/import/upload/analyze", file).await);
    let import = json!({"file_uri": upload["file_uri"], "name": "People",
                        "fields": [{"label": "Name", "field_type": "text"}, {"label": "Age", "field_type": "integer"}]});
    let import = contract.hold("start_recordset_import", &owner.post("/recordsets/import", import).await);
    owner.follow(&import).await;
    let job = import["job_id"].as_str().unwrap();
    let into = format!("/recordsets/import/records/{}", import["recordset_id"].as_str().unwrap());
    let more = owner.post(&into, json!({"file_uri": upload["file_uri"]})).await;
    owner.follow(&contract.hold("start_records_import", &more)).await;
    contract.hold("list_import_jobs", &owner.get("/recordsets/import/jobs").await);
    contract.hold("get_import_job", &owner.get(&format!("/recordsets/import/jobs/{job}")).await);
    contract.hold("get_import_status", &owner.get(&format!("/recordsets/import/status/{job}")).await);
    contract.hold(
        "get_import_report_url",
        &owner.get(&format!("/recordsets/import/jobs/{job}/report-url")).await,
    );
    contract.hold("list_jobs", &owner.get("/jobs").await);
    contract.hold("get_job", &owner.get(&format!("/jobs/{job}")).await);
    contract.hold("list_job_logs", &owner.get(&format!("/jobs/{job}/logs")).await);
    let export = json!({"recordset_id": leads["id"]});
    let export = contract.hold("start_export", &owner.post("/recordsets/export", export).await);
    owner.follow(&export).await;
    contract
        .hold("cancel_all_import_jobs", &owner.post("/recordsets/import/jobs/cancel-all", json!({})).await);
    contract.hold("delete_import_job", &owner.delete(&format!("/recordsets/import/jobs/{job}")).await);
    contract.hold("delete_record", &owner.delete(&record).await);
    contract.hold("delete_recordset", &owner.delete("/recordsets/leads").await);
    contract.hold("logout", &owner.post("/auth/logout", json!({})).await);

    assert_eq!(contract.left(), BTreeSet::from(LEFT_OUT));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_platform_answers_is_what_is_documented() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let mut contract = Contract::new(Surface::Platform);
    for probe in ["health", "ready"] {
        contract.hold(probe, &owner.get(&format!("/{probe}")).await);
    }
    let job = sleeper(&app, &owner, NoOp { sleep_ms: 60_000, ..NoOp::default() }).await;
    contract.hold("get_job", &owner.get(&format!("/v1/jobs/{job}")).await);
    let stream = owner.events(&format!("/v1/jobs/{job}/stream"), None).await;
    contract.hold("cancel_job", &owner.post(&format!("/v1/jobs/{job}/cancel"), json!({})).await);
    stream.to_the_end().await;
    let yearly = json!({"name": "Yearly", "cron_expression": "@yearly", "action_type": "no_op"});
    let made = contract.hold("create_scheduled_job", &owner.post("/v1/scheduled-jobs", yearly).await);
    contract.hold("list_scheduled_jobs", &owner.get("/v1/scheduled-jobs").await);
    let path = format!("/v1/scheduled-jobs/{}", made["data"]["id"].as_str().unwrap());
    contract.hold("get_scheduled_job", &owner.get(&path).await);
    contract.hold("update_scheduled_job", &owner.patch(&path, json!({"name": "Annual"})).await);
    let run = owner.post(&format!("{path}/execute"), json!({})).await;
    let run = contract.hold("execute_scheduled_job", &run);
    owner.follow(&run["data"]).await;
    contract.hold("list_scheduled_job_runs", &owner.get(&format!("{path}/runs")).await);
    contract.hold("delete_scheduled_job", &owner.delete(&path).await);

    assert_eq!(contract.left(), BTreeSet::from(["stream_job"]));
}

#[test]
fn a_body_that_is_not_as_documented_is_found_out() {
    let contract = Contract::new(Surface::Workspace);
    let me = contract.operations.iter().find(|operation| operation.id == "get_current_user").unwrap();
    let schema = &me.body["responses"]["200"]["content"]["application/json; charset=utf-8"]["schema"];
    let id = "0190b5a4-7e2f-7c3a-9b1d-2f4e6a8c0d1e";
    let workspace = json!({"id": id, "name": 7, "slug": "s", "role": "owner", "colour": "red"});
    let body = json!({"id": "x", "email": "a@b.c", "created_at": "today", "workspaces": [workspace]});

    let mut faults = Vec::new();
    contract.compare(schema, &body, "me", &mut faults);

    faults.sort();
    insta::assert_compact_json_snapshot!(faults, @r#"[
  "me.created_at is \"today\", not of format \"date-time\"",
  "me.id is \"x\", not of format \"uuid\"",
  "me.name is missing",
  "me.workspaces[].colour is not documented",
  "me.workspaces[].name is 7, not of type \"string\""
]"#);
}
