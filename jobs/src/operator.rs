//! An operator's actions on all jobs: list, find, cancel, retry.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    Database, JobId, Origin, Owner, Pool, Tx,
    control::{self, Cancel, Retry},
    watch::Status,
};

/// A job as the operator sees it: its row of the ledger, without its payload.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Object), oai(rename = "LedgerJob"))]
pub struct Job {
    /// Job id.
    pub job_id: JobId,
    /// Workspace id; absent for a job of the installation itself.
    #[cfg_attr(feature = "openapi", oai(skip_serializing_if_is_none))]
    pub workspace_id: Option<Uuid>,
    /// Job kind.
    pub kind: String,
    /// Version of its payload.
    pub version: i16,
    /// Pool that runs it.
    pub pool: String,
    /// Status, as its watchers see it.
    pub status: Status,
    /// Priority, from 0 (first) to 9 (last).
    pub priority: i16,
    /// Number of attempts so far.
    pub attempt: i32,
    /// Maximum number of attempts.
    pub max_attempts: i32,
    /// Number of consecutive worker crashes while it ran.
    pub crashes: i32,
    /// Whether cancellation was requested.
    pub cancel_requested: bool,
    /// Id of the worker that runs it; absent if it is not running.
    #[cfg_attr(feature = "openapi", oai(skip_serializing_if_is_none))]
    pub worker_id: Option<Uuid>,
    /// Id of the batch that it belongs to; absent if there is none.
    #[cfg_attr(feature = "openapi", oai(skip_serializing_if_is_none))]
    pub batch_id: Option<Uuid>,
    /// Unique key; absent if there is none.
    #[cfg_attr(feature = "openapi", oai(skip_serializing_if_is_none))]
    pub unique_key: Option<String>,
    /// Id of the request that started it; absent if there was none.
    #[cfg_attr(feature = "openapi", oai(skip_serializing_if_is_none))]
    pub request_id: Option<String>,
    /// Error code of the last failure; absent if there was none.
    #[cfg_attr(feature = "openapi", oai(skip_serializing_if_is_none))]
    pub error_code: Option<String>,
    /// Error message of the last failure; absent if there was none.
    #[cfg_attr(feature = "openapi", oai(skip_serializing_if_is_none))]
    pub error_message: Option<String>,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// Due time.
    pub run_at: DateTime<Utc>,
    /// Start time of the first attempt; absent if not started.
    #[cfg_attr(feature = "openapi", oai(skip_serializing_if_is_none))]
    pub started_at: Option<DateTime<Utc>>,
    /// End time; absent if not finished.
    #[cfg_attr(feature = "openapi", oai(skip_serializing_if_is_none))]
    pub finished_at: Option<DateTime<Utc>>,
}

/// Filter of a list of jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Job id.
    pub job: Option<JobId>,
    /// Owner filter.
    pub owner: Option<Owner>,
    /// Pool filter.
    pub pool: Option<Pool>,
    /// Kind filter.
    pub kind: Option<String>,
    /// Status filter.
    pub status: Option<Status>,
    /// Worker filter.
    pub worker: Option<Uuid>,
    /// Dead letters only: failed, and not discarded.
    pub dead: bool,
    /// Position: only jobs that were enqueued before this one.
    pub before: Option<JobId>,
}

/// Jobs of all workspaces, newest first.
pub async fn list(database: &Database, filter: &Filter, limit: i64) -> Result<Vec<Job>, sqlx::Error> {
    select(&mut *database.pool.acquire().await?, filter, limit).await
}

async fn select(conn: &mut PgConnection, filter: &Filter, limit: i64) -> Result<Vec<Job>, sqlx::Error> {
    let (state, due) = match filter.status {
        None => (None, None),
        Some(Status::Pending) => (Some("waiting"), Some(false)),
        Some(Status::Queued) => (Some("waiting"), Some(true)),
        Some(Status::Running) => (Some("running"), None),
        Some(Status::Completed) => (Some("completed"), None),
        Some(Status::Failed) => (Some("failed"), None),
        Some(Status::Cancelled) => (Some("cancelled"), None),
    };
    let rows = sqlx::query!(
        r#"select id as "id!", workspace_id, kind as "kind!", version as "version!", pool as "pool!",
                  state as "state!", run_at <= now() as "due!", priority as "priority!", attempt as "attempt!",
                  max_attempts as "max_attempts!", crashes as "crashes!",
                  cancel_requested as "cancel_requested!", worker, batch_id, unique_key,
                  origin->>'request_id' as request_id, error, created_at as "created_at!", run_at as "run_at!",
                  started_at, finished_at
             from all_jobs
            where ($1::uuid is null or id = $1)
              and ($2::uuid is null or coalesce(workspace_id, '00000000-0000-0000-0000-000000000000') = $2)
              and ($3::text is null or pool = $3)
              and ($4::text is null or kind = $4)
              and ($5::text is null or state = $5)
              and ($6::boolean is null or (run_at <= now()) = $6)
              and ($7::uuid is null or worker = $7)
              and ($8::uuid is null or id < $8)
              and (not $9 or state = 'failed' and discarded_at is null)
            order by id desc
            limit $10"#,
        filter.job.map(|job| job.0),
        filter.owner.map(Owner::tenant),
        filter.pool.map(Pool::name),
        filter.kind,
        state,
        due,
        filter.worker,
        filter.before.map(|job| job.0),
        filter.dead,
        limit,
    )
    .fetch_all(conn)
    .await?;
    let said = |error: &Option<Value>, part: &str| {
        error.as_ref().and_then(|error| error.get(part)?.as_str().map(str::to_owned))
    };
    Ok(rows
        .into_iter()
        .map(|row| Job {
            job_id: JobId(row.id),
            workspace_id: row.workspace_id,
            kind: row.kind,
            version: row.version,
            pool: row.pool,
            status: Status::of_state(&row.state, row.due),
            priority: row.priority,
            attempt: row.attempt,
            max_attempts: row.max_attempts,
            crashes: row.crashes,
            cancel_requested: row.cancel_requested,
            worker_id: row.worker,
            batch_id: row.batch_id,
            unique_key: row.unique_key,
            request_id: row.request_id,
            error_code: said(&row.error, "code"),
            error_message: said(&row.error, "message"),
            created_at: row.created_at,
            run_at: row.run_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        })
        .collect())
}

/// The job of that id.
pub async fn get(database: &Database, id: JobId) -> Result<Option<Job>, sqlx::Error> {
    get_within(&mut *database.pool.acquire().await?, id).await
}

/// The same, by a connection.
pub async fn get_within(conn: &mut PgConnection, id: JobId) -> Result<Option<Job>, sqlx::Error> {
    Ok(select(conn, &Filter { job: Some(id), ..Filter::default() }, 1).await?.pop())
}

/// Cancels a job, as [`control::cancel`] does for its workspace.
pub async fn cancel(tx: &mut Tx, id: JobId, by: &Origin) -> Result<Cancel, sqlx::Error> {
    match get_within(tx.conn(), id).await? {
        Some(job) => control::cancel(tx, Owner::of_row(job.workspace_id), id, by).await,
        None => Ok(Cancel::NotFound),
    }
}

/// Retries a failed or cancelled job, as [`control::retry`] does for its workspace.
pub async fn retry(tx: &mut Tx, id: JobId, by: &Origin) -> Result<Retry, sqlx::Error> {
    match get_within(tx.conn(), id).await? {
        Some(job) => control::retry(tx, Owner::of_row(job.workspace_id), id, by).await,
        None => Ok(Retry::NotFound),
    }
}
