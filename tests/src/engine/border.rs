//! No text of a job delays another job.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jobs::{
    Answer, JobContext, JobError, JobId, JobKind, NewJob, Outcome, PayloadKeys, Pool, Registry, RetryPolicy,
    border::{MAX_MESSAGE_BYTES, MAX_RESULT_BYTES, MAX_STEP_BYTES},
    worker::{WorkerConfig, work},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Engine;
use crate::cluster::wait_until;

/// A job with a text.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Talker {
    talk: Talk,
}

/// Its text.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Talk {
    /// Ends with a plain result.
    Plainly,
    /// Says NUL wherever something can be said.
    Nul,
    /// Fails with NUL in code and message.
    FailsWithNul,
    /// Says megabytes, and ends with a plain result.
    Megabytes,
    /// Has megabytes for a result.
    LargeResult,
    /// Ends with what a test's own constraint refuses.
    Refused,
    /// Says what a test's own constraint refuses, and waits to be asked to stop.
    RefusedProgress,
    /// Waits to be asked to stop.
    Waits,
}

impl JobKind for Talker {
    const NAME: &'static str = "tests.talk";
    const POOL: Pool = Pool::MAINTENANCE;
    const RETRY: RetryPolicy = RetryPolicy::NEVER;
}

async fn talk(_: Arc<()>, job: Talker, context: JobContext) -> Answer {
    let progress = context.progress();
    match job.talk {
        Talk::Plainly => Ok(Outcome::Done(json!("plain"))),
        Talk::Nul => {
            progress.message("mess\0age").step("st\0ep").counts(1, 0, 0).flush();
            context.log(tracing::Level::INFO, "li\0ne");
            Ok(Outcome::Done(json!({ "na\0me": ["val\0ue"] })))
        }
        Talk::FailsWithNul => Ok(Outcome::Fail { code: "co\0de".into(), message: "rea\0son".into() }),
        Talk::Megabytes => {
            let text = "é".repeat(3 << 20);
            progress.message(text.as_str()).step(&text).counts(1, 0, 0).flush();
            context.log(tracing::Level::INFO, &text);
            Ok(Outcome::Done(json!("plain")))
        }
        Talk::LargeResult => Ok(Outcome::Done(json!("x".repeat(MAX_RESULT_BYTES)))),
        Talk::Refused => Ok(Outcome::Done(json!("refused"))),
        Talk::RefusedProgress | Talk::Waits => {
            let message = if matches!(job.talk, Talk::Waits) { "waits" } else { "refused" };
            progress.message(message).counts(1, 0, 0).flush();
            context.cancelled().await;
            Ok::<_, JobError>(Outcome::Cancelled)
        }
    }
}

/// An engine whose worker has `slots` and a short lease.
async fn engine(slots: usize) -> Engine {
    let engine = Engine::start(PayloadKeys::default()).await;
    let registry = Registry::new().on(&Arc::new(()), talk);
    let config = WorkerConfig {
        lease: Duration::from_secs(2),
        ..WorkerConfig::new(HashMap::from([(Pool::MAINTENANCE, slots)]))
    };
    tokio::spawn(work(engine.database.clone(), registry, config, engine.stop.child_token()));
    engine
}

async fn enqueue(engine: &Engine, talk: Talk) -> JobId {
    engine.database.enqueue(NewJob::new(&Talker { talk })).await.unwrap().id()
}

async fn run(engine: &Engine, sql: &'static str) {
    sqlx::raw_sql(sql).execute(&engine.database.pool).await.unwrap();
}

async fn text(engine: &Engine, sql: &'static str, job: JobId) -> String {
    sqlx::query_scalar(sql).bind(job.0).fetch_one(&engine.database.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nul_and_megabytes_are_cleaned_and_cut_and_too_large_a_result_fails_its_own_job() {
    let engine = engine(8).await;
    let mut plain = Vec::new();
    let mut others = Vec::new();
    for job in [Talk::Nul, Talk::FailsWithNul, Talk::Megabytes, Talk::LargeResult] {
        others.push(enqueue(&engine, job).await);
        plain.push(enqueue(&engine, Talk::Plainly).await);
    }

    for job in plain {
        assert_eq!(engine.end_of(job).await, ("completed".into(), 1, Some(json!("plain")), None));
    }
    let [nul, failed, megabytes, large] = others[..] else { unreachable!() };
    assert_eq!(engine.end_of(nul).await, ("completed".into(), 1, Some(json!({ "name": ["value"] })), None));
    let said = "select concat_ws(' ', progress ->> 'message', progress ->> 'current_step',
                       (select message from job_logs where job_id = f.id)) from finished_jobs f where id = $1";
    assert_eq!(text(&engine, said, nul).await, "message step line");
    let error = |code: &str, message: &str| Some(json!({ "code": code, "message": message, "attempt": 1 }));
    assert_eq!(engine.end_of(failed).await, ("failed".into(), 1, None, error("code", "reason")));
    assert_eq!(engine.end_of(megabytes).await.0, "completed");
    let lengths = "select format('%s %s %s', octet_length(progress ->> 'message'), octet_length(progress ->> 'current_step'),
                          (select octet_length(message) from job_logs where job_id = f.id)) from finished_jobs f where id = $1";
    assert_eq!(
        text(&engine, lengths, megabytes).await,
        format!("{MAX_MESSAGE_BYTES} {MAX_STEP_BYTES} {MAX_MESSAGE_BYTES}")
    );
    let (state, _, result, error) = engine.end_of(large).await;
    assert_eq!((state.as_str(), result), ("failed", None));
    assert_eq!(error.unwrap()["code"], "result_too_large");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_the_ledger_refuses_is_its_own_jobs_alone() {
    let engine = engine(32).await;
    run(&engine, "alter table shard.finished_jobs add check (result is distinct from '\"refused\"'::jsonb)")
        .await;
    let mut jobs = Vec::new();
    for n in 0..64 {
        let job = if n % 16 == 5 { Talk::Refused } else { Talk::Plainly };
        jobs.push((job, enqueue(&engine, job).await));
    }

    for (job, id) in jobs {
        let (state, attempt, result, error) = engine.end_of(id).await;
        if matches!(job, Talk::Refused) {
            assert_eq!((state.as_str(), attempt, result), ("failed", 1, None));
            assert_eq!(error.unwrap()["code"], "not_storable");
        } else {
            assert_eq!((state.as_str(), attempt, result), ("completed", 1, Some(Value::from("plain"))));
        }
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_that_the_ledger_refuses_costs_no_job_its_lease() {
    let engine = engine(4).await;
    run(&engine, "alter table shard.jobs add check (progress ->> 'message' is distinct from 'refused')")
        .await;
    let (bad, other) = (enqueue(&engine, Talk::RefusedProgress).await, enqueue(&engine, Talk::Waits).await);

    for job in [bad, other] {
        keeps_its_lease(&engine, job).await;
        assert_eq!(text(&engine, "select attempt || ' ' || fence from jobs where id = $1", job).await, "1 1");
    }
    for job in [bad, other] {
        jobs::testing::cancel(&engine.database, jobs::Owner::Installation, job).await;
        assert_eq!(engine.end_of(job).await.0, "cancelled");
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_end_is_being_written_keeps_its_lease() {
    let engine = engine(4).await;
    let mut blocker = engine.database.pool.begin().await.unwrap();
    sqlx::raw_sql("lock table shard.finished_jobs in share mode").execute(&mut *blocker).await.unwrap();
    let job = enqueue(&engine, Talk::Plainly).await;

    let waits_for_the_lock = || async {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_locks where not granted and relation = 'finished_jobs'::regclass",
        )
        .fetch_one(&engine.database.pool)
        .await
        .unwrap();
        waiting > 0
    };
    wait_until("the end waits for the lock", waits_for_the_lock).await;
    keeps_its_lease(&engine, job).await;
    blocker.rollback().await.unwrap();

    assert_eq!(engine.end_of(job).await, ("completed".into(), 1, Some(json!("plain")), None));
    engine.stop().await;
}

/// Waits until the lease of a running job has been renewed, and renewed again.
async fn keeps_its_lease(engine: &Engine, job: JobId) {
    let lease = || async {
        sqlx::query_scalar::<_, Option<chrono::DateTime<chrono::Utc>>>(
            "select lease_until from jobs where id = $1 and state = 'running'",
        )
        .bind(job.0)
        .fetch_optional(&engine.database.pool)
        .await
        .unwrap()
        .flatten()
    };
    wait_until("it runs", || async { lease().await.is_some() }).await;
    for _ in 0..2 {
        let before = lease().await.expect("it runs on");
        wait_until("its lease is renewed", || async { lease().await.is_some_and(|until| until > before) })
            .await;
    }
}
