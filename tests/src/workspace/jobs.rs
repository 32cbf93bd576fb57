//! The routes of jobs, and the streams that they share with every other section.

mod access;
mod all;
mod batches;
mod control;
mod following;
mod kinds;
mod logs;
mod open_streams;
mod slow_clients;
mod trace;
mod turns;
mod unique;
mod waiting;

use jobs::{Enqueued, JobKind, NewJob, kinds::NoOp};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Client, TestApp};

/// Enqueues a job that sleeps, in the caller's workspace; answers with its id.
pub(crate) async fn sleeper(app: &TestApp, owner: &Client, job: NoOp) -> String {
    enqueue(app, owner, NewJob::new(&job)).await.id().to_string()
}

/// Enqueues a job in the caller's workspace.
pub(crate) async fn enqueue<K: JobKind>(app: &TestApp, owner: &Client, job: NewJob<'_, K>) -> Enqueued {
    app.database.enqueue(job.workspace(Some(workspace_of(owner)))).await.unwrap()
}

pub(crate) fn workspace_of(owner: &Client) -> Uuid {
    owner.workspace.as_ref().unwrap().parse().unwrap()
}

/// Waits for a job's end.
pub(crate) async fn end_of(owner: &Client, job: &str) -> Value {
    owner.events(&format!("/jobs/{job}/stream"), None).await.to_the_end().await
}

async fn status_of(owner: &Client, job: &str) -> Value {
    owner.get(&format!("/jobs/{job}")).await.expect(200)["status"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_and_its_poll_equals_its_stream() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = sleeper(&app, &owner, NoOp { sleep_ms: 50, ..NoOp::default() }).await;

    let end = owner.events(&format!("/jobs/{job}/stream"), None).await.to_the_end().await;

    assert_eq!(end["status"], "COMPLETED");
    assert_eq!(end["progress"], 100);
    let poll = owner.get(&format!("/jobs/{job}")).await.expect(200);
    for field in ["status", "progress", "seq", "counts", "result", "attempt"] {
        assert_eq!(poll[field], end[field], "{field}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_attempt_is_tried_again_and_counted() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = sleeper(&app, &owner, NoOp { failures: 2, ..NoOp::default() }).await;

    let end = owner.events(&format!("/jobs/{job}/stream"), None).await.to_the_end().await;

    assert_eq!(end["status"], "COMPLETED");
    assert_eq!(end["attempt"], 3);
    let log = owner.get(&format!("/jobs/{job}/logs")).await.expect(200);
    assert_eq!(log["items"][0]["level"], "warn");
    assert_eq!(log["items"][0]["message"], "failure requested");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_that_does_not_listen_is_ended_all_the_same() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = sleeper(&app, &owner, NoOp { sleep_ms: 60_000, deaf: true, ..NoOp::default() }).await;
    let mut events = owner.events(&format!("/jobs/{job}/stream?since=0"), None).await;
    while events.next().await.expect("it starts")["status"] != "RUNNING" {}

    let answer = owner.post(&format!("/jobs/{job}/cancel"), json!({})).await.expect(200);
    assert_eq!(answer["status"], "RUNNING");
    assert_eq!(answer["cancel_requested"], true);

    let began = std::time::Instant::now();
    let end = events.to_the_end().await;
    assert_eq!(end["status"], "CANCELLED");
    assert!(began.elapsed().as_secs() < 10, "it took {:?}", began.elapsed());
    assert_eq!(owner.post(&format!("/jobs/{job}/cancel"), json!({})).await.error(409), "job_over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_can_be_retried_and_deleted() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = sleeper(&app, &owner, NoOp { sleep_ms: 1500, ..NoOp::default() }).await;
    owner.post(&format!("/jobs/{job}/cancel"), json!({})).await.expect(200);
    owner.events(&format!("/jobs/{job}/stream"), None).await.to_the_end().await;

    let retried = owner.post(&format!("/jobs/{job}/retry"), json!({})).await.expect(200);
    assert_ne!(retried["status"], "CANCELLED");
    assert_eq!(owner.delete(&format!("/jobs/{job}")).await.error(409), "job_not_over");
    let end = owner.events(&format!("/jobs/{job}/stream"), None).await.to_the_end().await;
    assert_eq!(end["status"], "COMPLETED");

    owner.delete(&format!("/jobs/{job}")).await.expect(204);
    assert_eq!(owner.get(&format!("/jobs/{job}")).await.error(404), "record_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_gets_what_came_after_and_nothing_twice() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = sleeper(&app, &owner, NoOp { sleep_ms: 400, failures: 1, ..NoOp::default() }).await;
    let path = format!("/jobs/{job}/stream");
    let mut seen = Vec::new();
    let mut last = None;
    // A connection per event: each resumes after the one before.
    loop {
        let mut events = owner.events(&path, last).await;
        if events.status == 204 {
            break;
        }
        let mut event = events.next().await.expect("an event");
        if event["status"] == "GAP" {
            // What a job without progress did meanwhile is not kept; the snapshot follows.
            event = events.next().await.expect("a snapshot after a gap");
        }
        let seq = event["seq"].as_i64().unwrap();
        assert!(last.is_none_or(|last| seq > last), "{event} after {last:?}");
        last = Some(seq);
        seen.push(event["status"].as_str().unwrap().to_owned());
    }
    assert_eq!(seen.last().map(String::as_str), Some("COMPLETED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_answers_when_something_changes() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = sleeper(&app, &owner, NoOp { sleep_ms: 300, ..NoOp::default() }).await;
    let mut seq = 0;
    loop {
        let poll = owner.get(&format!("/jobs/{job}?since={seq}&wait=30")).await.expect(200);
        assert!(poll["seq"].as_i64().unwrap() > seq, "a long poll that answers early has news: {poll}");
        seq = poll["seq"].as_i64().unwrap();
        if poll["status"] == "COMPLETED" {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_another_workspace_does_not_exist() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.owner().await, app.owner().await);
    let job = sleeper(&app, &ada, NoOp::default()).await;

    for reply in [
        eve.get(&format!("/jobs/{job}")).await,
        eve.get(&format!("/jobs/{job}/logs")).await,
        eve.get(&format!("/jobs/{job}/stream")).await,
        eve.post(&format!("/jobs/{job}/cancel"), json!({})).await,
        eve.post(&format!("/jobs/{job}/retry"), json!({})).await,
        eve.delete(&format!("/jobs/{job}")).await,
    ] {
        assert_eq!(reply.error(404), "record_not_found");
    }
    assert_ne!(status_of(&ada, &job).await, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_attempt_fails_after_it_was_asked_to_stop_is_not_tried_again() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = NoOp { sleep_ms: 700, deaf: true, failures: 9, ..NoOp::default() };
    let job = sleeper(&app, &owner, job).await;
    let mut events = owner.events(&format!("/jobs/{job}/stream?since=0"), None).await;
    while events.next().await.expect("it starts")["status"] != "RUNNING" {}

    let answer = owner.post(&format!("/jobs/{job}/cancel"), json!({})).await.expect(200);
    assert_eq!((&answer["status"], &answer["cancel_requested"]), (&json!("RUNNING"), &json!(true)));

    let end = events.to_the_end().await;
    assert_eq!(end["status"], "CANCELLED");
    assert_eq!(owner.get(&format!("/jobs/{job}")).await.expect(200)["attempt"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_progress_takes_no_room_in_redis() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = sleeper(&app, &owner, NoOp { sleep_ms: 100, ..NoOp::default() }).await;

    owner.events(&format!("/jobs/{job}/stream"), None).await.to_the_end().await;

    let history = app.database.bus.history_key(jobs::JobId(job.parse().unwrap()));
    let kept: bool =
        redis::cmd("EXISTS").arg(history).query_async(&mut app.database.bus.connection()).await.unwrap();
    assert!(!kept, "the ledger's row says as much");
    let after = owner.events(&format!("/jobs/{job}/stream?since=0"), None).await.to_the_end().await;
    assert_eq!(after["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_comes_back_is_told_where_events_are_lost_behind_those_that_are_kept() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = sleeper(&app, &owner, NoOp { sleep_ms: 600, report_ms: 20, ..NoOp::default() }).await;
    let path = format!("/jobs/{job}/stream");
    let mut stream = owner.events(&format!("{path}?since=0"), None).await;
    let mut seen = Vec::new();
    while let Some(event) = stream.next().await {
        seen.push(event["seq"].as_i64().unwrap());
    }
    assert!(seen.len() > 6, "{seen:?}");
    // Redis has lost what it was sent last.
    let history = app.database.bus.history_key(jobs::JobId(job.parse().unwrap()));
    let lost: Vec<String> = seen[4..].iter().map(|seq| format!("{seq}-0")).collect();
    let mut redis = app.database.bus.connection();
    let gone: usize = redis::cmd("XDEL").arg(&history).arg(lost).query_async(&mut redis).await.unwrap();
    assert!(gone > 1, "{gone}");

    let mut again = owner.events(&path, Some(seen[1])).await;
    for kept in &seen[2..4] {
        assert_eq!(again.next().await.unwrap()["seq"], *kept);
    }
    let gap = again.next().await.unwrap();
    assert_eq!((&gap["status"], &gap["after"]), (&json!("GAP"), &json!(seen[3])), "{gap}");
    let end = again.next().await.unwrap();
    assert_eq!((&end["status"], &end["seq"]), (&json!("COMPLETED"), &json!(seen.last())), "{end}");
    assert_eq!(again.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_counted_up_to_ten_thousand_jobs_and_says_so() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let list = owner.get("/jobs?page_size=1").await.expect(200);
    assert_eq!(list["total_is_capped"], false);
    let more = "insert into shard.finished_jobs (id, workspace_id, kind, version, pool, payload, origin, priority, state,
                       attempt, max_attempts, crashes, epoch, created_at)
                select gen_random_uuid(), $1, 'engine.no_op', 1, 'maintenance', '{}', '{}', 5, 'completed', 1, 1, 0, 2,
                       now()
                  from generate_series(1, 10001)";
    sqlx::query(more).bind(workspace_of(&owner)).execute(&app.database.pool).await.unwrap();

    let list = owner.get("/jobs?page_size=1&page=10001").await.expect(200);
    assert_eq!((&list["total"], &list["total_is_capped"]), (&json!(10_000), &json!(true)));
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "further pages can be had all the same");
}
