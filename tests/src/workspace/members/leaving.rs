//! How members go.

use serde_json::json;

use super::{member_of, path_of, stranger};
use crate::{Client, TestApp};

/// An account that is in no workspace, as one that somebody was taken out of leaves it.
async fn homeless(app: &TestApp) -> (Client, String) {
    let (client, email) = stranger(app).await;
    app.without_owners().await;
    sqlx::query("delete from control.memberships where workspace_id = $1::uuid")
        .bind(client.workspace.as_deref())
        .execute(&app.database.pool)
        .await
        .unwrap();
    (client, email)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_taken_out_does_not_get_in_any_more() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = app.join(&ada, "admin").await;
    let (path, me) = (path_of(&bob).await, member_of(&bob).await);

    ada.delete(&path).await.expect(204);

    assert_eq!(bob.get("/members/me").await.error(404), "record_not_found");
    assert_eq!(ada.get(&path).await.error(404), "record_not_found");
    assert_eq!(ada.delete(&path).await.error(404), "record_not_found");
    bob.get("/auth/me").await.expect(200);
    let (_, again) = ada.create("/members", json!({ "email": me["email"], "role": "viewer" })).await;
    assert_ne!(again["id"], me["id"], "nothing of before is left");
    let events = "select count(*) from shard.events where type = 'member.removed'";
    assert_eq!(app.count(events).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_membership_that_is_kept_opens_nothing_and_is_taken_up_again() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = app.join(&ada, "admin").await;
    let (path, me) = (path_of(&bob).await, member_of(&bob).await);

    ada.delete(&format!("{path}?remove_from_workspace=false")).await.expect(204);

    assert_eq!(bob.get("/members/me").await.error(404), "record_not_found");
    assert_eq!(ada.get("/members").await.expect(200)["total"], 1);
    let kept = "select count(*) from control.memberships where role = 'admin' and not is_active";
    assert_eq!(app.count(kept).await, 1);
    let (_, again) = ada.create("/members", json!({ "email": me["email"], "role": "viewer" })).await;
    assert_eq!((&again["id"], &again["role"]), (&me["id"], &json!("viewer")));
    assert_eq!(member_of(&bob).await["is_active"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_may_leave_and_takes_teams_and_tours_along() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = app.join(&ada, "admin").await;
    let (team, _) = bob.create("/teams", json!({ "name": "Accounts" })).await;
    bob.post("/members/me/tours", json!({ "tour_id": "welcome", "status": "completed" })).await.expect(200);

    bob.delete(&path_of(&bob).await).await.expect(204);

    assert_eq!(ada.get(&format!("{team}/members")).await.expect(200), json!([]));
    assert_eq!(bob.get("/teams").await.error(404), "record_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_deleted_only_with_its_last_workspace() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let at_home = path_of(&app.join(&ada, "member").await).await;
    let info = ada.get(&format!("{at_home}/deletion-info")).await.expect(200);
    assert_eq!(info, json!({ "workspace_count": 2, "can_delete_user": false }));
    let refused = ada.delete(&format!("{at_home}/permanent")).await;
    assert_eq!(refused.error(409), "in_other_workspaces");
    ada.get(&at_home).await.expect(200);

    let (bob, email) = homeless(&app).await;
    let (path, _) = ada.create("/members", json!({ "email": email })).await;
    let info = ada.get(&format!("{path}/deletion-info")).await.expect(200);
    assert_eq!(info, json!({ "workspace_count": 1, "can_delete_user": true }));
    ada.delete(&format!("{path}/permanent")).await.expect(204);

    assert_eq!(ada.get(&path).await.error(404), "record_not_found");
    assert_eq!(bob.get("/auth/me").await.error(401), "token_invalid");
    let login = json!({ "email": email, "password": "correct horse battery staple" });
    assert_eq!(app.anonymous().post("/auth/login", login).await.status, 401);
    assert_eq!(ada.post("/members", json!({ "email": email })).await.error(422), "record_invalid");
    let noted = "select count(*) from shard.audit_log where action = 'user.deleted' and workspace_id is null";
    assert_eq!(app.count(noted).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_staff_is_not_a_workspaces_to_delete() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let (_, email) = homeless(&app).await;
    let (path, _) = ada.create("/members", json!({ "email": email })).await;
    sqlx::query("update control.users set is_staff = true where email = $1")
        .bind(&email)
        .execute(&app.database.pool)
        .await
        .unwrap();

    assert_eq!(ada.get(&format!("{path}/deletion-info")).await.expect(200)["can_delete_user"], false);
    assert_eq!(ada.delete(&format!("{path}/permanent")).await.error(403), "forbidden");
}
