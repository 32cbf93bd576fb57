//! Changing members: one's own profile, other people's, and who may come in as what.

use serde_json::json;

use super::{member_of, path_of};
use crate::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn everybody_changes_their_own_profile_and_no_more_of_it() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = app.join(&ada, "viewer").await;
    let (own, other) = (path_of(&bob).await, path_of(&ada).await);
    let changes = json!({ "display_name": "Bob", "title": "Clerk", "phone": "+49 30 1", "bio": "Counts.",
                          "onboarding_completed": true });

    let changed = bob.patch(&own, changes).await.expect(200);

    assert_eq!((&changed["display_name"], &changed["phone"]), (&json!("Bob"), &json!("+49 30 1")));
    assert_eq!(member_of(&bob).await["onboarding"]["completed"], true);
    let cleared = bob.patch(&own, json!({ "title": null, "onboarding_completed": false })).await.expect(200);
    assert_eq!((&cleared["title"], &cleared["onboarded_at"]), (&json!(null), &json!(null)));
    assert_eq!(cleared["bio"], "Counts.", "what is absent stays");
    for refused in [
        bob.patch(&own, json!({ "role": "owner" })).await,
        bob.patch(&own, json!({ "is_active": false })).await,
        bob.patch(&other, json!({ "title": "x" })).await,
    ] {
        assert_eq!(refused.error(403), "forbidden");
    }
    let long = bob.patch(&own, json!({ "title": "x".repeat(256), "display_name": "" })).await.expect(422);
    assert!(long["fields"].is_object(), "{long}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_leaves_open_is_as_their_account_says() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let me = member_of(&ada).await;
    sqlx::query("update control.users set title = 'Countess', name = 'Ada King' where id = $1::uuid")
        .bind(me["user_id"].as_str())
        .execute(&app.database.pool)
        .await
        .unwrap();

    let shown = member_of(&ada).await;
    assert_eq!((&shown["title"], &shown["full_name"]), (&json!("Countess"), &json!("Ada King")));
    let path = path_of(&ada).await;
    assert_eq!(ada.patch(&path, json!({ "title": "Analyst" })).await.expect(200)["title"], "Analyst");
    assert_eq!(ada.get("/members?search=analyst").await.expect(200)["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_counts_from_the_next_request() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = app.join(&ada, "viewer").await;
    let path = path_of(&bob).await;
    let leads = json!({ "name": "Leads" });
    assert_eq!(bob.post("/recordsets", leads.clone()).await.error(403), "forbidden");

    assert_eq!(ada.patch(&path, json!({ "role": "member" })).await.expect(200)["role"], "member");

    bob.post("/recordsets", leads).await.expect(201);
    assert_eq!(ada.patch(&path, json!({ "role": "king" })).await.error(422), "record_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_switched_off_gets_in_nowhere_here_until_they_are_switched_on() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = app.join(&ada, "member").await;
    let path = path_of(&bob).await;

    let off = ada.patch(&path, json!({ "is_active": false })).await.expect(200);
    assert_eq!((&off["is_active"], &off["role"]), (&json!(false), &json!("member")));
    assert_eq!(bob.get("/members/me").await.error(404), "record_not_found");
    let workspaces = bob.get("/auth/me").await.expect(200)["workspaces"].clone();
    assert_eq!(workspaces.as_array().unwrap().len(), 1, "only their own: {workspaces}");
    let again = json!({ "email": off["email"], "role": "viewer" });
    assert_eq!(ada.post("/members", again).await.error(409), "already_member");
    assert_eq!(bob.get("/members/me").await.error(404), "record_not_found");

    ada.patch(&path, json!({ "is_active": true })).await.expect(200);
    assert_eq!(member_of(&bob).await["role"], "member");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reaches_above_their_own_role() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let admin = app.join(&ada, "admin").await;
    let (owner, own) = (path_of(&ada).await, path_of(&admin).await);

    for (path, change) in [
        (&owner, json!({ "role": "viewer" })),
        (&owner, json!({ "is_active": false })),
        (&own, json!({ "role": "owner" })),
        (&owner, json!({ "display_name": "No One Else" })),
    ] {
        assert_eq!(admin.patch(path, change).await.error(403), "forbidden");
    }
    assert_eq!(admin.delete(&owner).await.error(403), "forbidden");
    admin.patch(&own, json!({ "title": "Deputy" })).await.expect(200);
    assert_eq!(member_of(&ada).await["role"], "owner");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_owner_stays_one() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let path = path_of(&ada).await;
    assert_eq!(ada.patch(&path, json!({ "role": "admin" })).await.error(409), "last_owner");
    assert_eq!(ada.patch(&path, json!({ "is_active": false })).await.error(409), "last_owner");
    assert_eq!(ada.delete(&path).await.error(409), "last_owner");
    assert_eq!(ada.delete(&format!("{path}/permanent")).await.error(409), "last_owner");

    let bob = app.join(&ada, "owner").await;
    let other = path_of(&bob).await;
    ada.patch(&other, json!({ "is_active": false })).await.expect(200);
    assert_eq!(ada.delete(&path).await.error(409), "last_owner", "one who doesn't get in is none");
    ada.patch(&other, json!({ "is_active": true })).await.expect(200);
    assert_eq!(ada.patch(&path, json!({ "role": "admin" })).await.expect(200)["role"], "admin");
    assert_eq!(bob.delete(&other).await.error(409), "last_owner");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_owners_who_step_down_at_once_leave_one() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    for round in 0..5 {
        let bob = app.join(&ada, "owner").await;
        let (one, other) = (path_of(&ada).await, path_of(&bob).await);
        let (a, b) = tokio::join!(
            ada.patch(&one, json!({ "role": "admin" })),
            bob.patch(&other, json!({ "role": "admin" })),
        );
        let mut statuses = [a.status, b.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "round {round}");
        // The remaining owner restores the start: Ada owns, alone.
        if a.status == 200 {
            bob.patch(&one, json!({ "role": "owner" })).await.expect(200);
            bob.patch(&other, json!({ "role": "admin" })).await.expect(200);
        }
    }
}
