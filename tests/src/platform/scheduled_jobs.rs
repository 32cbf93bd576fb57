//! Scheduled jobs over HTTP.

mod actions;
mod makers;
mod policies;

use serde_json::{Value, json};

use crate::{Client, TestApp, cluster::wait_until, masked, workspace::recordsets::become_role};

const PATH: &str = "/v1/scheduled-jobs";

/// A scheduled job that does nothing, with some members of its own.
fn no_op(own: Value) -> Value {
    let mut job = json!({ "name": "Nothing", "cron_expression": "0 3 * * *", "action_type": "no_op" });
    job.as_object_mut().unwrap().extend(into_members(own));
    job
}

fn into_members(value: Value) -> serde_json::Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("{other} has no members"),
    }
}

/// Makes a scheduled job; answers with it and its path.
async fn create(owner: &Client, job: Value) -> (Value, String) {
    let made = owner.post(PATH, job).await.expect(201)["data"].clone();
    let path = format!("{PATH}/{}", made["id"].as_str().unwrap());
    (made, path)
}

async fn runs(owner: &Client, path: &str) -> Vec<Value> {
    let runs = owner.get(&format!("{path}/runs")).await.expect(200);
    runs["data"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_job_is_created_and_shown() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let asked = json!({
        "name": "Nightly", "description": "Every night", "cron_expression": "30 2 * * *",
        "timezone": "Europe/Berlin", "action_type": "no_op", "action_config": { "sleep_ms": 5 },
        "overlap": "replace", "catch_up": "all", "jitter_seconds": 60,
    });

    let created = owner.post(PATH, asked).await.expect(201);

    insta::assert_json_snapshot!(masked(&created["data"]), @r#"
    {
      "action_config": {
        "sleep_ms": 5
      },
      "action_type": "no_op",
      "catch_up": "all",
      "created_at": "[time]",
      "created_by": "[id]",
      "cron_expression": "30 2 * * *",
      "description": "Every night",
      "enabled": true,
      "id": "[id]",
      "jitter_seconds": 60,
      "name": "Nightly",
      "next_run_at": "[time]",
      "overlap": "replace",
      "timezone": "Europe/Berlin",
      "updated_at": "[time]"
    }
    "#);
    assert_eq!(created["success"], true);
    let id = created["data"]["id"].as_str().unwrap();
    assert!(id.starts_with("sjob_"), "{id}");
    let shown = owner.get(&format!("{PATH}/{id}")).await.expect(200);
    assert_eq!(shown["data"], created["data"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn scheduled_jobs_are_listed_newest_first_part_by_part() {
    let app = TestApp::start().await;
    let (owner, eve) = (app.owner().await, app.owner().await);
    for name in ["a", "b", "c"] {
        create(&owner, no_op(json!({ "name": name }))).await;
    }
    let list = async |who: &Client, query: &str| -> Vec<String> {
        let list = who.get(&format!("{PATH}{query}")).await.expect(200);
        let names =
            list["data"].as_array().unwrap().iter().map(|job| job["name"].as_str().unwrap().to_owned());
        names.collect()
    };

    assert_eq!(list(&owner, "").await, ["c", "b", "a"]);
    assert_eq!(list(&owner, "?limit=1&offset=1").await, ["b"]);
    assert_eq!(list(&eve, "").await, Vec::<String>::new());
    assert_eq!(owner.get(&format!("{PATH}?limit=0")).await.error(422), "record_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_a_rule_is_refused_by_field() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    for (own, field, reason) in [
        (json!({ "name": " " }), "name", "must not be empty"),
        (json!({ "cron_expression": "0 0 0 * * *" }), "cron_expression", "must have five fields"),
        (json!({ "cron_expression": "0 0 30 2 *" }), "cron_expression", "never matches"),
        (json!({ "cron_expression": "every day" }), "cron_expression", "must have five fields"),
        (json!({ "timezone": "Moon" }), "timezone", "must be a time zone"),
        (json!({ "run_at": "2099-01-01T00:00:00Z" }), "run_at", "not both"),
        (json!({ "cron_expression": null }), "cron_expression", "give cron_expression or run_at"),
        (json!({ "cron_expression": null, "run_at": "2001-01-01T00:00:00Z" }), "run_at", "in the future"),
        (
            json!({ "cron_expression": null, "run_at": "2099-01-01T00:00:00Z", "timezone": "UTC" }),
            "timezone",
            "only with cron_expression",
        ),
        (json!({ "jitter_seconds": 3601 }), "jitter_seconds", "must be 0 to 3600"),
        (json!({ "action_type": "launch" }), "action_type", "must be one of export, webhook, no_op"),
        (json!({ "action_config": { "sleep_ms": 60_001 } }), "action_config.sleep_ms", "at most 60000"),
        (json!({ "action_type": "export" }), "action_config", "missing field `recordset_id`"),
        (
            json!({ "action_type": "export", "action_config": { "recordset_id": "nowhere" } }),
            "action_config.recordset_id",
            "is not a recordset here",
        ),
        (
            json!({ "action_type": "webhook", "action_config": { "url": "ftp://example.com" } }),
            "action_config.url",
            "must be an http or https URL",
        ),
        (json!({ "overlap": "both" }), "overlap", ""),
    ] {
        let refused = owner.post(PATH, no_op(own)).await.expect(422);
        assert_eq!(refused["error"]["code"], "record_invalid", "{refused}");
        let said =
            refused["error"]["fields"][field][0].as_str().unwrap_or_else(|| panic!("{field}: {refused}"));
        assert!(said.contains(reason), "{field}: {said}");
    }
    for (action_type, members) in
        [("no_op", "sleep_ms"), ("export", "recordset_id, fields"), ("webhook", "url, payload")]
    {
        let unknown = json!({ "action_type": action_type, "action_config": { "zz": 1 } });
        let refused = owner.post(PATH, no_op(unknown)).await.expect(422);
        assert_eq!(refused["error"]["code"], "parameter_unknown", "{refused}");
        let said = json!({ "action_config.zz": [format!("is unknown; allowed are {members}")] });
        assert_eq!(refused["error"]["fields"], said);
    }
    let missing = owner.post(PATH, json!({})).await.expect(422);
    assert_eq!(missing["error"]["code"], "parameter_missing");
    assert_eq!(app.count("select count(*) from schedules where workspace_id is not null").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_leaves_the_rest_as_it_was() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (made, path) = create(&owner, no_op(json!({ "description": "Old", "timezone": "Asia/Tokyo" }))).await;

    let renamed = owner.patch(&path, json!({ "name": "New", "description": null })).await.expect(200);
    let renamed = &renamed["data"];
    assert_eq!((&renamed["name"], renamed.get("description")), (&json!("New"), None));
    for same in ["cron_expression", "timezone", "next_run_at", "action_type", "enabled", "overlap"] {
        assert_eq!(renamed[same], made[same], "{same}");
    }

    let retimed = owner.patch(&path, json!({ "cron_expression": "30 * * * *" })).await.expect(200);
    assert_eq!(retimed["data"]["timezone"], "Asia/Tokyo");
    assert_ne!(retimed["data"]["next_run_at"], made["next_run_at"]);
    let once = owner.patch(&path, json!({ "run_at": "2099-01-01T00:00:00Z" })).await.expect(200);
    assert_eq!(once["data"].get("cron_expression"), None);
    assert_eq!(once["data"]["next_run_at"], "2099-01-01T00:00:00Z");

    let off = owner.patch(&path, json!({ "enabled": false })).await.expect(200);
    assert_eq!(off["data"].get("next_run_at"), None);
    let config = json!({ "action_config": { "sleep_ms": 1 } });
    let configured = owner.patch(&path, config).await.expect(200);
    assert_eq!(configured["data"]["action_config"], json!({ "sleep_ms": 1 }));
    for (wrong, field) in [
        (json!({ "timezone": "UTC" }), "timezone"),
        (json!({ "action_type": "export" }), "action_config"),
        (json!({ "cron_expression": "nonsense" }), "cron_expression"),
        (json!({ "name": "" }), "name"),
    ] {
        let refused = owner.patch(&path, wrong).await.expect(422);
        assert!(refused["error"]["fields"][field].is_array(), "{field}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_scheduled_job_is_gone_and_comes_no_more() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (made, path) = create(&owner, no_op(json!({}))).await;

    let deleted = owner.delete(&path).await.expect(200);

    assert_eq!(deleted["data"], json!({ "id": made["id"], "deleted": true }));
    for gone in [
        owner.get(&path).await,
        owner.delete(&path).await,
        owner.patch(&path, json!({})).await,
        owner.post(&format!("{path}/execute"), json!({})).await,
        owner.get(&format!("{path}/runs")).await,
    ] {
        assert_eq!(gone.error(404), "record_not_found");
    }
    let events = "select count(*) from events where subject = 'scheduled_job'";
    assert_eq!(app.count(events).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_job_runs_now_on_request() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (_, path) = create(&owner, no_op(json!({ "enabled": false }))).await;

    let run = owner.post(&format!("{path}/execute"), json!({})).await.expect(200)["data"].clone();

    assert_eq!((&run["outcome"], &run["manual"]), (&json!("enqueued"), &json!(true)));
    let status = run["status_url"].as_str().unwrap();
    assert_eq!(owner.get(status).await.expect(200)["data"]["job_id"], run["job_id"]);
    assert_eq!(owner.follow(&run).await["status"], "COMPLETED");
    let listed = runs(&owner, &path).await;
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0]["job_id"], &listed[0]["status"]), (&run["job_id"], &json!("COMPLETED")));
    let shown = owner.get(&path).await.expect(200);
    assert_eq!(shown["data"]["last_job_id"], run["job_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_comes_once_by_itself() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let soon = jobs::clock::now() + chrono::TimeDelta::seconds(2);
    let (_, path) = create(&owner, no_op(json!({ "cron_expression": null, "run_at": soon }))).await;

    wait_until("it has run", || async { !runs(&owner, &path).await.is_empty() }).await;

    let run = &runs(&owner, &path).await[0];
    assert_eq!((&run["outcome"], &run["manual"]), (&json!("enqueued"), &json!(false)));
    assert_eq!(owner.follow(run).await["status"], "COMPLETED");
    let shown = owner.get(&path).await.expect(200)["data"].clone();
    assert_eq!((shown.get("next_run_at"), &shown["last_run_at"]), (None, &run["scheduled_for"]));
    // Switched off and on again, it has still been.
    owner.patch(&path, json!({ "enabled": false })).await.expect(200);
    let on = owner.patch(&path, json!({ "enabled": true })).await.expect(200);
    assert_eq!(on["data"].get("next_run_at"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_looks_and_admins_decide() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let config = json!({ "url": "https://example.com/hook" });
    let hook = no_op(json!({ "action_type": "webhook", "action_config": config }));
    let (made, path) = create(&owner, hook).await;
    assert!(made["signing_secret"].as_str().unwrap().starts_with("whsec_"));

    for role in ["viewer", "member"] {
        become_role(&app, role).await;
        owner.get(PATH).await.expect(200);
        let shown = owner.get(&path).await.expect(200);
        assert_eq!(shown["data"].get("signing_secret"), None, "{role}");
        owner.get(&format!("{path}/runs")).await.expect(200);
        for refused in [
            owner.post(PATH, no_op(json!({}))).await,
            owner.patch(&path, json!({ "name": "x" })).await,
            owner.delete(&path).await,
            owner.post(&format!("{path}/execute"), json!({})).await,
        ] {
            assert_eq!(refused.error(403), "forbidden", "{role}");
        }
    }
    become_role(&app, "admin").await;
    assert_eq!(owner.get(&path).await.expect(200)["data"], made);
    owner.delete(&path).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn that_of_another_workspace_does_not_exist() {
    let app = TestApp::start().await;
    let (owner, eve) = (app.owner().await, app.owner().await);
    let (_, path) = create(&owner, no_op(json!({}))).await;

    for refused in [
        eve.get(&path).await,
        eve.patch(&path, json!({ "name": "Eve's" })).await,
        eve.delete(&path).await,
        eve.post(&format!("{path}/execute"), json!({})).await,
        eve.get(&format!("{path}/runs")).await,
    ] {
        assert_eq!(refused.error(404), "record_not_found");
    }
    assert_eq!(owner.get(&path).await.expect(200)["data"]["name"], "Nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn occurrences_follow_each_other_no_sooner_than_the_plan_allows() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let at = |cron: &str| json!({ "cron_expression": cron });
    for often in ["* * * * *", "*/14 * * * *", "0,1 3 * * *", "59,0 23,0 * * *"] {
        assert_eq!(owner.post(PATH, no_op(at(often))).await.error(402), "limit_exceeded", "{often}");
    }
    let refused = owner.post(PATH, no_op(at("* * * * *"))).await.expect(402);
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("every 900 seconds at the most"), "{message}");

    let (_, path) = create(&owner, no_op(at("*/15 * * * *"))).await;
    assert_eq!(owner.patch(&path, at("* * * * *")).await.error(402), "limit_exceeded");
    app.run("update workspaces set plan = 'growth'").await;
    owner.patch(&path, at("* * * * *")).await.expect(200);
    app.run("update workspaces set plan = 'free'").await;
    owner.patch(&path, json!({ "name": "As before" })).await.expect(200);
    owner.patch(&path, json!({ "enabled": false })).await.expect(200);
    assert_eq!(owner.patch(&path, json!({ "enabled": true })).await.error(402), "limit_exceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_allows_so_many_scheduled_jobs_also_of_several_at_once() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    app.run("update plan_limits set schedules = 2 where plan = 'free'").await;
    let asked = (0..5).map(|_| owner.post(PATH, no_op(json!({}))));
    let replies = futures::future::join_all(asked).await;
    let (made, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 201);
    assert_eq!((made.len(), refused.len()), (2, 3));
    for reply in refused {
        assert_eq!(reply.error(402), "limit_exceeded");
    }
    assert_eq!(owner.get("/v1/usage").await.expect(200)["data"]["plan_limits"]["scheduled_jobs"], 2);
    app.run("update workspaces set plan = 'enterprise'").await;
    create(&owner, no_op(json!({}))).await;
    for job in owner.get(PATH).await.expect(200)["data"].as_array().unwrap() {
        owner.delete(&format!("{PATH}/{}", job["id"].as_str().unwrap())).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_of_another_release_is_listed_and_hides_no_other() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let admin = app.join(&owner, "admin").await;
    let (known, _) = create(&owner, no_op(json!({}))).await;
    let (future, path) = create(&owner, no_op(json!({}))).await;
    app.run(
        "update shard.schedules set kind = 'future.kind', pool = 'future'
          where id = (select id from shard.schedules where workspace_id is not null order by id desc limit 1)",
    )
    .await;

    for who in [&owner, &admin] {
        let list = who.get(PATH).await.expect(200);
        let shown: Vec<_> =
            list["data"].as_array().unwrap().iter().map(|it| (&it["id"], &it["action_type"])).collect();
        assert_eq!(shown, [(&future["id"], &json!("unknown")), (&known["id"], &json!("no_op"))]);
    }
    assert_eq!(owner.get(&path).await.expect(200)["data"]["action_type"], "unknown");
    // Its job waits for a worker that knows it.
    let run = owner.post(&format!("{path}/execute"), json!({})).await.expect(200);
    assert_eq!(run["data"]["status"], "QUEUED", "{run}");
    let cancelled = owner.post("/api/v1/jobs/cancel", json!({ "all": true })).await.expect(200);
    assert_eq!(cancelled["cancelled"], 1);
    owner.patch(&path, json!({ "enabled": false })).await.expect(200);
}
