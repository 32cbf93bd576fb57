//! Why a job is waiting.

use chrono::TimeDelta;
use jobs::{NewJob, kinds::NoOp};
use serde_json::{Value, json};

use super::{end_of, enqueue, sleeper};
use crate::{Client, TestApp, cluster::wait_until};

async fn waiting(owner: &Client, job: &str) -> Value {
    owner.get(&format!("/jobs/{job}")).await.expect(200)["waiting"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_for_later_says_when() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let at = jobs::clock::now() + TimeDelta::hours(1);
    let job = enqueue(&app, &owner, NewJob::new(&NoOp::default()).run_at(at)).await.id().to_string();

    let waiting = waiting(&owner, &job).await;
    assert_eq!(waiting["reason"], "later");
    assert_eq!(waiting["detail"], "its start was requested for then");
    assert!(waiting["until"].is_string(), "{waiting}");
    assert!(waiting["position"].is_null(), "{waiting}");
    owner.post(&format!("/jobs/{job}/cancel"), json!({})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_pool_has_no_worker_says_so() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    sqlx::query("update shard.workers set asked = 'pause'").execute(&app.database.pool).await.unwrap();
    wait_until("the dispatcher has noticed", || async {
        let job = sleeper(&app, &owner, NoOp::default()).await;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        waiting(&owner, &job).await["reason"] == "no_worker"
    })
    .await;
    sqlx::query("update shard.workers set asked = null").execute(&app.database.pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_behind_a_limit_or_in_the_line_say_so_with_their_position() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let limit = "insert into shard.job_limits (id, scope, kind, max_running)
                 values (gen_random_uuid(), 'tenant', 'engine.no_op', 1)";
    sqlx::query(limit).execute(&app.database.pool).await.unwrap();
    let first = sleeper(&app, &owner, NoOp { sleep_ms: 60_000, ..NoOp::default() }).await;
    wait_until("it runs", || async {
        app.count("select count(*) from shard.jobs where state = 'running'").await == 1
    })
    .await;
    let second = sleeper(&app, &owner, NoOp::default()).await;
    let third = sleeper(&app, &owner, NoOp::default()).await;

    assert!(waiting(&owner, &first).await.is_null(), "it runs");
    assert_eq!(
        waiting(&owner, &third).await,
        json!({
            "reason": "concurrency_limit",
            "position": 2,
            "detail": "no more than 1 jobs of the kind engine.no_op of this workspace may run at once",
        })
    );

    owner.post(&format!("/jobs/{first}/cancel"), json!({})).await.expect(200);
    assert_eq!(end_of(&owner, &second).await["status"], "COMPLETED");
    assert_eq!(end_of(&owner, &third).await["status"], "COMPLETED");
}
