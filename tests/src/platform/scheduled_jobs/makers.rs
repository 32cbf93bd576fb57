//! Scheduled jobs whose maker may no longer run them.

use chrono::{DateTime, Utc};
use domain::makers::enqueue_due;
use serde_json::{Value, json};

use super::{PATH, create, no_op, policies::cancel_all, runs};
use crate::{
    Client, TestApp,
    workspace::members::{member_of, path_of},
};

/// A yearly scheduled job, so that nothing comes by itself; answers with its path and when it is due.
async fn yearly(maker: &Client) -> (String, DateTime<Utc>) {
    let (made, path) = create(maker, no_op(json!({ "cron_expression": "0 0 1 1 *" }))).await;
    (path, made["next_run_at"].as_str().unwrap().parse().unwrap())
}

async fn shown(by: &Client, path: &str) -> Value {
    by.get(path).await.expect(200)["data"].clone()
}

/// That it is disabled, says why, and that its time brings nothing.
#[track_caller]
fn assert_disabled(job: &Value, reason: &str) {
    assert_eq!(job["enabled"], false, "{job}");
    assert!(job["disabled_reason"].as_str().is_some_and(|said| said.contains(reason)), "{job}");
    assert_eq!(job["next_run_at"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_members_scheduled_jobs_end_with_their_membership() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    for how in ["removed", "switched off", "demoted"] {
        let bob = app.join(&ada, "admin").await;
        let (path, due) = yearly(&bob).await;
        let (own, _) = yearly(&ada).await;
        let member = path_of(&bob).await;
        let reason = match how {
            "removed" => {
                ada.delete(&member).await.expect(204);
                "is no longer an active member of the workspace"
            }
            "switched off" => {
                ada.patch(&member, json!({ "is_active": false })).await.expect(200);
                "is no longer an active member of the workspace"
            }
            _ => {
                ada.patch(&member, json!({ "role": "viewer" })).await.expect(200);
                "no longer has schedules:manage"
            }
        };

        assert_disabled(&shown(&ada, &path).await, reason);
        let entry = ada.get("/v1/audit-logs?action=scheduled_job.updated&limit=1").await.expect(200);
        let entry = &entry["data"]["logs"][0];
        assert_eq!(
            (&entry["data"]["enabled"], &path.ends_with(entry["resource_id"].as_str().unwrap())),
            (&json!(false), &true)
        );
        assert_eq!(shown(&ada, &own).await["enabled"], true);
        ada.delete(&own).await.expect(200);
        enqueue_due(&app.database, due).await.unwrap();
        assert_eq!(runs(&ada, &path).await, Vec::<Value>::new(), "{how}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_job_of_a_kind_of_another_release_is_not_judged_by_this_one() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let (_, program) = ada.new_key(&["read", "schema"]).await;
    let (path, _) = yearly(&program).await;
    sqlx::query("update schedules set kind = 'of.tomorrow' where workspace_id is not null")
        .execute(&app.database.pool)
        .await
        .unwrap();
    let (known, _) = yearly(&ada).await;

    // A change of the role judges all scheduled jobs of the workspace.
    let denied = json!({ "permission": "jobs:delete", "granted": false });
    ada.put("/permissions/roles/admin/permission", denied).await.expect(200);

    assert_eq!(shown(&ada, &path).await["enabled"], true);
    assert_eq!(shown(&ada, &known).await["enabled"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keys_scheduled_jobs_end_with_the_key_and_go_on_with_its_successor() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    for end in ["revoked", "deleted", "paused"] {
        let (key, program) = ada.new_key(&["*"]).await;
        let (path, due) = yearly(&program).await;
        let key = format!("/api-keys/{}", key["id"].as_str().unwrap());
        match end {
            "revoked" => ada.post(&format!("{key}/revoke"), json!({})).await.expect(200),
            "paused" => ada.patch(&key, json!({ "is_active": false })).await.expect(200),
            _ => ada.delete(&key).await.expect(204),
        };
        assert_disabled(&shown(&ada, &path).await, "is revoked, paused or deleted");
        enqueue_due(&app.database, due).await.unwrap();
        assert_eq!(runs(&ada, &path).await, Vec::<Value>::new(), "{end}");
    }
    let (key, program) = ada.new_key(&["*"]).await;
    let (path, _) = yearly(&program).await;

    let rotated = program.post(&format!("/api-keys/{}/rotate", key["id"].as_str().unwrap()), json!({})).await;

    let new = rotated.expect(200)["id"].as_str().unwrap().parse().unwrap();
    let job = shown(&ada, &path).await;
    assert_eq!(
        (&job["enabled"], &job["created_by_key"]),
        (&json!(true), &json!(api_kit::type_id_of("api_key", new)))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_occurrence_whose_maker_may_not_start_it_any_more_is_skipped() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = app.join(&ada, "admin").await;
    let (key, program) = ada.new_key(&["*"]).await;
    let ((of_bob, due), (of_key, _)) = (yearly(&bob).await, yearly(&program).await);
    let (of_ada, _) = yearly(&ada).await;
    // A change outside of requests.
    let workspace = ada.workspace.as_deref().unwrap();
    let denied = format!(
        "insert into role_permissions (workspace_id, role, permission, granted)
         values ('{workspace}', 'admin', 'schedules:manage', false)"
    );
    app.run(&denied).await;
    let key = key["id"].as_str().unwrap();
    app.run(&format!("update api_keys set expires_at = now() where id = '{key}'")).await;

    enqueue_due(&app.database, due).await.unwrap();

    for (path, reason) in [(&of_bob, "no longer has schedules:manage"), (&of_key, "has expired")] {
        let runs = runs(&ada, path).await;
        assert_eq!((runs.len(), &runs[0]["outcome"]), (1, &json!("skipped")), "{path}");
        assert_disabled(&shown(&ada, path).await, reason);
    }
    assert_eq!(runs(&ada, &of_ada).await[0]["outcome"], "enqueued");
    assert_eq!(app.count("select count(*) from shard.all_jobs where kind = 'engine.no_op'").await, 1);
    cancel_all(&ada, &of_ada).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_enables_a_scheduled_job_again_is_whom_it_runs_as() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = app.join(&ada, "admin").await;
    let (path, due) = yearly(&bob).await;
    ada.delete(&path_of(&bob).await).await.expect(204);

    let enabled = ada.patch(&path, json!({ "enabled": true })).await.expect(200)["data"].clone();

    let user = member_of(&ada).await["user_id"].as_str().unwrap().to_owned();
    let named = api_kit::type_id_of("user", user.parse().unwrap());
    assert_eq!((&enabled["enabled"], &enabled["created_by"]), (&json!(true), &json!(named)));
    assert_eq!(enabled.get("disabled_reason"), None);
    enqueue_due(&app.database, due).await.unwrap();
    assert_eq!(runs(&ada, &path).await[0]["outcome"], "enqueued");
    let as_ada = format!(
        "select count(*) from shard.all_jobs where kind = 'engine.no_op' and origin->>'user_id' = '{user}'"
    );
    assert_eq!(app.count(&as_ada).await, 1);
    cancel_all(&ada, &path).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_handed_over_goes_on() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = app.join(&ada, "admin").await;
    let (path, _) = yearly(&bob).await;
    let (from, to) = (path_of(&bob).await, member_of(&ada).await["id"].clone());
    ada.post(&format!("{from}/reassign"), json!({ "to_member_id": to })).await.expect(200);

    ada.delete(&from).await.expect(204);

    assert_eq!(shown(&ada, &path).await["enabled"], true);
    assert!(ada.get(PATH).await.expect(200)["data"][0].get("disabled_reason").is_none());
}
