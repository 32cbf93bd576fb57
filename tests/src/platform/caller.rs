//! Who calls the Platform API, and in which workspace.

use serde_json::json;

use super::join_another_workspace;
use crate::{TestApp, workspace::sleeper};
use ::jobs::kinds::NoOp;

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_one_workspace_need_not_name_it() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = sleeper(&app, &owner, NoOp::default()).await;

    let unnamed = owner.in_workspace(None).get(&format!("/v1/jobs/{job}")).await.expect(200);

    assert_eq!(unnamed["data"]["kind"], "engine.no_op");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_several_workspaces_names_the_one_that_is_meant_or_has_switched_to_it() {
    let app = TestApp::start().await;
    let (owner, host) = (app.owner().await, app.owner().await);
    join_another_workspace(&app, &owner, &host).await;
    let job = sleeper(&app, &host, NoOp::default()).await;
    let path = format!("/v1/jobs/{job}");

    let unnamed = owner.in_workspace(None);
    app.run("update users set current_workspace_id = null").await;
    let refused = unnamed.get(&path).await.expect(422);
    assert_eq!(refused["error"]["fields"], json!({"X-Workspace-Id": ["is required"]}));
    assert_eq!(owner.get(&path).await.error(404), "record_not_found");
    owner.in_workspace(host.workspace.as_deref()).get(&path).await.expect(200);

    unnamed.post("/workspaces/switch", json!({"workspace_id": host.workspace})).await.expect(200);
    assert_eq!(owner.get("/auth/me").await.expect(200)["current_workspace_id"], json!(host.workspace));
    unnamed.get(&path).await.expect(200);
    assert_eq!(owner.get(&path).await.error(404), "record_not_found", "what is named counts");
    // A program doesn't depend on where its person works at the moment.
    let token = owner.post("/auth/tokens", json!({"name": "Script"})).await.expect(201);
    let program = unnamed.with_token(token["token"].as_str());
    assert_eq!(program.get(&path).await.error(422), "parameter_missing");
    // Who was switched off is where they were before, if they are in one workspace only.
    app.run("update memberships set is_active = false where role = 'member'").await;
    assert_eq!(unnamed.get(&path).await.error(404), "record_not_found");
    assert_eq!(owner.get("/auth/me").await.expect(200)["current_workspace_id"], json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workspace_header_takes_either_form_of_the_id_and_names_the_expected_form() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let books = owner.get("/v1/books").await.expect(200);
    let typed = owner.in_workspace(books["data"][0]["id"].as_str());
    for path in ["/recordsets", "/v1/usage"] {
        typed.get(path).await.expect(200);
        for wrong in ["", "analytical-engines", "usr_01h455vb4pex5vsknk084sn02q"] {
            let refused = owner.in_workspace(Some(wrong)).get(path).await;
            assert_eq!(refused.status, 422, "{path} {wrong:?}: {}", refused.text);
            assert!(
                refused.text.contains("X-Workspace-Id") && refused.text.contains("tn_"),
                "{}",
                refused.text
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_ended_opens_nothing_whether_the_workspace_is_named_or_not() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    owner.post("/auth/logout", json!({})).await;
    let path = format!("/v1/jobs/{}", uuid::Uuid::nil());

    for who in [owner.clone(), owner.in_workspace(None)] {
        assert_eq!(who.get(&path).await.error(401), "token_invalid");
    }
}
