//! What members hold, and handing it on.

use serde_json::{Value, json};

use super::{member_of, path_of};
use crate::TestApp;

fn count(holdings: &Value, of_type: &str) -> i64 {
    let groups = holdings["groups"].as_array().unwrap();
    groups.iter().find(|group| group["type"] == of_type).map_or(0, |group| group["count"].as_i64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_member_holds_is_listed_and_handed_on() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = app.join(&ada, "admin").await;
    let cleo = app.join(&ada, "admin").await;
    bob.import("People", "Name\nAda\n").await;
    let (_, gone) = bob.create("/recordsets", json!({ "name": "Gone" })).await;
    bob.delete(&format!("/recordsets/{}", gone["slug"].as_str().unwrap())).await.expect(204);
    bob.create("/teams", json!({ "name": "Accounts" })).await;
    let export = json!({ "recordset_id": "people" });
    let export = bob.post("/recordsets/export", export).await.expect(202);
    bob.follow(&export).await;
    let schedule = json!({ "name": "nightly", "cron_expression": "0 3 * * *", "action_type": "no_op" });
    bob.post("/v1/scheduled-jobs", schedule).await.expect(201);
    let (from, to) = (path_of(&bob).await, member_of(&cleo).await);

    let held = ada.get(&format!("{from}/items")).await.expect(200);
    let counts: Vec<_> = ["recordset", "import", "export", "scheduled_job", "api_key", "team"]
        .map(|of_type| count(&held, of_type))
        .into();
    assert_eq!(counts, [1, 1, 1, 1, 0, 1], "{held}");
    assert_eq!(held["total"], 5);
    let team = held["groups"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&team["items"][0]["name"], &team["items"][0]["relation"]),
        (&json!("Accounts"), &json!("lead"))
    );

    let only_teams = json!({ "to_member_id": to["id"], "types": ["team"] });
    let moved = ada.post(&format!("{from}/reassign"), only_teams).await.expect(200);
    assert_eq!(moved, json!({ "reassigned": { "team": 1 }, "total": 1, "api_keys": [] }));
    let moved = ada.post(&format!("{from}/reassign"), json!({ "to_member_id": to["id"] })).await.expect(200);
    assert_eq!(moved["total"], 4);

    assert_eq!(ada.get(&format!("{from}/items")).await.expect(200)["total"], 0);
    let held = ada.get(&format!("/members/{}/items", to["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(held["total"], 5);
    let recordset = ada.get("/recordsets/people").await.expect(200);
    assert_eq!(recordset["created_by"], to["user_id"]);
    let event = "select count(*) from shard.events where type = 'member.items_reassigned'";
    assert_eq!(app.count(event).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_job_is_not_handed_to_a_member_who_may_not_have_it_run() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = app.join(&ada, "admin").await;
    let cleo = app.join(&ada, "viewer").await;
    let (from, to) = (path_of(&bob).await, member_of(&cleo).await["id"].clone());
    let schedule = json!({ "name": "nightly", "cron_expression": "0 3 * * *", "action_type": "no_op" });
    bob.post("/v1/scheduled-jobs", schedule).await.expect(201);
    let path = format!("{from}/reassign");

    let refused = ada.post(&path, json!({ "to_member_id": to })).await.expect(422);

    let reason = refused["fields"]["to_member_id"][0].as_str().unwrap();
    assert!(reason.contains("nightly") && reason.contains("schedules:manage"), "{reason}");
    let held = ada.get(&format!("{from}/items")).await.expect(200);
    assert_eq!(held["total"], 1, "nothing has moved: {held}");
    // What the others may take goes without it.
    bob.create("/teams", json!({ "name": "Accounts" })).await;
    let teams = json!({ "to_member_id": to, "types": ["team"] });
    assert_eq!(ada.post(&path, teams).await.expect(200)["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_not_handed_to_a_member_who_may_not_have_its_scheduled_jobs_run() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = app.join(&ada, "admin").await;
    let (cleo, dora) = (app.join(&ada, "member").await, app.join(&ada, "admin").await);
    let (_, program) = bob.new_key(&["*"]).await;
    let schedule = json!({ "name": "nightly", "cron_expression": "0 3 * * *", "action_type": "no_op" });
    program.post("/v1/scheduled-jobs", schedule).await.expect(201);
    let path = format!("{}/reassign", path_of(&bob).await);

    let refused = ada.post(&path, json!({ "to_member_id": member_of(&cleo).await["id"] })).await.expect(422);

    let reason = refused["fields"]["to_member_id"][0].as_str().unwrap();
    assert!(reason.contains("nightly") && reason.contains("schedules:manage"), "{reason}");
    program.get("/v1/me").await.expect(200);
    let moved = ada.post(&path, json!({ "to_member_id": member_of(&dora).await["id"] })).await.expect(200);
    assert_eq!(moved["reassigned"]["api_key"], 1);
    assert_eq!(
        app.count("select count(*) from shard.schedules where enabled and workspace_id is not null").await,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_not_handed_to_a_member_for_whom_it_would_do_more_than_the_caller_may() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let (bob, cleo) = (app.join(&ada, "admin").await, app.join(&ada, "member").await);
    let more = json!({ "permission": "governance:manage", "granted": true });
    ada.put("/permissions/roles/member/permission", more).await.expect(200);
    let (_, program) = bob.new_key(&["auth", "read"]).await;
    let to = json!({ "to_member_id": member_of(&cleo).await["id"], "types": ["api_key"] });

    assert_eq!(
        bob.post(&format!("{}/reassign", path_of(&bob).await), to.clone()).await.error(403),
        "forbidden"
    );

    program.get("/v1/me").await.expect(200);
    let moved = ada.post(&format!("{}/reassign", path_of(&bob).await), to).await.expect(200);
    assert_eq!(moved["api_keys"].as_array().unwrap().len(), 1, "an owner may: {moved}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_handed_over_by_those_who_may_manage_keys() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let (bob, cleo) = (app.join(&ada, "admin").await, app.join(&ada, "admin").await);
    let (_, program) = bob.new_key(&["read"]).await;
    let denied = json!({ "permission": "api_keys:manage", "granted": false });
    ada.put("/permissions/roles/admin/permission", denied).await.expect(200);
    let (path, to) = (format!("{}/reassign", path_of(&bob).await), member_of(&cleo).await["id"].clone());

    let refused = cleo.post(&path, json!({ "to_member_id": to })).await;

    assert!(refused.text.contains("api_keys:manage"), "{}", refused.text);
    assert_eq!(refused.error(403), "forbidden");
    program.get("/v1/me").await.expect(200);
    // What is no key goes on.
    cleo.post(&path, json!({ "to_member_id": to, "types": ["team"] })).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_over_is_another_active_member() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = app.join(&ada, "member").await;
    ada.create("/recordsets", json!({ "name": "Leads" })).await;
    let (from, to) = (path_of(&ada).await, path_of(&bob).await);
    let path = format!("{from}/reassign");
    assert_eq!(ada.post(&path, json!({})).await.error(422), "parameter_missing");
    let own = member_of(&ada).await["id"].clone();
    let bobs = member_of(&bob).await["id"].clone();
    ada.patch(&to, json!({ "is_active": false })).await.expect(200);
    for wrong in [own, bobs, json!(uuid::Uuid::now_v7())] {
        let refused = ada.post(&path, json!({ "to_member_id": wrong })).await.expect(422);
        assert!(refused["fields"]["to_member_id"].is_array(), "{refused}");
    }
    ada.patch(&to, json!({ "is_active": true })).await.expect(200);
    let wrong = json!({ "to_member_id": to.trim_start_matches("/members/"), "types": ["moon"] });
    assert!(ada.post(&path, wrong).await.expect(422)["fields"]["types"].is_array());
    assert_eq!(ada.get(&format!("{from}/items")).await.expect(200)["total"], 1, "nothing has moved");
}
