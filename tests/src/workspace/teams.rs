//! Teams: what they are, and where they stand.

mod people;

use domain::access::Role;
use serde_json::{Value, json};

use crate::TestApp;

fn names(teams: &Value) -> Vec<&str> {
    teams.as_array().unwrap().iter().map(|team| team["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_is_created_found_changed_and_deleted() {
    let app = TestApp::start().await;
    let ada = app.owner().await;

    let (path, made) = ada.create("/teams", json!({ "name": " Sales ", "description": "Sells" })).await;

    insta::assert_json_snapshot!(made, {
        ".id" => "[id]", ".created_by" => "[id]", ".created_at" => "[time]", ".updated_at" => "[time]",
    }, @r#"
    {
      "created_at": "[time]",
      "created_by": "[id]",
      "description": "Sells",
      "id": "[id]",
      "is_active": true,
      "member_count": 1,
      "name": "Sales",
      "parent_team_id": null,
      "updated_at": "[time]"
    }
    "#);
    let changed = ada.patch(&path, json!({ "name": "Trade", "description": null, "is_active": false })).await;
    let changed = changed.expect(200);
    assert_eq!((&changed["name"], &changed["description"]), (&json!("Trade"), &json!(null)));
    assert_eq!(ada.items("/teams?is_active=true").await, json!([]));
    assert_eq!(ada.items("/teams?is_active=false&search=TRA").await, json!([changed]));
    ada.delete(&path).await.expect(204);
    for event in ["team.created", "team.updated", "team.deleted"] {
        assert_eq!(app.count(&format!("select count(*) from shard.events where type = '{event}'")).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn teams_stand_below_each_other_and_never_below_themselves() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let (top_path, top) = ada.create("/teams", json!({ "name": "Top" })).await;
    let middle = json!({ "name": "Middle", "parent_team_id": top["id"] });
    let (middle_path, middle) = ada.create("/teams", middle).await;
    let (low_path, low) =
        ada.create("/teams", json!({ "name": "Low", "parent_team_id": middle["id"] })).await;
    ada.create("/teams", json!({ "name": "Aside" })).await;

    let below = |parent: &Value| format!("/teams?parent_team_id={}", parent.as_str().unwrap());
    assert_eq!(names(&ada.items(&below(&top["id"])).await), ["Middle"]);
    assert_eq!(names(&ada.items("/teams?parent_team_id=null").await), ["Aside", "Top"]);
    assert_eq!(names(&ada.items("/teams").await), ["Aside", "Low", "Middle", "Top"]);
    for (path, parent) in [(&top_path, &top), (&top_path, &low), (&middle_path, &low)] {
        let circle = ada.patch(path, json!({ "parent_team_id": parent["id"] })).await.expect(422);
        assert!(circle["fields"]["parent_team_id"].is_array(), "{circle}");
    }
    assert_eq!(ada.delete(&top_path).await.error(409), "team_has_children");
    let free = ada.patch(&low_path, json!({ "parent_team_id": null })).await.expect(200);
    assert_eq!(free["parent_team_id"], json!(null));
    ada.patch(&top_path, json!({ "parent_team_id": low["id"] })).await.expect(200);
    ada.delete(&middle_path).await.expect(204);
    assert_eq!(ada.delete(&low_path).await.error(409), "team_has_children");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_move_teams_below_each_other_at_once_make_no_circle() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    for round in 0..5 {
        let (one, a) = ada.create("/teams", json!({ "name": format!("A{round}") })).await;
        let (other, b) = ada.create("/teams", json!({ "name": format!("B{round}") })).await;
        let (x, y) = tokio::join!(
            ada.patch(&one, json!({ "parent_team_id": b["id"] })),
            ada.patch(&other, json!({ "parent_team_id": a["id"] })),
        );
        let mut statuses = [x.status, y.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 422]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_taken_once_below_the_same_team() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let (_, sales) = ada.create("/teams", json!({ "name": "Sales" })).await;
    assert_eq!(ada.post("/teams", json!({ "name": "SALES" })).await.error(409), "name_taken");
    let below = json!({ "name": "Sales", "parent_team_id": sales["id"] });
    let (path, _) = ada.create("/teams", below).await;
    assert_eq!(ada.patch(&path, json!({ "parent_team_id": null })).await.error(409), "name_taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_team_cannot_be_is_refused_by_field() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    assert_eq!(ada.post("/teams", json!({})).await.error(422), "parameter_missing");
    for (wrong, field) in [
        (json!({ "name": "" }), "name"),
        (json!({ "name": "  " }), "name"),
        (json!({ "name": "x".repeat(256) }), "name"),
        (json!({ "name": "x", "parent_team_id": uuid::Uuid::now_v7() }), "parent_team_id"),
        (json!({ "name": "x", "parent_team_id": "y" }), "parent_team_id"),
    ] {
        let refused = ada.post("/teams", wrong).await.expect(422);
        assert!(refused["fields"][field].is_array(), "{refused}");
    }
    let refused = ada.get("/teams?parent_team_id=x").await.expect(422);
    assert!(refused["fields"]["parent_team_id"].is_array(), "{refused}");
    assert_eq!(ada.get("/teams?search=%00").await.error(422), "record_invalid");
}

#[test]
fn only_admins_and_owners_create_change_and_delete_teams() {
    for permission in ["teams:create", "teams:edit", "teams:delete"] {
        assert!(Role::Admin.may(permission) && !Role::Member.may(permission), "{permission}");
    }
    assert!(Role::Viewer.may("teams:view"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_stands_below_no_team_of_another_workspace() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.owner().await, app.owner().await);
    let (_, sales) = ada.create("/teams", json!({ "name": "Sales" })).await;
    let below = json!({ "name": "x", "parent_team_id": sales["id"] });
    assert_eq!(eve.post("/teams", below).await.error(422), "record_invalid");
}
