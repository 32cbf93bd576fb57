//! Unknown parameters and members are refused by name, and a wrong method is answered with the allowed ones.

use std::collections::BTreeMap;

use jobs::Surface;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Operation, SURFACES, document, operations, resolved};
use crate::{Client, Reply, TestApp, client::send};

const ID: &str = "0190b5a4-7e2f-7c3a-9b1d-2f4e6a8c0d1e";

fn client_of(app: &TestApp, owner: &Client, surface: Surface) -> Client {
    if surface == Surface::Ops { app.operator() } else { owner.clone() }
}

/// A request to an operation of a surface; the Platform API has paths outside `/v1`, too.
fn request(
    app: &TestApp,
    client: &Client,
    surface: Surface,
    method: &str,
    path: &str,
) -> reqwest::RequestBuilder {
    let method: Method = method.to_uppercase().parse().unwrap();
    if surface != Surface::Platform {
        return client.request(method, path);
    }
    let request = reqwest::Client::new().request(method, format!("{}{path}", app.base));
    request
        .bearer_auth(client.token.as_deref().unwrap_or_default())
        .header("X-Workspace-Id", client.workspace.as_deref().unwrap_or_default())
}

fn path_of(operation: &Operation) -> String {
    let part = |part: &str| if part.starts_with('{') { ID.to_owned() } else { part.to_owned() };
    operation.path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// The reasons by name, in the shape of either surface.
fn fields(reply: &Reply) -> Value {
    let error = reply.json();
    if error["fields"].is_object() { error["fields"].clone() } else { error["error"]["fields"].clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_parameter_that_an_operation_does_not_have_is_refused_by_name() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    for surface in SURFACES {
        let client = client_of(&app, &owner, surface);
        for operation in operations(&document(surface)) {
            let path = path_of(&operation);
            let asked = format!("{path}?no_such_parameter=5");
            let reply = send(request(&app, &client, surface, &operation.method, &asked)).await;
            let here = format!("{} {path}: {} {}", operation.method, reply.status, reply.text);
            assert_eq!((reply.status, reply.code().as_deref()), (422, Some("parameter_unknown")), "{here}");
            assert!(fields(&reply)["no_such_parameter"].is_array(), "{here}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_a_body_does_not_have_is_refused_by_name() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let mut tried = 0;
    for surface in SURFACES {
        let client = client_of(&app, &owner, surface);
        let document = document(surface);
        for operation in operations(&document) {
            let schema =
                resolved(&document, &operation.body["requestBody"]["content"]["application/json"]["schema"]);
            // What is free, or one of several, has rules of its own.
            if !schema["properties"].is_object() || operation.id == "stripe_webhook" {
                continue;
            }
            tried += 1;
            let path = path_of(&operation).replace(ID, owner.workspace.as_deref().unwrap_or(ID));
            let sent = request(&app, &client, surface, &operation.method, &path);
            let reply = send(sent.json(&json!({"no_such_member": 5}))).await;
            let here = format!("{} {path}: {} {}", operation.method, reply.status, reply.text);
            // A caller without the permission is refused first.
            if matches!(reply.status, 401 | 403 | 404 | 503) {
                continue;
            }
            assert_eq!((reply.status, reply.code().as_deref()), (422, Some("parameter_unknown")), "{here}");
            assert!(fields(&reply)["no_such_member"].is_array(), "{here}");
        }
    }
    assert!(tried > 50, "{tried}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slip_within_a_body_is_named_by_its_path() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let wanted = json!({"name": "Leads", "fields": [{"label": "Name", "field_tpye": "text"}]});
    let reply = owner.post("/recordsets", wanted).await;
    assert!(fields(&reply)["fields.0.field_tpye"].is_array(), "{}", reply.text);
    // What a workspace names itself is not known beforehand.
    let leads = json!({"name": "Leads", "fields": [{"label": "Name", "field_type": "text"}]});
    let leads = owner.post("/recordsets", leads).await.expect(201);
    owner.post("/records", json!({"recordset_id": leads["id"], "data": {"name": "Ada"}})).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_unknown_members_the_first_are_named() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let members: serde_json::Map<_, _> = (0..40_000).map(|n| (format!("m{n}"), json!(1))).collect();
    let reply = owner.post("/recordsets", Value::Object(members)).await;
    assert_eq!(reply.code().as_deref(), Some("parameter_unknown"));
    assert_eq!(fields(&reply).as_object().unwrap().len(), 20);
    assert!(reply.text.len() < 10_000, "{} bytes", reply.text.len());
    let long =
        json!({"name": "Leads", "fields": [{"label": "Name", "field_type": "text", "x".repeat(500): 1}]});
    let named = fields(&owner.post("/recordsets", long).await);
    let name = named.as_object().unwrap().keys().next().unwrap();
    assert!(name.starts_with("fields.0.xxx") && name.ends_with('x'), "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_a_path_does_not_have_is_told_which_it_has() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    for surface in SURFACES {
        let client = client_of(&app, &owner, surface);
        let mut paths: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for operation in operations(&document(surface)) {
            paths.entry(path_of(&operation)).or_default().push(operation.method.to_uppercase());
        }
        for (path, mut methods) in paths {
            if methods.iter().any(|method| method == "GET") {
                methods.push("HEAD".to_owned());
            }
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
                if methods.iter().any(|known| known == method) {
                    continue;
                }
                let reply = send(request(&app, &client, surface, method, &path)).await;
                let here = format!("{method} {path}: {} {}", reply.status, reply.text);
                assert_eq!(reply.status, 405, "{here}");
                let allowed = reply.headers["allow"].to_str().unwrap();
                // Paths that look alike with an id in them share an answer.
                assert!(
                    methods.iter().all(|method| allowed.split(", ").any(|one| one == method)),
                    "{here}: {allowed}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_none_of_those_there_are_is_told_which_there_are() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let reply = owner.get("/jobs?status=DONE").await;
    let reasons = fields(&reply)["status"][0].as_str().unwrap_or_default().to_owned();
    assert!(reasons.contains("RUNNING") && reasons.contains("COMPLETED"), "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_what_its_status_promises() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    // RFC 6750: no credential, no error; a bad one, its error.
    let challenge = async |client: Client| {
        let reply = client.get("/jobs").await;
        assert_eq!(reply.status, 401);
        reply.headers["www-authenticate"].to_str().unwrap().to_owned()
    };
    assert!(!challenge(owner.with_token(None)).await.contains("error="));
    assert!(challenge(owner.with_token(Some("garbage"))).await.contains("error=\"invalid_token\""));
    // A 202 has the location of its job.
    let leads = json!({"name": "Leads", "fields": [{"label": "Name", "field_type": "text"}]});
    let leads = owner.post("/recordsets", leads).await.expect(201);
    let reply = owner.post("/recordsets/export", json!({"recordset_id": leads["id"]})).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    assert_eq!(reply.headers["location"].to_str().unwrap(), reply.json()["status_url"].as_str().unwrap());
    // A page on an origin that is not listed gets the reason.
    let ask = reqwest::Client::new()
        .request(Method::OPTIONS, format!("{}/api/v1/jobs", app.base))
        .header("Origin", "https://elsewhere.example")
        .header("Access-Control-Request-Method", "GET");
    let reply = send(ask).await;
    assert_eq!((reply.status, reply.code().as_deref()), (403, Some("origin_not_allowed")));
    assert!(reply.text.contains("CORS"), "{}", reply.text);
}
