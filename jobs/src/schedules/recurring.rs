//! The installation's own schedules: declared in code, stored in the same table, without management routes.

use std::time::Duration;

use sqlx::PgPool;

use super::Template;
use crate::{JobKind, ledger::interval};

/// A job of the installation that is enqueued periodically. While one is unfinished, the next is skipped; of
/// occurrences that were missed during a downtime, one is made up for.
#[derive(Debug, Clone)]
pub struct Recurring {
    name: &'static str,
    every: Duration,
    template: Template,
}

impl Recurring {
    /// Enqueues the job at that interval, under a name that stays the same from release to release.
    ///
    /// # Errors
    /// See [`Template::of`].
    pub fn every<K: JobKind>(every: Duration, name: &'static str, job: &K) -> serde_json::Result<Self> {
        Ok(Self { name, every, template: Template::of(job)? })
    }
}

/// Makes the table match the code, and removes schedules that the code no longer has.
pub(crate) async fn declare(pool: &PgPool, recurring: &[Recurring]) -> Result<(), sqlx::Error> {
    let names: Vec<String> = recurring.iter().map(|r| r.name.to_owned()).collect();
    sqlx::query!("delete from schedules where workspace_id is null and name <> all($1)", &names)
        .execute(pool)
        .await?;
    for r in recurring {
        sqlx::query!(
            "insert into schedules as s (name, kind, version, pool, payload, priority, max_attempts, checkpoints,
                    every, next_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, now())
             on conflict (name) where workspace_id is null do update
                set kind = excluded.kind, version = excluded.version, pool = excluded.pool,
                    payload = excluded.payload, priority = excluded.priority,
                    max_attempts = excluded.max_attempts, checkpoints = excluded.checkpoints,
                    next_at = case when s.every = excluded.every then s.next_at else now() end,
                    every = excluded.every, updated_at = now()",
            r.name,
            r.template.kind,
            r.template.version,
            &*r.template.pool,
            r.template.payload,
            r.template.priority,
            r.template.max_attempts,
            r.template.checkpoints,
            interval(r.every),
        )
        .execute(pool)
        .await?;
    }
    Ok(())
}
