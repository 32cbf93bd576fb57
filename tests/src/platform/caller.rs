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
async fn who_is_in_several_workspaces_names_the_one_that_is_meant() {
    let app = TestApp::start().await;
    let (owner, host) = (app.owner().await, app.owner().await);
    join_another_workspace(&app, &owner, &host).await;
    let job = sleeper(&app, &host, NoOp::default()).await;
    let path = format!("/v1/jobs/{job}");

    let unnamed = owner.in_workspace(None).get(&path).await.expect(422);
    assert_eq!(unnamed["error"]["fields"], json!({"X-Workspace-Id": ["is required"]}));
    assert_eq!(owner.get(&path).await.error(404), "record_not_found");
    owner.in_workspace(host.workspace.as_deref()).get(&path).await.expect(200);
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
