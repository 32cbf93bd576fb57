//! Each change of a member, a team, a key or an invitation has its event, by whichever route it comes.

use serde_json::{Value, json};

use super::{member_of, path_of};
use crate::{Client, TestApp, people::join, workspace::auth::Person};

/// Events since the last look, in order: their types, what they are about, and their details.
struct Log<'a> {
    app: &'a TestApp,
    last: i64,
}

impl Log<'_> {
    async fn next(&mut self) -> Vec<(String, String, Value)> {
        let events: Vec<(i64, String, String, Value)> = sqlx::query_as(
            "select id, type, subject_id::text, data from shard.events where id > $1 order by id",
        )
        .bind(self.last)
        .fetch_all(&self.app.database.pool)
        .await
        .unwrap();
        self.last = events.last().map_or(self.last, |event| event.0);
        events.into_iter().map(|(_, kind, subject, data)| (kind, subject, data)).collect()
    }

    async fn types(&mut self) -> Vec<String> {
        self.next().await.into_iter().map(|(kind, ..)| kind).collect()
    }
}

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_and_a_profile_that_change_are_reported_by_whatever_route() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let bob = Person::employee(&app, &owner, "viewer").await;
    let member = member_of(&bob.client).await;
    let (by_member, by_person) = (format!("/members/{}", id(&member)), format!("/auth/{}", bob.id));
    let mut log = Log { app: &app, last: 0 };
    log.next().await;

    for (path, role) in [(&by_member, "member"), (&by_person, "admin")] {
        owner.client.patch(path, json!({ "role": role })).await.expect(200);
        let events = log.next().await;
        let [(kind, subject, data)] = &*events else { panic!("one event by {path}: {events:?}") };
        assert_eq!((kind.as_str(), subject), ("member.updated", &id(&member)), "{path}");
        assert_eq!(data["role"], role, "{path}: {data}");
    }
    for (path, who) in [(&by_member, &owner), (&by_person, &owner), (&by_person, &bob)] {
        who.client.patch(path, json!({ "title": "Clerk" })).await.expect(200);
    }
    owner.client.patch(&by_person, json!({ "name": "Bob" })).await.expect(200);
    let types = log.types().await;
    assert!(types.len() >= 2 && types.iter().all(|kind| kind == "member.updated"), "{types:?}");
}

/// A member who leads a team and answers for a key.
async fn busy_member(app: &TestApp, owner: &Client) -> (Client, String, String) {
    let bob = app.join(owner, "admin").await;
    let (_, team) = bob.create("/teams", json!({ "name": "Accounts" })).await;
    let (key, _) = bob.new_key(&["read"]).await;
    (bob, id(&team), id(&key))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_taken_out_leaves_teams_and_keys_behind_and_each_is_reported_by_either_route() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let mut log = Log { app: &app, last: 0 };
    let workspace = owner.workspace.clone().unwrap();
    for of_workspaces in [false, true] {
        let (bob, team, key) = busy_member(&app, &owner).await;
        let member = id(&member_of(&bob).await);
        log.next().await;

        if of_workspaces {
            owner.delete(&format!("/workspaces/{workspace}/members/{member}")).await.expect(200);
        } else {
            owner.delete(&format!("/members/{member}")).await.expect(204);
        }

        let events = log.next().await;
        let expected =
            [("team.member_removed", &team), ("api_key.updated", &key), ("member.removed", &member)];
        let found: Vec<_> = events.iter().map(|(kind, subject, _)| (kind.as_str(), subject)).collect();
        assert_eq!(found, expected);
        assert_eq!((&events[0].2["member_id"], &events[1].2["is_active"]), (&json!(member), &json!(false)));
        owner.delete(&format!("/teams/{team}")).await.expect(204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn teams_and_keys_that_are_handed_over_are_reported_one_by_one() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (bob, team, key) = busy_member(&app, &owner).await;
    let cleo = app.join(&owner, "admin").await;
    let (giver, taker) = (id(&member_of(&bob).await), member_of(&cleo).await);
    let mut log = Log { app: &app, last: 0 };
    log.next().await;

    let path = format!("{}/reassign", path_of(&bob).await);
    owner.post(&path, json!({ "to_member_id": taker["id"] })).await.expect(200);

    let events = log.next().await;
    let found: Vec<_> = events.iter().map(|(kind, subject, _)| (kind.as_str(), subject)).collect();
    let expected = [
        ("api_key.rotated", &key),
        ("team.member_updated", &team),
        ("team.member_added", &team),
        ("member.items_reassigned", &giver),
    ];
    assert_eq!(found, expected);
    assert_eq!(events[0].2["created_by"], taker["user_id"]);
    assert_eq!(events[1].2, json!({ "member_id": giver, "role": "member" }));
    assert_eq!(events[2].2, json!({ "member_id": taker["id"], "role": "lead" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_reported_from_its_offer_to_its_acceptance() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (cleo, email) = super::stranger(&app).await;
    let mut log = Log { app: &app, last: 0 };
    log.next().await;

    join(&owner, &cleo, &json!(email), "viewer").await;

    assert_eq!(log.types().await, ["invitation.created", "invitation.accepted", "member.created"]);
}
