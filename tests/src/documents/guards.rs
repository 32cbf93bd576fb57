//! A walk over every operation that is not public: none admits a caller that it should not.

use jobs::Surface;
use reqwest::Method;
use serde_json::Value;

use super::{FOR_PEOPLE, Operation, PUBLIC, document, operations};
use crate::{Client, Reply, TestApp, client::send, platform::join_another_workspace};

fn all(surfaces: &[Surface]) -> Vec<Operation> {
    surfaces.iter().flat_map(|surface| operations(&document(*surface))).collect()
}

/// The operations of some surfaces that need a credential.
fn guarded(surfaces: &[Surface]) -> Vec<Operation> {
    all(surfaces).into_iter().filter(|operation| !PUBLIC.contains(&&*operation.id)).collect()
}

/// Calls an operation with ids that fit and nothing else that does: an admitted caller gets another error.
pub(super) async fn call(client: &Client, operation: &Operation) -> Reply {
    let path: String = operation
        .path
        .split('/')
        .map(|part| match (part, &client.workspace) {
            ("{workspace_id}", Some(workspace)) => workspace,
            _ if part.starts_with('{') => "0190b5a4-7e2f-7c3a-9b1d-2f4e6a8c0d1e",
            _ => part,
        })
        .collect::<Vec<_>>()
        .join("/");
    let method: Method = operation.method.to_uppercase().parse().unwrap();
    let mut request = client.request(method, &path);
    if operation.body["requestBody"]["content"]["application/json"].is_object() {
        request = request.json(&Value::Object(serde_json::Map::new()));
    }
    send(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_without_a_good_token() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    for operation in guarded(&FOR_PEOPLE) {
        let here = format!("{} {}", operation.method, operation.path);
        let nobody = owner.with_token(None);
        let stranger = owner.with_token(Some("garbage"));
        for (client, code) in [(nobody, "token_missing"), (stranger, "token_invalid")] {
            let reply = call(&client, &operation).await;
            assert_eq!((reply.status, reply.code().as_deref()), (401, Some(code)), "{here}: {}", reply.text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_into_a_workspace_that_is_not_theirs() {
    let app = TestApp::start().await;
    let (owner, eve) = (app.owner().await, app.owner().await);
    let intruder = eve.in_workspace(owner.workspace.as_deref());
    // On the Platform API, who is in one workspace only may leave it unsaid.
    join_another_workspace(&app, &owner, &eve).await;
    let homeless = owner.in_workspace(None);
    app.run("update users set current_workspace_id = null").await;
    let in_workspace: Vec<_> = guarded(&FOR_PEOPLE)
        .into_iter()
        .filter(|operation| !operation.body["x-permission"].is_null())
        .collect();
    assert!(in_workspace.len() > 15, "there are more than {}", in_workspace.len());
    for operation in in_workspace {
        let here = format!("{} {}", operation.method, operation.path);
        let reply = call(&intruder, &operation).await;
        assert_eq!(
            (reply.status, reply.code().as_deref()),
            (404, Some("record_not_found")),
            "{here}: {}",
            reply.text
        );
        let reply = call(&homeless, &operation).await;
        // A path that names the workspace needs no header, and this one names none of theirs.
        let refused = if operation.path.contains("{workspace_id}") {
            (404, Some("record_not_found"))
        } else {
            (422, Some("parameter_missing"))
        };
        assert_eq!((reply.status, reply.code().as_deref()), refused, "{here}: {}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_come_in_with_nothing_sensible_is_never_met_by_a_fault() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    // Signing out ends the walk, so it comes last.
    let (last, first): (Vec<_>, Vec<_>) =
        all(&FOR_PEOPLE).into_iter().partition(|operation| operation.id == "logout");
    for operation in first.iter().chain(&last) {
        let reply = call(&owner, operation).await;
        let here = format!("{} {}: {}", operation.method, operation.path, reply.status);
        assert!(
            reply.status < 500 && reply.status != 401
                || operation.id == "refresh_tokens"
                || reply.code().as_deref().is_some_and(|code| code.ends_with("_not_configured")),
            "{here} {}",
            reply.text
        );
        let documented = operation.body["responses"].as_object().unwrap();
        assert!(documented.contains_key(&reply.status.to_string()), "{here} is not documented");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_routes_let_nobody_in_but_the_operator() {
    let app = TestApp::start().await;
    let operator = app.operator();
    let owner = app.owner().await;
    let guarded = guarded(&[Surface::Ops]);
    assert_eq!(guarded.len(), all(&[Surface::Ops]).len(), "none of them is public");
    for operation in guarded {
        let here = format!("{} {}", operation.method, operation.path);
        for (token, code) in [
            (None, "token_missing"),
            (Some("garbage"), "token_invalid"),
            (owner.token.as_deref(), "token_invalid"),
        ] {
            let reply = call(&operator.with_token(token), &operation).await;
            assert_eq!((reply.status, &reply.json()["error"]), (401, &code.into()), "{here}: {}", reply.text);
        }
        let reply = call(&operator, &operation).await;
        assert!(reply.status != 401 && reply.status < 500, "{here}: {} {}", reply.status, reply.text);
    }
    let mistaken = owner.with_token(operator.token.as_deref());
    assert_eq!(mistaken.get("/jobs").await.error(401), "token_invalid", "it opens nothing else");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_of_the_operators_their_routes_are_closed() {
    let app = TestApp::start_with(&[("OPERATOR_TOKEN", "")]).await;
    for operation in guarded(&[Surface::Ops]) {
        let reply = call(&app.operator(), &operation).await;
        assert_eq!((reply.status, &reply.json()["error"]), (503, &"operator_token_not_set".into()));
    }
}
