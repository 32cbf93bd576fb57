//! What becomes of occurrences, at times that the test chooses: the schedules are far from due by the
//! clock, so that the scheduler of the test's own process finds nothing.

use chrono::{DateTime, TimeDelta, Utc};
use domain::makers::enqueue_due;
use serde_json::{Value, json};

use super::{create, no_op, runs};
use crate::{Client, TestApp};

/// A yearly job, so that nothing comes by itself; answers with its path and when it is due.
async fn yearly(owner: &Client, own: Value) -> (String, DateTime<Utc>) {
    let mut job = no_op(own);
    job["cron_expression"] = json!("0 0 1 1 *");
    job["action_config"] = json!({ "sleep_ms": 60_000 });
    let (made, path) = create(owner, job).await;
    (path, made["next_run_at"].as_str().unwrap().parse().unwrap())
}

fn next_year(due: DateTime<Utc>) -> DateTime<Utc> {
    due + chrono::Months::new(12)
}

/// What became of the occurrences, oldest first.
async fn outcomes(owner: &Client, path: &str) -> Vec<String> {
    let mut runs = runs(owner, path).await;
    runs.reverse();
    runs.iter().map(|run| run["outcome"].as_str().unwrap().to_owned()).collect()
}

/// Cancels what still runs, so that nothing is left over.
pub(super) async fn cancel_all(owner: &Client, path: &str) {
    for run in runs(owner, path).await {
        if let Some(status_url) = run["status_url"].as_str() {
            owner.post(&format!("{status_url}/cancel"), json!({})).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_job_before_is_live_an_occurrence_is_skipped() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (path, due) = yearly(&owner, json!({ "overlap": "skip" })).await;

    enqueue_due(&app.database, due).await.unwrap();
    enqueue_due(&app.database, next_year(due)).await.unwrap();

    assert_eq!(outcomes(&owner, &path).await, ["enqueued", "skipped"]);
    let skipped = &runs(&owner, &path).await[0];
    assert_eq!((skipped.get("job_id"), skipped.get("status")), (None, None));
    cancel_all(&owner, &path).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_occurrence_may_queue_beside_the_job_before() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (path, due) = yearly(&owner, json!({ "overlap": "queue" })).await;

    enqueue_due(&app.database, due).await.unwrap();
    enqueue_due(&app.database, next_year(due)).await.unwrap();

    assert_eq!(outcomes(&owner, &path).await, ["enqueued", "enqueued"]);
    assert_eq!(app.count("select count(*) from jobs where kind = 'engine.no_op'").await, 2);
    cancel_all(&owner, &path).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_occurrence_may_replace_the_job_before() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (path, due) = yearly(&owner, json!({ "overlap": "replace" })).await;
    enqueue_due(&app.database, due).await.unwrap();
    let first = runs(&owner, &path).await[0].clone();
    let watch = owner.events(first["stream_url"].as_str().unwrap(), None).await;

    enqueue_due(&app.database, next_year(due)).await.unwrap();

    assert_eq!(watch.to_the_end().await["status"], "CANCELLED");
    assert_eq!(outcomes(&owner, &path).await, ["enqueued", "replaced"]);
    cancel_all(&owner, &path).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_downtime_the_policy_says_what_is_made_up_for() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    for (catch_up, expected) in [("none", 0), ("latest", 1), ("all", 3)] {
        let (path, due) = yearly(&owner, json!({ "catch_up": catch_up, "overlap": "queue" })).await;
        let long_after = next_year(next_year(due)) + TimeDelta::hours(1);

        enqueue_due(&app.database, long_after).await.unwrap();

        assert_eq!(outcomes(&owner, &path).await.len(), expected, "{catch_up}");
        let shown = owner.get(&path).await.expect(200);
        let next: DateTime<Utc> = shown["data"]["next_run_at"].as_str().unwrap().parse().unwrap();
        assert_eq!(next, next_year(next_year(next_year(due))), "{catch_up}");
        cancel_all(&owner, &path).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_leaders_at_once_one_enqueues_an_occurrence() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (path, due) = yearly(&owner, json!({ "overlap": "queue" })).await;

    let leaders = (0..8).map(|_| enqueue_due(&app.database, due));
    for led in futures::future::join_all(leaders).await {
        led.unwrap();
    }

    assert_eq!(outcomes(&owner, &path).await, ["enqueued"]);
    assert_eq!(app.count("select count(*) from jobs where kind = 'engine.no_op'").await, 1);
    cancel_all(&owner, &path).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_occurrence_that_has_been_does_not_come_again() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (path, due) = yearly(&owner, json!({ "overlap": "queue" })).await;
    enqueue_due(&app.database, due).await.unwrap();

    // As after a restore, or by a hand in the database.
    sqlx::query("update schedules set next_at = $1 where workspace_id is not null")
        .bind(due)
        .execute(&app.database.pool)
        .await
        .unwrap();
    enqueue_due(&app.database, due).await.unwrap();

    assert_eq!(outcomes(&owner, &path).await, ["enqueued"]);
    assert_eq!(app.count("select count(*) from jobs where kind = 'engine.no_op'").await, 1);
    cancel_all(&owner, &path).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jitter_puts_a_job_off_and_not_its_occurrence() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (path, due) = yearly(&owner, json!({ "jitter_seconds": 3600 })).await;

    enqueue_due(&app.database, due).await.unwrap();

    let run = runs(&owner, &path).await[0].clone();
    let at = |value: &Value| value.as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    assert_eq!(at(&run["scheduled_for"]), due);
    let job = owner.get(run["status_url"].as_str().unwrap()).await.expect(200);
    let by = at(&job["data"]["run_at"]) - due;
    assert!(by > TimeDelta::zero() && by <= TimeDelta::seconds(3600), "{by}");
    cancel_all(&owner, &path).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_of_a_newer_release_delays_no_other() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (strange, due) = yearly(&owner, json!({})).await;
    sqlx::query("update schedules set pool = 'telepathy' where workspace_id is not null")
        .execute(&app.database.pool)
        .await
        .unwrap();
    let (path, _) = yearly(&owner, json!({})).await;

    enqueue_due(&app.database, due).await.unwrap();

    assert_eq!(outcomes(&owner, &path).await, ["enqueued"]);
    // Its job waits for the workers of that release.
    assert_eq!(outcomes(&owner, &strange).await, ["enqueued"]);
    assert_eq!(app.count("select count(*) from jobs where pool = 'telepathy'").await, 1);
    cancel_all(&owner, &path).await;
    cancel_all(&owner, &strange).await;
}
