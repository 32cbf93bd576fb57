//! The roster: members and those who are invited, in one list.

use serde_json::json;

use super::{entry, invite, newcomer, own, roster_of, self_in_roster};
use crate::{TestApp, masked};

#[tokio::test(flavor = "multi_thread")]
async fn the_roster_shows_who_is_in_who_is_not_for_now_and_who_is_invited() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = app.join(&ada, "viewer").await;
    let invitation = invite(&ada, &newcomer(&app).await, "member").await;
    let schema = jobs::workspace_schema(ada.workspace.as_ref().unwrap().parse().unwrap());
    let bob_there = self_in_roster(&bob).await;
    let put_off = format!(
        "update {schema}.members set is_active = false, name = 'Bob', title = 'Miller' where id = '{}'",
        bob_there["member_id"].as_str().unwrap()
    );
    sqlx::query(sqlx::AssertSqlSafe(put_off)).execute(&app.database.pool).await.unwrap();

    let roster = roster_of(&bob).await;
    let seen: Vec<_> = roster
        .iter()
        .map(|entry| json!([entry["name"], entry["title"], entry["role"], entry["status"]]))
        .collect();
    assert_eq!(
        seen,
        [
            json!(["Ada Lovelace", null, "owner", "active"]),
            json!(["Bob", "Miller", "viewer", "inactive"]),
            json!(["Grace Hopper", null, "member", "pending"]),
        ]
    );
    assert_eq!(roster[2]["member_id"], invitation["id"]);
    insta::assert_json_snapshot!(masked(&roster[0]), @r#"
    {
      "avatar_url": null,
      "email": "[email]",
      "invitation_expires_at": null,
      "invited_at": null,
      "joined_at": "[time]",
      "member_id": "[id]",
      "name": "Ada Lovelace",
      "role": "owner",
      "status": "active",
      "title": null,
      "user_id": "[id]"
    }
    "#);
    assert_eq!((&roster[2]["joined_at"], &roster[2]["invited_at"]), (&json!(null), &invitation["sent_at"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roster_is_its_own_peoples_and_withdrawn_invitations_are_not_in_it() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.owner().await, app.owner().await);
    let invitation = invite(&ada, &newcomer(&app).await, "member").await;
    assert_eq!(entry(&ada, &invitation["user_id"]).await["status"], "pending");
    assert_eq!(eve.get(&format!("{}/members", own(&ada))).await.error(404), "record_not_found");
    let cancel = json!({ "invitation_id": invitation["id"] });
    ada.post("/workspaces/invitations/cancel", cancel).await.expect(200);
    assert_eq!(roster_of(&ada).await.len(), 1);
    assert_eq!(roster_of(&eve).await.len(), 1);
}
