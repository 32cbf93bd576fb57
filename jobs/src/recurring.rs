//! Recurring jobs of the installation itself: enqueued by the leader, each occurrence once.
//!
//! What recurs is declared in code ([`Recurring`]) and kept in `schedules`, where its next time lives.
//! Occurrences that fell into a downtime are made up for by one, not by all of them.

use std::time::Duration;

use serde_json::Value;
use sqlx::PgPool;

use crate::{
    Database, JobId, JobKind, Origin, Pool,
    enqueue::{self, Row},
    ledger::interval,
};

/// A job that is enqueued again and again.
#[derive(Debug, Clone)]
pub struct Recurring {
    name: &'static str,
    every: Duration,
    kind: &'static str,
    version: i16,
    pool: Pool,
    priority: i16,
    max_attempts: i32,
    payload: Value,
}

impl Recurring {
    /// Enqueues the job that often, under a name that stays the same from release to release.
    ///
    /// # Errors
    /// When the payload can't be serialised, or its kind has secrets: they are sealed per job, and this
    /// payload serves many.
    pub fn every<K: JobKind>(every: Duration, name: &'static str, job: &K) -> serde_json::Result<Self> {
        if !K::SECRETS.is_empty() {
            return Err(serde::ser::Error::custom("a recurring job can't have secrets"));
        }
        Ok(Self {
            name,
            every,
            kind: K::NAME,
            version: K::VERSION,
            pool: K::POOL,
            priority: K::PRIORITY,
            max_attempts: K::RETRY.attempts,
            payload: serde_json::to_value(job)?,
        })
    }
}

/// Makes the table say what the code says, and forgets what the code no longer names.
pub(crate) async fn declare(pool: &PgPool, recurring: &[Recurring]) -> Result<(), sqlx::Error> {
    let names: Vec<String> = recurring.iter().map(|r| r.name.to_owned()).collect();
    sqlx::query!("delete from schedules where name <> all($1)", &names).execute(pool).await?;
    for r in recurring {
        sqlx::query!(
            "insert into schedules (name, kind, version, pool, payload, priority, max_attempts, every)
             values ($1, $2, $3, $4, $5, $6, $7, $8)
             on conflict (name) do update
                set kind = excluded.kind, version = excluded.version, pool = excluded.pool,
                    payload = excluded.payload, priority = excluded.priority,
                    max_attempts = excluded.max_attempts, every = excluded.every, updated_at = now()",
            r.name,
            r.kind,
            r.version,
            r.pool.name(),
            r.payload,
            r.priority,
            r.max_attempts,
            interval(r.every),
        )
        .execute(pool)
        .await?;
    }
    Ok(())
}

/// Enqueues what is due, and moves it on. Of two leaders, one finds nothing.
pub(crate) async fn enqueue_due(database: &Database) -> Result<(), sqlx::Error> {
    let mut tx = database.begin().await?;
    let due = sqlx::query!(
        r#"update schedules
              set next_at = greatest(next_at + every, now()), updated_at = now()
            where name in (select name from schedules where next_at <= now() for update skip locked)
           returning kind, version, pool, payload, priority, max_attempts"#
    )
    .fetch_all(tx.conn())
    .await?;
    for job in due {
        let Some(pool) = Pool::named(&job.pool) else { continue };
        let row = Row {
            id: JobId::new(),
            kind: job.kind.into(),
            version: job.version,
            pool,
            payload: job.payload,
            origin: Origin::default(),
            priority: job.priority,
            run_at: None,
            max_attempts: job.max_attempts,
            checkpoints: false,
            batch_id: None,
            unique_key: None,
            unique_until: None,
            unique_seconds: None,
        };
        enqueue::insert(&mut tx, None, &[row]).await?;
    }
    tx.commit().await
}
