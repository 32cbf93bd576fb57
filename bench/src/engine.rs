//! The engine by itself: how fast durable no-op jobs drain through one worker process, and how soon
//! after its commit a job starts.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jobs::{Connect, Database, NewJob, kinds::NoOp};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    Failure,
    figure::{print, quantile},
    process::Process,
    variable,
};

/// Jobs in the drain.
const DRAINED: usize = 100_000;
/// Jobs in one enqueueing transaction.
const BULK: usize = 1000;
/// Jobs whose start is timed, at 100 a second.
const TIMED: usize = 1500;

pub async fn measure() -> Result<(), Failure> {
    let database = Database::connect(&Connect {
        database_url: &variable("DATABASE_URL")?,
        redis_url: &variable("REDIS_URL")?,
        redis_prefix: "mr",
        connections: 4,
        idle_in_transaction: Duration::from_secs(30),
    })
    .await?;
    sqlx::raw_sql("truncate jobs, finished_jobs, job_checkpoints, job_logs, workers")
        .execute(&database.pool)
        .await?;

    enqueue(&database).await?;
    let scheduler = Process::start("scheduler", &[])?;
    let worker = Process::start("maintenance", &[("MAINTENANCE_CONCURRENCY", "256")])?;
    drain(&database).await?;
    sqlx::raw_sql("vacuum analyze jobs, finished_jobs").execute(&database.pool).await?;
    start_latency(&database).await?;
    worker.stop()?;
    scheduler.stop()
}

async fn enqueue(database: &Database) -> Result<(), Failure> {
    let job = NoOp::default();
    let workspace = Uuid::now_v7();
    let began = Instant::now();
    for _ in 0..DRAINED / BULK {
        let mut tx = database.begin().await?;
        let jobs = (0..BULK).map(|_| NewJob::new(&job).workspace(Some(workspace))).collect();
        jobs::enqueue_all(&mut tx, jobs).await?;
        tx.commit().await?;
    }
    #[allow(clippy::cast_precision_loss)]
    print("engine", "enqueue_bulk_rate", DRAINED as f64 / began.elapsed().as_secs_f64(), "jobs/s");
    Ok(())
}

async fn drain(database: &Database) -> Result<(), Failure> {
    wait_for(database, i64::try_from(DRAINED)?).await?;
    // From the first claim to the last finish, by the database's clock.
    let seconds: f64 = sqlx::query_scalar(
        "select extract(epoch from max(finished_at) - min(started_at))::float8 from finished_jobs where kind = 'engine.no_op'",
    )
    .fetch_one(&database.pool)
    .await?;
    #[allow(clippy::cast_precision_loss)]
    print("engine", "drain_rate", DRAINED as f64 / seconds, "jobs/s");
    Ok(())
}

async fn start_latency(database: &Database) -> Result<(), Failure> {
    let job = NoOp::default();
    let mut committed: Vec<(Uuid, DateTime<Utc>)> = Vec::with_capacity(TIMED);
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..TIMED {
        ticks.tick().await;
        let mut tx = database.begin().await?;
        let id = jobs::enqueue(&mut tx, NewJob::new(&job)).await?.id();
        let at = jobs::clock::now(); // before the commit: what it takes counts too
        tx.commit().await?;
        committed.push((id.0, at));
    }
    wait_for(database, i64::try_from(DRAINED + TIMED)?).await?;
    let ids: Vec<Uuid> = committed.iter().map(|(id, _)| *id).collect();
    let started: Vec<(Uuid, DateTime<Utc>)> = sqlx::query_as(
        "select id, (result->>'started_at')::timestamptz from finished_jobs where id = any($1)",
    )
    .bind(&ids)
    .fetch_all(&database.pool)
    .await?;
    let started: std::collections::HashMap<_, _> = started.into_iter().collect();
    let mut waits = Vec::with_capacity(TIMED);
    for (id, at) in committed {
        let start = started.get(&id).ok_or("a job is missing")?;
        #[allow(clippy::cast_precision_loss)]
        waits.push((*start - at).num_microseconds().unwrap_or(i64::MAX) as f64 / 1000.0);
    }
    waits.sort_by(f64::total_cmp);
    print("engine", "start_p50_ms", quantile(&waits, 0.5), "ms");
    print("engine", "start_p99_ms", quantile(&waits, 0.99), "ms");
    Ok(())
}

/// Waits until so many jobs are finished.
async fn wait_for(database: &Database, finished: i64) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        let count: i64 = sqlx::query_scalar("select count(*) from finished_jobs where kind = 'engine.no_op'")
            .fetch_one(&database.pool)
            .await?;
        if count >= finished {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{count} of {finished} jobs are done after 5 minutes").into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
