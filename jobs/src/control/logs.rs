//! Reading a job's log.

use chrono::{DateTime, Utc};

use crate::{Database, JobId};

/// A line of a job's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Line id; increasing.
    pub id: i64,
    /// Time of storage.
    pub at: DateTime<Utc>,
    /// Number of the attempt.
    pub attempt: i32,
    /// Level: `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// Text of the line.
    pub message: String,
}

/// The lines of a job's log after `after`, oldest first.
pub async fn logs(
    database: &Database,
    id: JobId,
    after: i64,
    limit: i64,
) -> Result<Vec<LogLine>, sqlx::Error> {
    sqlx::query_as!(
        LogLine,
        "select id, at, attempt, level, message from job_logs
          where job_id = $1 and id > $2
          order by id
          limit $3",
        id.0,
        after,
        limit,
    )
    .fetch_all(database.reader().await?.conn())
    .await
}

/// The last lines of a job's log, oldest first.
pub async fn last_logs(database: &Database, id: JobId, limit: i64) -> Result<Vec<LogLine>, sqlx::Error> {
    let mut lines = sqlx::query_as!(
        LogLine,
        "select id, at, attempt, level, message from job_logs
          where job_id = $1
          order by id desc
          limit $2",
        id.0,
        limit,
    )
    .fetch_all(database.reader().await?.conn())
    .await?;
    lines.reverse();
    Ok(lines)
}
