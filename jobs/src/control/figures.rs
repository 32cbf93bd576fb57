//! Numbers of jobs, for metrics.

use crate::Database;

/// Number of unfinished jobs of one kind, for metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveCount {
    /// The kind's name.
    pub kind: String,
    /// The pool that runs it.
    pub pool: String,
    /// Number of jobs that are not due yet.
    pub later: i64,
    /// Number of due jobs without a worker.
    pub due: i64,
    /// Number of running jobs.
    pub running: i64,
    /// Time in seconds for which the oldest due job has been due; 0 without any.
    pub oldest_due_seconds: f64,
}

/// Counts the unfinished jobs of the installation by kind.
pub async fn count_live(database: &Database) -> Result<Vec<LiveCount>, sqlx::Error> {
    sqlx::query_as!(
        LiveCount,
        r#"select kind, pool,
                  count(*) filter (where state = 'waiting' and run_at > now()) as "later!",
                  count(*) filter (where state = 'waiting' and run_at <= now()) as "due!",
                  count(*) filter (where state = 'running') as "running!",
                  coalesce(extract(epoch from now() - min(run_at)
                      filter (where state = 'waiting' and run_at <= now())), 0)::float8 as "oldest_due_seconds!"
             from jobs
            group by kind, pool
            order by kind, pool"#
    )
    .fetch_all(&database.pool)
    .await
}
