//! How many jobs there are, for figures.

use crate::Database;

/// How many live jobs of one kind there are, for figures.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveCount {
    /// The kind's name.
    pub kind: String,
    /// The pool that runs it.
    pub pool: String,
    /// Not due yet.
    pub later: i64,
    /// Due, without a worker.
    pub due: i64,
    /// With a worker.
    pub running: i64,
    /// How long the one that has been due longest has been; 0 without any.
    pub oldest_due_seconds: f64,
}

/// Counts the live jobs of the installation by kind.
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
