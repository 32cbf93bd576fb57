//! The helpers for tests of jobs, in use: a job run inline, what was enqueued, time that passes at a
//! test's word.

use std::{sync::Arc, time::Duration};

use jobs::{
    Answer, Database, Jitter, JobContext, JobError, JobKind, NewJob, Outcome, Pool, Recurring, Registry,
    RetryPolicy,
    testing::{Inline, enqueued, pass, tick},
    watch::Status,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::database::{TestDatabase, variable};

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Greet {
    name: String,
    failures: i32,
}

impl JobKind for Greet {
    const NAME: &'static str = "tests.greet";
    const POOL: Pool = Pool::MAINTENANCE;
    const RETRY: RetryPolicy = RetryPolicy { attempts: 3, base: HOUR, cap: Duration::from_secs(86_400) };
}

async fn greet(_: Arc<()>, job: Greet, context: JobContext) -> Answer {
    if context.attempt <= job.failures {
        return Err(JobError::RetryWithMessage("not in the mood".into()));
    }
    Ok(Outcome::Done(json!(format!("Hello, {}", job.name))))
}

fn ada(failures: i32) -> Greet {
    Greet { name: "Ada".into(), failures }
}

async fn ledger() -> (TestDatabase, Database, Inline) {
    let clone = TestDatabase::create().await;
    let database = clone.connect(&variable("REDIS_URL"), &format!("t{}", Uuid::now_v7().simple())).await;
    let registry = Registry::new().on(&Arc::new(()), greet).with_jitter(Jitter::Fixed(1.0));
    let inline = Inline::new(&database, registry);
    (clone, database, inline)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_run_inline_to_its_end() {
    let (clone, database, inline) = ledger().await;
    let job = database.enqueue(NewJob::new(&ada(0))).await.unwrap().id();

    let end = inline.run(job).await;

    assert_eq!((end.event.status, end.event.attempt), (Status::Completed, 1));
    assert_eq!(end.event.result, Some(json!("Hello, Ada")));
    clone.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_transaction_has_enqueued_is_seen_in_it_and_gone_with_it() {
    let (clone, database, inline) = ledger().await;
    let mut tx = database.begin().await.unwrap();
    let job = jobs::enqueue(&mut tx, NewJob::new(&ada(0)).priority(2)).await.unwrap().id();

    let waiting = enqueued::<Greet>(&mut tx).await;
    assert_eq!(waiting.len(), 1);
    assert_eq!((waiting[0].id, &waiting[0].job, waiting[0].priority), (job, &ada(0), 2));
    drop(tx);

    assert_eq!(enqueued::<Greet>(&mut database.begin().await.unwrap()).await, []);
    assert!(inline.run_due().await.is_empty());
    clone.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_advances_time_past_a_backoff() {
    let (clone, database, inline) = ledger().await;
    let job = database.enqueue(NewJob::new(&ada(2))).await.unwrap().id();

    let failed = inline.run(job).await;
    assert_eq!(failed.event.status, Status::Pending);
    assert_eq!(failed.error.unwrap()["message"], "not in the mood");
    for minutes in [60, 120] {
        pass(&database, Duration::from_mins(minutes - 10)).await;
        assert!(inline.run_due().await.is_empty(), "ten minutes are missing");
        pass(&database, Duration::from_mins(10)).await;
        assert_eq!(inline.run_due().await.len(), 1);
    }
    assert_eq!(enqueued::<Greet>(&mut database.begin().await.unwrap()).await, []);
    clone.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_advances_time_to_a_schedules_occurrence() {
    let (clone, database, inline) = ledger().await;
    let daily = [Recurring::every(24 * HOUR, "greet", &ada(0)).unwrap()];

    tick(&database, &daily).await;
    assert_eq!(inline.run_due().await.len(), 1, "the first is due at once");
    pass(&database, 23 * HOUR).await;
    tick(&database, &daily).await;
    assert!(inline.run_due().await.is_empty(), "an hour is missing");
    pass(&database, HOUR).await;
    tick(&database, &daily).await;
    assert_eq!(inline.run_due().await.len(), 1);
    clone.remove().await;
}
