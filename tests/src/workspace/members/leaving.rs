//! How members go.

use serde_json::json;

use super::{member_of, path_of};
use crate::{
    TestApp,
    people::join,
    workspace::auth::{PASSWORD, Person, sign_in},
};

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
    let again = join(&ada, &bob, &me["email"], "viewer").await;
    assert_ne!(again["member_id"], me["id"], "nothing of before is left");
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
    let again = join(&ada, &bob, &me["email"], "viewer").await;
    assert_eq!((&again["member_id"], &again["role"]), (&me["id"], &json!("viewer")));
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

    assert_eq!(ada.items(&format!("{team}/members")).await, json!([]));
    assert_eq!(bob.get("/teams").await.error(404), "record_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_deleted_only_by_the_workspace_that_manages_it() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let ada = &owner.client;
    let guest = path_of(&app.join(ada, "member").await).await;
    let info = ada.get(&format!("{guest}/deletion-info")).await.expect(200);
    assert_eq!(info, json!({ "workspace_count": 2, "can_delete_user": false }));
    assert_eq!(ada.delete(&format!("{guest}/permanent")).await.error(409), "in_other_workspaces");
    ada.get(&guest).await.expect(200);

    let bob = Person::employee(&app, &owner, "member").await;
    let path = path_of(&bob.client).await;
    let info = ada.get(&format!("{path}/deletion-info")).await.expect(200);
    assert_eq!(info, json!({ "workspace_count": 1, "can_delete_user": true }));
    ada.delete(&format!("{path}/permanent")).await.expect(204);

    assert_eq!(ada.get(&path).await.error(404), "record_not_found");
    assert_eq!(bob.client.get("/auth/me").await.error(401), "token_invalid");
    assert_eq!(sign_in(&app, &bob.email, PASSWORD).await.status, 401);
    let noted = "select count(*) from shard.audit_log where action = 'user.deleted' and workspace_id is null";
    assert_eq!(app.count(noted).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_its_person_has_made_is_not_deleted_with_its_only_workspace() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = app.join(&ada, "member").await;
    let path = path_of(&bob).await;
    // Their own workspace has gone.
    app.without_owners().await;
    sqlx::query("delete from control.memberships where role = 'owner' and workspace_id <> $1::uuid")
        .bind(ada.workspace.as_deref())
        .execute(&app.database.pool)
        .await
        .unwrap();
    let info = ada.get(&format!("{path}/deletion-info")).await.expect(200);
    assert_eq!(info, json!({ "workspace_count": 1, "can_delete_user": false }));
    assert_eq!(ada.delete(&format!("{path}/permanent")).await.error(409), "account_not_managed");
    bob.get("/auth/me").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_staff_is_not_a_workspaces_to_delete() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let (ada, bob) = (&owner.client, Person::employee(&app, &owner, "member").await);
    let path = path_of(&bob.client).await;
    sqlx::query("update control.users set is_staff = true where email = $1")
        .bind(&bob.email)
        .execute(&app.database.pool)
        .await
        .unwrap();

    assert_eq!(ada.get(&format!("{path}/deletion-info")).await.expect(200)["can_delete_user"], false);
    assert_eq!(ada.delete(&format!("{path}/permanent")).await.error(403), "forbidden");
}
