//! Unique keys: the same job asked for twice.

use std::time::Duration;

use jobs::{Enqueued, NewJob, Unique, kinds::NoOp};
use serde_json::json;

use super::{end_of, enqueue, workspace_of};
use crate::{Client, TestApp};

fn keyed(job: &NoOp, unique: Unique) -> NewJob<'_, NoOp> {
    NewJob::new(job).unique(unique)
}

async fn cancel(owner: &Client, job: Enqueued) {
    owner.post(&format!("/jobs/{}/cancel", job.id()), json!({})).await.expect(200);
    end_of(owner, &job.id().to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stands_for_the_live_job_until_it_is_done() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.owner().await, app.owner().await);
    let (long, short) = (NoOp { sleep_ms: 60_000, ..NoOp::default() }, NoOp::default());
    let key = || Unique::until_done("report");

    let first = enqueue(&app, &ada, keyed(&long, key())).await;
    assert_eq!(enqueue(&app, &ada, keyed(&short, key())).await, Enqueued::Duplicate(first.id()));
    assert!(
        matches!(enqueue(&app, &eve, keyed(&short, key())).await, Enqueued::New(_)),
        "another workspace's own"
    );
    cancel(&ada, first).await;

    let second = enqueue(&app, &ada, keyed(&short, key())).await;
    assert!(matches!(second, Enqueued::New(_)), "a cancelled job frees its key");
    end_of(&ada, &second.id().to_string()).await;
    assert!(
        matches!(enqueue(&app, &ada, keyed(&short, key())).await, Enqueued::New(_)),
        "so does a finished one"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permanent_unique_key_outlives_success_but_not_failure() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (short, long) = (NoOp::default(), NoOp { sleep_ms: 60_000, ..NoOp::default() });

    let done = enqueue(&app, &owner, keyed(&short, Unique::for_ever("once"))).await;
    end_of(&owner, &done.id().to_string()).await;
    assert_eq!(
        enqueue(&app, &owner, keyed(&short, Unique::for_ever("once"))).await,
        Enqueued::Duplicate(done.id())
    );

    let cancelled = enqueue(&app, &owner, keyed(&long, Unique::for_ever("other"))).await;
    cancel(&owner, cancelled).await;
    assert!(matches!(
        enqueue(&app, &owner, keyed(&short, Unique::for_ever("other"))).await,
        Enqueued::New(_)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_key_with_a_period_is_taken_until_the_period_ends() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = NoOp::default();
    let key = || Unique::within(Duration::from_secs(3600), "hourly");

    let first = enqueue(&app, &owner, keyed(&job, key())).await;
    end_of(&owner, &first.id().to_string()).await;
    assert_eq!(enqueue(&app, &owner, keyed(&job, key())).await, Enqueued::Duplicate(first.id()));

    let later = "update shard.job_keys set expires_at = now() - interval '1 second'";
    sqlx::query(later).execute(&app.database.pool).await.unwrap();
    assert!(matches!(enqueue(&app, &owner, keyed(&job, key())).await, Enqueued::New(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_ask_at_once_one_job_comes() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let workspace = workspace_of(&owner);

    let asking = (0..20).map(|_| {
        let database = app.database.clone();
        tokio::spawn(async move {
            let job = NoOp { sleep_ms: 2_000, ..NoOp::default() };
            let job = NewJob::new(&job).workspace(Some(workspace)).unique(Unique::until_done("one"));
            database.enqueue(job).await.unwrap()
        })
    });
    let answers = futures::future::join_all(asking).await;
    let answers: Vec<Enqueued> = answers.into_iter().map(Result::unwrap).collect();

    assert_eq!(answers.iter().filter(|answer| matches!(answer, Enqueued::New(_))).count(), 1);
    assert!(answers.iter().all(|answer| answer.id() == answers[0].id()), "{answers:?}");
    assert_eq!(end_of(&owner, &answers[0].id().to_string()).await["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_whose_key_another_job_has_taken_is_refused() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let long = NoOp { sleep_ms: 60_000, ..NoOp::default() };
    let first = enqueue(&app, &owner, keyed(&long, Unique::until_done("key"))).await;
    cancel(&owner, first).await;
    let second = enqueue(&app, &owner, keyed(&long, Unique::until_done("key"))).await;

    let retry = format!("/jobs/{}/retry", first.id());
    assert_eq!(owner.post(&retry, json!({})).await.error(409), "duplicate_job");

    cancel(&owner, second).await;
    owner.post(&retry, json!({})).await.expect(200);
    let again = enqueue(&app, &owner, keyed(&long, Unique::until_done("key"))).await;
    assert_eq!(again, Enqueued::Duplicate(first.id()));
    cancel(&owner, first).await;
}
