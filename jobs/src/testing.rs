//! For tests of jobs: run one inline, read enqueued ones, let time pass.
//!
//! The ledger is a real one; left out are the scheduler, Redis' queues and waiting. Time and
//! randomness are fixed: [`pass`] moves waiting items instead of the database's clock, and
//! [`Registry::with_jitter`] fixes a backoff. A helper panics, because that is how a test fails.

#![allow(clippy::missing_panics_doc)]

pub mod steps;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::{
    Database, JobId, JobKind, Origin, Owner, Recurring, Registry, Tx, clock,
    control::{self, Cancel},
    ledger::interval,
    payload,
    roster::Registration,
    schedules,
    watch::{Snapshot, snapshot},
    worker::{Shared, run},
    workspace_schema,
};

/// A worker without a queue: runs the jobs that a test names, one at a time, in the test's own task.
pub struct Inline {
    shared: Arc<Shared>,
}

impl Inline {
    /// Handles the registry's kinds.
    #[must_use]
    pub fn new(database: &Database, registry: Registry) -> Self {
        let registration = Registration {
            id: Uuid::now_v7(),
            host: String::new(),
            pid: 0,
            slots: serde_json::json!({}),
            lease: Duration::from_secs(3600), // it is not renewed
        };
        Self { shared: Arc::new(Shared::start(registration, database, registry)) }
    }

    /// Claims a job, runs its handler and writes the result; answers the job afterwards.
    /// One attempt: a failed one leaves the job waiting for its backoff. Panics when the job can't be
    /// claimed: it doesn't exist, is not due, or has ended.
    pub async fn run(&self, job: JobId) -> Snapshot {
        let before = self.look(job).await;
        let slot = Arc::new(Semaphore::new(1)).acquire_owned().await.expect("it is never closed");
        run::run(Arc::clone(&self.shared), job, slot).await;
        let after = self.look(job).await;
        assert!(after.event.seq > before.event.seq, "job {job} can't be claimed: {:?}", before.event.status);
        after
    }

    /// Runs all due jobs, in the order of their due times, until none is left; also those enqueued
    /// meanwhile.
    pub async fn run_due(&self) -> Vec<Snapshot> {
        let mut ran = Vec::new();
        loop {
            let due = sqlx::query_scalar!(
                "select id from jobs where state = 'waiting' and run_at <= now() order by run_at, id limit 1"
            )
            .fetch_optional(&self.shared.database.pool)
            .await
            .expect("the ledger can be read");
            let Some(job) = due else { return ran };
            ran.push(self.run(JobId(job)).await);
        }
    }

    async fn look(&self, job: JobId) -> Snapshot {
        snapshot::from_ledger(&self.shared.database, &[job.0])
            .await
            .expect("the ledger can be read")
            .pop()
            .unwrap_or_else(|| panic!("there is no job {job}"))
    }
}

/// An unfinished job of one kind, with its payload parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting<K> {
    /// The job.
    pub id: JobId,
    /// Its payload.
    pub job: K,
    /// The workspace that it belongs to.
    pub workspace: Option<Uuid>,
    /// Origin.
    pub origin: Origin,
    /// Priority, from 0 (first) to 9 (last).
    pub priority: i16,
    /// Due time.
    pub run_at: DateTime<Utc>,
}

/// The jobs of a kind that this transaction sees waiting, oldest first: including those that it has enqueued
/// itself, which no other transaction sees before its commit. In a workspace's transaction only those of the
/// workspace.
pub async fn enqueued<K: JobKind>(tx: &mut Tx) -> Vec<Waiting<K>> {
    let workspace = tx.workspace();
    if workspace.is_some() {
        // The workspace's role may enqueue, and not read.
        run_sql(tx, "set local role none").await;
    }
    let rows = sqlx::query!(
        "select id, payload, workspace_id, origin, priority, run_at from shard.jobs
          where kind = $1 and state = 'waiting' and ($2::uuid is null or workspace_id = $2)
          order by id",
        K::NAME,
        workspace,
    )
    .fetch_all(tx.conn())
    .await
    .expect("the ledger can be read");
    if let Some(workspace) = workspace {
        run_sql(tx, &format!("set local role {}", workspace_schema(workspace))).await;
    }
    let keys = tx.database().keys.clone();
    rows.into_iter()
        .map(|row| {
            let (id, mut json) = (JobId(row.id), row.payload);
            payload::open(&keys, id, &mut json).expect("secrets can be opened");
            Waiting {
                id,
                job: serde_json::from_value(json).expect("the payload is the kind's"),
                workspace: row.workspace_id,
                origin: serde_json::from_value(row.origin).expect("an origin"),
                priority: row.priority,
                run_at: row.run_at,
            }
        })
        .collect()
}

async fn run_sql(tx: &mut Tx, sql: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(tx.conn()).await.expect(sql);
}

/// Cancels a job, in a transaction of its own.
pub async fn cancel(database: &Database, owner: Owner, job: JobId) -> Cancel {
    let mut tx = database.begin().await.expect("PostgreSQL answers");
    let cancelled =
        control::cancel(&mut tx, owner, job, &Origin::default()).await.expect("a job can be stopped");
    tx.commit().await.expect("PostgreSQL answers");
    cancelled
}

/// Lets that much time pass for all waiting items: jobs for their due time or their backoff, schedules for their
/// next occurrence.
pub async fn pass(database: &Database, time: Duration) {
    let mut tx = database.begin().await.expect("PostgreSQL answers");
    sqlx::query!("update jobs set run_at = run_at - $1::interval where state = 'waiting'", interval(time))
        .execute(tx.conn())
        .await
        .expect("jobs can be moved");
    sqlx::query!("update schedules set next_at = next_at - $1::interval", interval(time))
        .execute(tx.conn())
        .await
        .expect("schedules can be moved");
    // By way of another age, so that no occurrence collides with another one.
    for by in ["interval '1000 years' + $1::interval", "-interval '1000 years' + $1::interval * 0"] {
        let moved = format!("update schedule_runs set scheduled_for = scheduled_for - ({by})");
        sqlx::query(sqlx::AssertSqlSafe(moved))
            .bind(interval(time))
            .execute(tx.conn())
            .await
            .expect("occurrences can be moved");
    }
    tx.commit().await.expect("PostgreSQL answers");
}

/// Handles recurring jobs as the leader does: declares them and enqueues due ones.
pub async fn tick(database: &Database, declared: &[Recurring]) {
    schedules::declare(&database.pool, declared).await.expect("schedules can be declared");
    schedules::enqueue_due(database, clock::now(), None).await.expect("what is due can be enqueued");
}
