//! Who is in a team.

use serde_json::{Value, json};

use crate::{TestApp, workspace::members::member_of};

fn roles(members: &Value) -> Vec<(&str, &str)> {
    members
        .as_array()
        .unwrap()
        .iter()
        .map(|member| (member["member_id"].as_str().unwrap(), member["role"].as_str().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_put_into_a_team_change_their_part_and_go() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = member_of(&app.join(&ada, "viewer").await).await;
    let me = member_of(&ada).await;
    let (team, _) = ada.create("/teams", json!({ "name": "Sales" })).await;
    let members = format!("{team}/members");

    let added = ada.post(&members, json!({ "member_id": bob["id"] })).await.expect(201);

    assert_eq!((&added["email"], &added["role"]), (&bob["email"], &json!("member")));
    let (my_id, bobs_id) = (me["id"].as_str().unwrap(), bob["id"].as_str().unwrap());
    let listed = ada.items(&members).await;
    assert_eq!(roles(&listed), [(my_id, "lead"), (bobs_id, "member")]);
    assert_eq!(ada.get(&team).await.expect(200)["member_count"], 2);
    assert_eq!(ada.post(&members, json!({ "member_id": bob["id"] })).await.error(409), "already_in_team");

    let path = format!("{members}/{bobs_id}");
    assert_eq!(ada.patch(&path, json!({ "role": "lead" })).await.expect(200)["role"], "lead");
    ada.delete(&path).await.expect(204);
    assert_eq!(ada.delete(&path).await.error(404), "record_not_found");
    assert_eq!(ada.patch(&path, json!({ "role": "lead" })).await.error(404), "record_not_found");
    for event in ["team.member_added", "team.member_updated", "team.member_removed"] {
        assert_eq!(app.count(&format!("select count(*) from shard.events where type = '{event}'")).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_active_members_of_the_workspace_can_be_put_into_a_team() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.owner().await, app.owner().await);
    let bob = member_of(&app.join(&ada, "viewer").await).await;
    let bobs_path = format!("/members/{}", bob["id"].as_str().unwrap());
    ada.patch(&bobs_path, json!({ "is_active": false })).await.expect(200);
    let (team, _) = ada.create("/teams", json!({ "name": "Sales" })).await;
    let members = format!("{team}/members");

    for id in [&bob["id"], &member_of(&eve).await["id"], &json!(uuid::Uuid::now_v7())] {
        let refused = ada.post(&members, json!({ "member_id": id })).await.expect(422);
        assert!(refused["fields"]["member_id"].is_array(), "{refused}");
    }
    let me = member_of(&ada).await;
    let wrong = json!({ "member_id": me["id"], "role": "king" });
    assert_eq!(ada.post(&members, wrong).await.error(422), "record_invalid");
    let nowhere = format!("/teams/{}/members", uuid::Uuid::now_v7());
    let add = json!({ "member_id": me["id"] });
    assert_eq!(ada.post(&nowhere, add).await.error(404), "record_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lead_changes_their_own_team_and_no_other() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let (bob, viewer) = (app.join(&ada, "member").await, app.join(&ada, "viewer").await);
    let (bobs, viewers) = (member_of(&bob).await, member_of(&viewer).await);
    let (own, _) = ada.create("/teams", json!({ "name": "Sales" })).await;
    let (other, _) = ada.create("/teams", json!({ "name": "Accounts" })).await;
    for team in [&own, &other] {
        ada.post(&format!("{team}/members"), json!({ "member_id": bobs["id"] })).await.expect(201);
    }
    assert_eq!(bob.patch(&own, json!({ "name": "x" })).await.error(403), "forbidden", "not as one of many");
    let bob_in = |team: &str| format!("{team}/members/{}", bobs["id"].as_str().unwrap());
    ada.patch(&bob_in(&own), json!({ "role": "lead" })).await.expect(200);

    bob.patch(&own, json!({ "description": "Bob's" })).await.expect(200);
    bob.post(&format!("{own}/members"), json!({ "member_id": viewers["id"] })).await.expect(201);
    let add = json!({ "member_id": viewers["id"] });
    assert_eq!(bob.post(&format!("{other}/members"), add).await.error(403), "forbidden");
    assert_eq!(bob.delete(&bob_in(&other)).await.error(403), "forbidden");
    assert_eq!(bob.delete(&own).await.error(403), "forbidden", "deleting takes more");

    let viewer_in = format!("{own}/members/{}", viewers["id"].as_str().unwrap());
    bob.patch(&viewer_in, json!({ "role": "lead" })).await.expect(200);
    assert_eq!(
        viewer.patch(&own, json!({ "name": "x" })).await.error(403),
        "forbidden",
        "a viewer only looks"
    );
}
