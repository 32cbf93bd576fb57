//! Whose turn it is: workspaces beside each other, limits, pauses, hand-back. By order, never by time.

use jobs::{
    NewJob,
    kinds::{NoOp, Steps},
};
use serde_json::json;
use uuid::Uuid;

use super::{end_of, enqueue, sleeper, workspace_of};
use crate::{Client, TestApp, cluster::wait_until};

/// Enqueues many jobs at once.
async fn enqueue_many(app: &TestApp, owner: &Client, count: usize, job: &NoOp) {
    let mut tx = app.database.begin().await.unwrap();
    let jobs = (0..count).map(|_| NewJob::new(job).workspace(Some(workspace_of(owner)))).collect();
    jobs::enqueue_all(&mut tx, jobs).await.unwrap();
    tx.commit().await.unwrap();
}

/// Sets a limit on the no-ops of each workspace.
async fn limit_no_ops(app: &TestApp, max_running: Option<i32>, max_starts: Option<i32>, per: Option<&str>) {
    sqlx::query(
        "insert into shard.job_limits (id, scope, kind, max_running, max_starts, per)
         values ($1, 'tenant', 'engine.no_op', $2, $3, $4::text::interval)",
    )
    .bind(Uuid::now_v7())
    .bind(max_running)
    .bind(max_starts)
    .bind(per)
    .execute(&app.database.pool)
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_workspaces_job_does_not_wait_behind_a_busy_ones_line() {
    let app = TestApp::start().await;
    let (busy, quiet) = (app.owner().await, app.owner().await);
    enqueue_many(&app, &busy, 300, &NoOp { sleep_ms: 20, ..NoOp::default() }).await;
    wait_until("the busy one's jobs run", || async {
        app.count("select count(*) from shard.finished_jobs where kind = 'engine.no_op'").await > 5
    })
    .await;

    let job = sleeper(&app, &quiet, NoOp::default()).await;
    assert_eq!(end_of(&quiet, &job).await["status"], "COMPLETED");

    let waiting = app.count("select count(*) from shard.jobs where kind = 'engine.no_op'").await;
    assert!(waiting > 100, "only {waiting} of the busy one's jobs were still to come");
    wait_until("all are done", || async { app.count("select count(*) from shard.jobs").await == 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_job_hands_its_slot_back_when_another_workspace_has_waited() {
    let app = TestApp::start().await;
    let (busy, quiet) = (app.owner().await, app.owner().await);
    let mut long = Vec::new();
    for _ in 0..6 {
        let steps = Steps { steps: 3000, step_ms: 20 };
        long.push(enqueue(&app, &busy, NewJob::new(&steps)).await.id().to_string());
    }
    wait_until("all slots are taken", || async {
        app.count("select count(*) from shard.jobs where state = 'running'").await == 4
    })
    .await;

    let job = sleeper(&app, &quiet, NoOp::default()).await;
    assert_eq!(end_of(&quiet, &job).await["status"], "COMPLETED");

    assert_eq!(
        app.count("select count(*) from shard.jobs where kind = 'engine.steps'").await,
        6,
        "none has ended"
    );
    let spent = app.count("select count(*) from shard.jobs where attempt > 1 or crashes > 0").await;
    assert_eq!(spent, 0, "a hand-back is not an attempt");
    for job in &long {
        busy.post(&format!("/jobs/{job}/cancel"), json!({})).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_jobs_run_at_once_than_a_limit_allows() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    limit_no_ops(&app, Some(1), None, None).await;

    enqueue_many(&app, &owner, 8, &NoOp { sleep_ms: 30, ..NoOp::default() }).await;
    wait_until("all are done", || async { app.count("select count(*) from shard.jobs").await == 0 }).await;

    let overlapping = "select count(*) from shard.finished_jobs a join shard.finished_jobs b
         on a.id < b.id and a.kind = 'engine.no_op' and b.kind = 'engine.no_op'
        and (a.started_at, a.finished_at) overlaps (b.started_at, b.finished_at)";
    assert_eq!(app.count(overlapping).await, 0);
    assert_eq!(app.count("select count(*) from shard.finished_jobs where kind = 'engine.no_op'").await, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_jobs_start_in_a_period_than_a_limit_allows() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    limit_no_ops(&app, None, Some(3), Some("2 seconds")).await;

    enqueue_many(&app, &owner, 7, &NoOp::default()).await;
    wait_until("all are done", || async { app.count("select count(*) from shard.jobs").await == 0 }).await;

    // A window opens with its first start: the fourth start is in the next one.
    let too_soon = "select count(*) from (
            select started_at - lag(started_at, 3) over (order by started_at, id) as since
              from shard.finished_jobs where kind = 'engine.no_op') s
         where since < interval '1.9 seconds' and since is not null";
    assert_eq!(app.count(too_soon).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_kind_waits_and_says_so_until_it_is_resumed() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let pause = "insert into shard.job_pauses (id, kind, reason) values (gen_random_uuid(), 'engine.no_op', 'a fault')";
    sqlx::query(pause).execute(&app.database.pool).await.unwrap();

    let job = sleeper(&app, &owner, NoOp::default()).await;
    let steps = enqueue(&app, &owner, NewJob::new(&Steps { steps: 1, step_ms: 0 })).await.id().to_string();
    assert_eq!(end_of(&owner, &steps).await["status"], "COMPLETED", "other kinds go on");
    let waiting = owner.get(&format!("/jobs/{job}")).await.expect(200)["waiting"].clone();
    assert_eq!(
        waiting,
        json!({ "reason": "paused", "position": 1, "detail": "jobs of the kind engine.no_op are paused: a fault" })
    );

    sqlx::query("delete from shard.job_pauses").execute(&app.database.pool).await.unwrap();
    assert_eq!(end_of(&owner, &job).await["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn within_a_workspace_a_higher_priority_goes_first() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    limit_no_ops(&app, Some(1), None, None).await;
    let mut ids = Vec::new();
    // All of them at the same moment: what is due first goes first.
    let due = jobs::clock::now() + chrono::TimeDelta::seconds(2);
    for priority in [9, 5, 0] {
        let job = NoOp { sleep_ms: 20, ..NoOp::default() };
        let mut tx = app.database.begin().await.unwrap();
        for _ in 0..3 {
            let job = NewJob::new(&job).workspace(Some(workspace_of(&owner))).priority(priority);
            ids.push(jobs::enqueue(&mut tx, job.run_at(due)).await.unwrap());
        }
        tx.commit().await.unwrap();
    }
    wait_until("all are done", || async { app.count("select count(*) from shard.jobs").await == 0 }).await;

    let order: Vec<i16> = sqlx::query_scalar(
        "select priority from shard.finished_jobs where kind = 'engine.no_op' order by started_at",
    )
    .fetch_all(&app.database.pool)
    .await
    .unwrap();
    assert_eq!(order, [0, 0, 0, 5, 5, 5, 9, 9, 9]);
}
