//! Our side: the ledger in PostgreSQL, a scheduler and one worker process as in an installation.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use jobs::{Database, JobId, JobKind, NewJob, kinds::NoOp};
use tokio::time::Instant;
use uuid::Uuid;

use super::{BULK, DRAINED, Figures, SINGLE, SLOTS, TIMED, middle_and_tail};
use crate::{Failure, clear_ledger, connect, process::Process};

/// Between two jobs whose start is timed.
const EVERY: Duration = Duration::from_millis(10);
/// The longest that a run may take to drain.
const PATIENCE: Duration = Duration::from_secs(300);

/// The engine under measurement: nothing runs between two measurements.
pub struct Engine {
    database: Database,
}

/// A scheduler and a worker.
pub struct Processes(Vec<Process>);

impl Processes {
    /// A worker of so many slots.
    pub fn start(slots: usize) -> Result<Self, Failure> {
        let slots = slots.to_string();
        Ok(Self(vec![
            Process::start("scheduler", &[])?,
            Process::start("maintenance", &[("MAINTENANCE_CONCURRENCY", &slots)])?,
        ]))
    }

    pub fn stop(self) -> Result<(), Failure> {
        // The worker before the scheduler.
        self.0.into_iter().rev().try_for_each(Process::stop)
    }
}

impl Engine {
    pub async fn connect() -> Result<Self, Failure> {
        Ok(Self { database: connect().await? })
    }

    /// Everything once, on an empty ledger.
    pub async fn run(&self) -> Result<Figures, Failure> {
        self.clear().await?;
        let workspace = Uuid::now_v7();
        let began = Instant::now();
        for _ in 0..SINGLE {
            self.database.enqueue(NewJob::new(&NoOp::default()).workspace(Some(workspace))).await?;
        }
        let enqueue_rate = per_second(SINGLE, began);
        let began = Instant::now();
        self.enqueue(DRAINED, &NoOp::default(), workspace, None).await?;
        let enqueue_bulk_rate = per_second(DRAINED, began);

        let processes = Processes::start(SLOTS)?;
        let drain_rate = self.drain().await?;
        self.settle().await?;
        let (start_p50_ms, start_p99_ms) = middle_and_tail(self.starts(TIMED, EVERY, None).await?);
        processes.stop()?;
        Ok(Figures { enqueue_rate, enqueue_bulk_rate, drain_rate, start_p50_ms, start_p99_ms })
    }

    /// Empties the ledger.
    pub async fn clear(&self) -> Result<(), Failure> {
        clear_ledger(&self.database).await
    }

    /// Lets none of a workspace's jobs start.
    pub async fn hold(&self, workspace: Uuid) -> Result<(), Failure> {
        sqlx::query("insert into job_limits (id, scope, tenant, max_running) values ($1, 'tenant', $1, 0)")
            .bind(workspace)
            .execute(&self.database.pool)
            .await?;
        Ok(())
    }

    /// Does now what autovacuum would do within the next minute, in the middle of the next figure.
    pub async fn settle(&self) -> Result<(), Failure> {
        sqlx::raw_sql("vacuum analyze jobs, finished_jobs").execute(&self.database.pool).await?;
        Ok(())
    }

    /// Enqueues that many jobs of a workspace, many in one commit.
    pub async fn enqueue<K: JobKind>(
        &self,
        count: usize,
        job: &K,
        workspace: Uuid,
        run_at: Option<DateTime<Utc>>,
    ) -> Result<(), Failure> {
        for _ in 0..count / BULK {
            let mut tx = self.database.begin().await?;
            let new = || {
                let new = NewJob::new(job).workspace(Some(workspace));
                if let Some(at) = run_at { new.run_at(at) } else { new }
            };
            jobs::enqueue_all(&mut tx, (0..BULK).map(|_| new()).collect()).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Jobs a second from the first claim to the last end, by the database's clock.
    async fn drain(&self) -> Result<f64, Failure> {
        let deadline = Instant::now() + PATIENCE;
        while sqlx::query_scalar("select exists (select from jobs where kind = $1)")
            .bind(NoOp::NAME)
            .fetch_one(&self.database.pool)
            .await?
        {
            in_time(deadline, "the backlog did not drain")?;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let (done, seconds): (i64, f64) = sqlx::query_as(
            "select count(*), extract(epoch from max(finished_at) - min(started_at))::float8
               from finished_jobs where kind = $1 and state = 'completed'",
        )
        .bind(NoOp::NAME)
        .fetch_one(&self.database.pool)
        .await?;
        if usize::try_from(done)? != DRAINED + SINGLE {
            return Err(format!("{done} jobs were completed, not {}", DRAINED + SINGLE).into());
        }
        #[allow(clippy::cast_precision_loss)]
        Ok(done as f64 / seconds)
    }

    /// Enqueues jobs one by one at a steady rate, and answers how long each took, in milliseconds,
    /// from before its commit to its handler's start.
    pub async fn starts(
        &self,
        count: usize,
        every: Duration,
        workspace: Option<Uuid>,
    ) -> Result<Vec<f64>, Failure> {
        let mut asked: HashMap<Uuid, DateTime<Utc>> = HashMap::with_capacity(count);
        let mut ticks = tokio::time::interval(every);
        let job = NoOp::default();
        for _ in 0..count {
            ticks.tick().await;
            let at = jobs::clock::now(); // what enqueueing takes counts too
            let JobId(id) = self.database.enqueue(NewJob::new(&job).workspace(workspace)).await?.id();
            asked.insert(id, at);
        }
        let ids: Vec<Uuid> = asked.keys().copied().collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let started: Vec<(Uuid, DateTime<Utc>)> = sqlx::query_as(
                "select id, (result->>'started_at')::timestamptz from finished_jobs where id = any($1)",
            )
            .bind(&ids)
            .fetch_all(&self.database.pool)
            .await?;
            if started.len() == count {
                return Ok(started.iter().map(|(id, start)| milliseconds(*start - asked[id])).collect());
            }
            in_time(deadline, "the timed jobs did not end")?;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn in_time(deadline: Instant, else_say: &str) -> Result<(), Failure> {
    if Instant::now() < deadline { Ok(()) } else { Err(format!("{else_say} in {PATIENCE:?}").into()) }
}

#[allow(clippy::cast_precision_loss)]
fn milliseconds(wait: chrono::TimeDelta) -> f64 {
    wait.num_microseconds().unwrap_or(i64::MAX) as f64 / 1000.0
}

#[allow(clippy::cast_precision_loss)]
fn per_second(count: usize, began: Instant) -> f64 {
    count as f64 / began.elapsed().as_secs_f64()
}
