//! The member list: members and invited people.

use serde_json::json;

use super::{entry, invite, newcomer, own, roster_of, self_in_roster};
use crate::{
    TestApp, masked,
    workspace::auth::avatar::{fetch, png},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_roster_shows_who_is_in_who_is_not_for_now_and_who_is_invited() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = app.join(&ada, "viewer").await;
    let invitation = invite(&ada, &newcomer(&app).await, "member").await;
    let bob_there = self_in_roster(&bob).await;
    let bobs = format!("/members/{}", bob_there["member_id"].as_str().unwrap());
    let change = json!({ "display_name": "Bob", "title": "Miller", "is_active": false });
    ada.patch(&bobs, change).await.expect(200);

    let roster = roster_of(&ada).await;
    let seen: Vec<_> = roster
        .iter()
        .map(|entry| json!([entry["name"], entry["title"], entry["role"], entry["status"]]))
        .collect();
    assert_eq!(
        seen,
        [
            json!(["Ada Lovelace", null, "owner", "active"]),
            json!(["Bob", "Miller", "viewer", "inactive"]),
            json!([invitation["email"], null, "member", "pending"]),
        ]
    );
    assert_eq!((&roster[2]["member_id"], &roster[2]["user_id"]), (&invitation["id"], &json!(null)));
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
async fn the_roster_has_links_to_uploaded_pictures() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = app.join(&ada, "viewer").await;
    bob.upload("/auth/me/avatar", "bob.png", png(30, 10)).await.expect(200);

    let me = bob.get("/auth/me").await.expect(200);
    let shown = entry(&ada, &me["id"]).await;

    assert_eq!(fetch(&app, &shown["avatar_url"]).await.1.width(), 30);
    assert_eq!(shown["avatar_url"], me["avatar_url"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_taken_out_and_is_kept_is_not_active() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = app.join(&ada, "viewer").await;
    let there = self_in_roster(&bob).await;
    let kept = format!("/members/{}?remove_from_workspace=false", there["member_id"].as_str().unwrap());
    ada.delete(&kept).await.expect(204);

    assert_eq!(entry(&ada, &there["user_id"]).await["status"], "inactive");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roster_is_its_own_peoples_and_withdrawn_invitations_are_not_in_it() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.owner().await, app.owner().await);
    let invitation = invite(&ada, &newcomer(&app).await, "member").await;
    assert_eq!(roster_of(&ada).await.last().unwrap()["status"], "pending");
    assert_eq!(eve.get(&format!("{}/members", own(&ada))).await.error(404), "record_not_found");
    let cancel = json!({ "invitation_id": invitation["id"] });
    ada.post("/workspaces/invitations/cancel", cancel).await.expect(200);
    assert_eq!(roster_of(&ada).await.len(), 1);
    assert_eq!(roster_of(&eve).await.len(), 1);
}
