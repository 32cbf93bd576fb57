//! Batches: a parent whose progress is its children's.

use jobs::{
    JobId, NewJob,
    batch::{self, BatchError, NewBatch, OnFailure},
    kinds::NoOp,
};
use serde_json::{Value, json};

use super::{end_of, workspace_of};
use crate::{Client, TestApp, cluster::wait_until};

/// Opens a batch of these no-ops, and seals it.
async fn start(app: &TestApp, owner: &Client, on_failure: OnFailure, children: &[NoOp]) -> JobId {
    let mut tx = app.database.begin().await.unwrap();
    let new = NewBatch::new("Tests").workspace(Some(workspace_of(owner))).on_failure(on_failure);
    let parent = batch::open(&mut tx, new).await.unwrap();
    add(&mut tx, owner, parent, children).await.unwrap();
    batch::seal(&mut tx, parent).await.unwrap();
    tx.commit().await.unwrap();
    parent
}

async fn add(tx: &mut jobs::Tx, owner: &Client, parent: JobId, children: &[NoOp]) -> Result<(), BatchError> {
    let jobs = children.iter().map(|job| NewJob::new(job).workspace(Some(workspace_of(owner)))).collect();
    batch::add(tx, parent, jobs).await.map(|_| ())
}

/// A no-op that fails permanently at once.
fn failing() -> NoOp {
    NoOp { fails: true, ..NoOp::default() }
}

fn sleeping(ms: u64) -> NoOp {
    NoOp { sleep_ms: ms, ..NoOp::default() }
}

async fn end(owner: &Client, parent: JobId) -> Value {
    end_of(owner, &parent.to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batchs_progress_is_its_childrens_and_it_ends_with_the_last() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let parent = start(&app, &owner, OnFailure::Continue, &vec![sleeping(5); 2000]).await;

    let mut events = owner.events(&format!("/jobs/{parent}/stream?since=0"), None).await;
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        seen.push(event);
    }
    let last = seen.last().unwrap();
    assert_eq!(last["status"], "COMPLETED");
    assert_eq!(last["result"], json!({ "total": 2000, "completed": 2000, "failed": 0, "cancelled": 0 }));
    assert_eq!(last["counts"], json!({ "done": 2000, "failed": 0, "skipped": 0, "total": 2000 }));
    assert!(
        seen.iter().any(|event| (1..100).contains(&event["progress"].as_i64().unwrap())),
        "{}",
        seen.len()
    );
    let poll = owner.get(&format!("/jobs/{parent}")).await.expect(200);
    assert_eq!((&poll["seq"], &poll["result"]), (&last["seq"], &last["result"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_come_afterwards_comes_once_and_last() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (workspace, after) = (workspace_of(&owner), sleeping(1));
    let mut tx = app.database.begin().await.unwrap();
    let job = NewJob::new(&after).workspace(Some(workspace));
    let afterwards = JobId::new();
    let new = NewBatch::new("Tests")
        .workspace(Some(workspace))
        .on_complete(&app.database, job.id(afterwards))
        .unwrap();
    let parent = batch::open(&mut tx, new).await.unwrap();
    add(&mut tx, &owner, parent, &vec![sleeping(20); 30]).await.unwrap();
    batch::seal(&mut tx, parent).await.unwrap();
    tx.commit().await.unwrap();

    assert_eq!(end(&owner, parent).await["status"], "COMPLETED");
    assert_eq!(end_of(&owner, &afterwards.to_string()).await["status"], "COMPLETED");
    let before = format!(
        "select count(*) from shard.finished_jobs f where batch_id = '{parent}'
            and finished_at > (select created_at from shard.finished_jobs where id = '{afterwards}')"
    );
    assert_eq!(app.count(&before).await, 0, "it came after all of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_may_be_filled_bit_by_bit_and_is_over_only_when_sealed() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let new = NewBatch::new("Tests").workspace(Some(workspace_of(&owner)));
    let mut tx = app.database.begin().await.unwrap();
    let parent = batch::open(&mut tx, new).await.unwrap();
    add(&mut tx, &owner, parent, &[sleeping(0)]).await.unwrap();
    tx.commit().await.unwrap();
    wait_until("the first is counted", || async {
        owner.get(&format!("/jobs/{parent}")).await.expect(200)["counts"]["done"] == 1
    })
    .await;
    assert_eq!(owner.get(&format!("/jobs/{parent}")).await.expect(200)["status"], "RUNNING");

    let mut tx = app.database.begin().await.unwrap();
    add(&mut tx, &owner, parent, &[sleeping(0)]).await.unwrap();
    batch::seal(&mut tx, parent).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(end(&owner, parent).await["result"]["completed"], 2);

    let mut tx = app.database.begin().await.unwrap();
    assert!(matches!(add(&mut tx, &owner, parent, &[sleeping(0)]).await, Err(BatchError::Closed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_without_jobs_completes() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let parent = start(&app, &owner, OnFailure::Abort, &[]).await;
    assert_eq!(end(&owner, parent).await["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_ends_its_batch_as_the_policy_says() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let children = [sleeping(1), failing(), sleeping(1)];

    let goes_on = end(&owner, start(&app, &owner, OnFailure::Continue, &children).await).await;
    assert_eq!(goes_on["status"], "COMPLETED");
    assert_eq!(goes_on["result"], json!({ "total": 3, "completed": 2, "failed": 1, "cancelled": 0 }));

    let fails = end(&owner, start(&app, &owner, OnFailure::Fail, &children).await).await;
    assert_eq!(fails["status"], "FAILED");
    assert_eq!(fails["error_message"], "1 of 3 jobs failed");

    let mut children = vec![failing()];
    children.extend(vec![sleeping(60_000); 50]);
    let aborted = end(&owner, start(&app, &owner, OnFailure::Abort, &children).await).await;
    assert_eq!(aborted["status"], "FAILED");
    assert_eq!(aborted["result"], json!({ "total": 51, "completed": 0, "failed": 1, "cancelled": 50 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_batch_cancels_its_jobs_and_a_retry_runs_them_again() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let mut children = vec![sleeping(0); 5];
    children.extend(vec![sleeping(1500); 40]);
    let parent = start(&app, &owner, OnFailure::Fail, &children).await;
    wait_until("some are done", || async {
        owner.get(&format!("/jobs/{parent}")).await.expect(200)["counts"]["done"].as_i64() >= Some(5)
    })
    .await;

    let answer = owner.post(&format!("/jobs/{parent}/cancel"), json!({})).await.expect(200);
    assert_eq!(answer["cancel_requested"], true);
    let over = end(&owner, parent).await;
    assert_eq!(over["status"], "CANCELLED");
    assert_eq!(app.count("select count(*) from shard.jobs").await, 0);

    sqlx::query("update shard.finished_jobs set payload = '{\"sleep_ms\":1}' where batch_id is not null")
        .execute(&app.database.pool)
        .await
        .unwrap();
    let retried = owner.post(&format!("/jobs/{parent}/retry"), json!({})).await.expect(200);
    assert_eq!(retried["status"], "RUNNING");
    assert_eq!(
        end(&owner, parent).await["result"],
        json!({ "total": 45, "completed": 45, "failed": 0, "cancelled": 0 })
    );
}
