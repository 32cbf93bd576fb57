//! What stands behind an invitation: the person who answers for it, whether it was sent with a session or a key.

use serde_json::{Value, json};

use super::{accept, invite, look_at, mailed_token, own, roster_of, stranger};
use crate::{Client, TestApp};

/// The same person, in person or by a key that they have made.
async fn by(way: &str, person: &Client) -> Client {
    if way == "session" {
        return person.clone();
    }
    let key = json!({"name": "Onboarding", "scopes": ["*"]});
    let key = person.post("/api-keys", key).await.expect(201);
    person.with_token(key["key"].as_str())
}

/// Whether an invitation is listed: for the person whom it waits for, and in the workspace's member list.
async fn listed(person: &Client, owner: &Client, invitation: &Value) -> (bool, bool) {
    let own = person.items("/workspaces/invitations").await;
    let is_own = own.as_array().unwrap().iter().any(|listed| listed["id"] == invitation["id"]);
    let is_in_roster = roster_of(owner).await.iter().any(|entry| entry["member_id"] == invitation["id"]);
    (is_own, is_in_roster)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_ends_with_the_membership_of_who_answers_for_it() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    for way in ["session", "key"] {
        let admin = app.join(&ada, "admin").await;
        let (bob, email) = stranger(&app).await;
        let invitation = invite(&by(way, &admin).await, &email, "member").await;
        assert_eq!(invitation["invited_by"].is_null(), way == "key");
        let token = mailed_token(&app, &email, 1).await;
        look_at(&app, &token).await.expect(200);
        assert_eq!(listed(&bob, &ada, &invitation).await, (true, true), "{way}");

        let me = admin.get("/members/me").await.expect(200);
        let path = format!("{}/members/{}", own(&ada), me["id"].as_str().unwrap());
        ada.delete(&path).await.expect(200);

        assert_eq!(look_at(&app, &token).await.error(410), "gone", "{way}");
        assert_eq!(accept(&app, &token).await.error(410), "gone", "{way}");
        let by_id = json!({"invitation_id": invitation["id"]});
        assert_eq!(bob.post("/workspaces/invitations/accept", by_id).await.error(410), "gone", "{way}");
        assert_eq!(listed(&bob, &ada, &invitation).await, (false, false), "{way}");
        // Sent again, it is answered for by who sends it.
        let again = json!({"member_id": invitation["id"]});
        ada.post(&format!("{}/invitations/resend", own(&ada)), again).await.expect(200);
        assert_eq!(listed(&bob, &ada, &invitation).await, (true, true), "{way}");
        accept(&app, &mailed_token(&app, &email, 2).await).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_open_while_who_answers_for_it_may_invite_and_give_the_role() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let admin = app.join(&ada, "admin").await;
    for way in ["session", "key"] {
        let inviter = by(way, &admin).await;
        let (bob, email) = stranger(&app).await;
        let invitation = invite(&inviter, &email, "member").await;
        let token = mailed_token(&app, &email, 1).await;
        // Without the second one a member may do what an admin may not.
        for permission in ["members:invite", "records:create"] {
            let grant = async |granted: bool| {
                let change = json!({"permission": permission, "granted": granted});
                ada.put("/permissions/roles/admin/permission", change).await.expect(200);
            };
            grant(false).await;
            assert_eq!(look_at(&app, &token).await.error(410), "gone", "{way}, {permission}");
            assert_eq!(accept(&app, &token).await.error(410), "gone", "{way}, {permission}");
            assert_eq!(listed(&bob, &ada, &invitation).await, (false, false), "{way}, {permission}");
            grant(true).await;
            assert_eq!(listed(&bob, &ada, &invitation).await, (true, true), "{way}, {permission}");
        }
        accept(&app, &token).await.expect(200);
    }
}
