//! What people may do with jobs: list, look, cancel, retry, delete, read the log.
//!
//! Every function takes the workspace whose jobs are meant; `None` is the installation's own. A job
//! of another workspace doesn't exist.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    Database, JobId, Tx, clock,
    watch::{
        Event, Status, publish,
        snapshot::{self, Row, Snapshot},
    },
};

/// Which jobs to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only these kinds; empty: all.
    pub kinds: Vec<String>,
    /// Only this status.
    pub status: Option<Status>,
}

/// What came of asking a job to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// It was waiting, and is over.
    Cancelled,
    /// It is running; its handler has been told.
    Requested,
    /// It was over before.
    AlreadyOver,
    /// There is no such job.
    NotFound,
}

/// What came of asking for another run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It waits again, with its attempts given back.
    Queued,
    /// Only a failed or cancelled job can be retried.
    NotOver,
    /// Another job has taken its unique key meanwhile, and stands for it.
    Duplicate(JobId),
    /// There is no such job.
    NotFound,
}

/// What came of deleting a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delete {
    /// Gone, with its log.
    Deleted,
    /// It is not over; cancel it first.
    NotOver,
    /// There is no such job.
    NotFound,
}

/// A line of a job's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Increases with time.
    pub id: i64,
    /// When it was stored.
    pub at: DateTime<Utc>,
    /// In which attempt.
    pub attempt: i32,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// What it says.
    pub message: String,
}

/// Jobs of a workspace, newest first, and how many there are.
pub async fn list(
    database: &Database,
    workspace: Option<Uuid>,
    filter: &Filter,
    limit: i64,
    offset: i64,
) -> Result<(Vec<Snapshot>, i64), sqlx::Error> {
    let (state, due) = match filter.status {
        None => (None, None),
        Some(Status::Pending) => (Some("waiting"), Some(false)),
        Some(Status::Queued) => (Some("waiting"), Some(true)),
        Some(Status::Running) => (Some("running"), None),
        Some(Status::Completed) => (Some("completed"), None),
        Some(Status::Failed) => (Some("failed"), None),
        Some(Status::Cancelled) => (Some("cancelled"), None),
    };
    let rows = sqlx::query_as!(
        Row,
        r#"select id as "id!", workspace_id, kind as "kind!", pool as "pool!", origin as "origin!",
                  priority as "priority!", state as "state!", run_at as "run_at!", run_at <= now() as "due!",
                  attempt as "attempt!", max_attempts as "max_attempts!", epoch as "epoch!",
                  cancel_requested as "cancel_requested!", progress, result, error,
                  created_at as "created_at!", started_at, finished_at
             from all_jobs
            where workspace_id is not distinct from $1
              and (cardinality($2::text[]) = 0 or kind = any($2))
              and ($3::text is null or state = $3)
              and ($4::boolean is null or (run_at <= now()) = $4)
            order by id desc
            limit $5 offset $6"#,
        workspace,
        &filter.kinds,
        state,
        due,
        limit,
        offset,
    )
    .fetch_all(&database.pool)
    .await?;
    let total = sqlx::query_scalar!(
        r#"select count(*) as "total!" from all_jobs
            where workspace_id is not distinct from $1
              and (cardinality($2::text[]) = 0 or kind = any($2))
              and ($3::text is null or state = $3)
              and ($4::boolean is null or (run_at <= now()) = $4)"#,
        workspace,
        &filter.kinds,
        state,
        due,
    )
    .fetch_one(&database.pool)
    .await?;
    Ok((rows.into_iter().map(Row::into_snapshot).collect(), total))
}

/// Stops a job: a waiting one at once, a running one by asking its handler.
pub async fn cancel(database: &Database, workspace: Option<Uuid>, id: JobId) -> Result<Cancel, sqlx::Error> {
    let mut tx = database.begin().await?;
    // Held until the commit, so that the job stays what it is found to be.
    let state = sqlx::query_scalar!(
        "select state from jobs where id = $1 and workspace_id is not distinct from $2 for update",
        id.0,
        workspace,
    )
    .fetch_optional(tx.conn())
    .await?;
    match state.as_deref() {
        Some("waiting") => {
            let epoch = end_waiting(&mut tx, id).await?;
            tx.publish_after_commit(Event::transition(id, Status::Cancelled, epoch, clock::now()));
            tx.commit().await?;
            Ok(Cancel::Cancelled)
        }
        Some(_) => {
            let asked = sqlx::query!(
                "update jobs
                    set cancel_requested = true,
                        epoch = case when cancel_requested then epoch else epoch + 1 end
                  where id = $1
                 returning epoch, attempt",
                id.0,
            )
            .fetch_one(tx.conn())
            .await?;
            tx.commit().await?;
            announce_request(database, id, asked.epoch, asked.attempt).await;
            Ok(Cancel::Requested)
        }
        None => {
            let over = sqlx::query_scalar!(
                r#"select true as "over!" from finished_jobs
                    where id = $1 and workspace_id is not distinct from $2"#,
                id.0,
                workspace,
            )
            .fetch_optional(tx.conn())
            .await?;
            Ok(if over.is_some() { Cancel::AlreadyOver } else { Cancel::NotFound })
        }
    }
}

/// Ends a job that has been put back although someone had asked to cancel it: its attempt failed, or
/// gave it back, before the request was heard. Another attempt would only put the end off.
pub(crate) async fn end_if_asked(database: &Database, id: JobId) -> Result<bool, sqlx::Error> {
    let mut tx = database.begin().await?;
    let asked = sqlx::query_scalar!(
        r#"select true as "asked!" from jobs where id = $1 and state = 'waiting' and cancel_requested for update"#,
        id.0,
    )
    .fetch_optional(tx.conn())
    .await?
    .is_some();
    if asked {
        let epoch = end_waiting(&mut tx, id).await?;
        tx.publish_after_commit(Event::transition(id, Status::Cancelled, epoch, clock::now()));
        tx.commit().await?;
    }
    Ok(asked)
}

/// Moves a waiting job, whose row is held, to the finished ones; answers with its last epoch.
async fn end_waiting(tx: &mut Tx, id: JobId) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "with gone as (
             delete from jobs where id = $1 returning *
         )
         insert into finished_jobs (id, workspace_id, kind, version, pool, payload, origin, priority, state,
                attempt, max_attempts, crashes, epoch, progress, error, created_at, started_at, checkpoints,
                unique_key, batch_id)
         select id, workspace_id, kind, version, pool, payload, origin, priority, 'cancelled', attempt,
                max_attempts, crashes, epoch + 1, progress, error, created_at, started_at, checkpoints,
                unique_key, batch_id
           from gone
         returning epoch",
        id.0,
    )
    .fetch_one(tx.conn())
    .await
}

/// Tells the watchers and the worker. What is lost, the worker's check of the ledger finds.
async fn announce_request(database: &Database, id: JobId, epoch: i64, attempt: i32) {
    let before = snapshot::newest(&database.bus, id).await;
    let mut event = Event::transition(id, Status::Running, epoch, clock::now()).carrying_on(before);
    event.attempt = attempt;
    event.cancel_requested = true;
    publish::send(&database.bus, &[event]).await;
    let told = redis::cmd("PUBLISH")
        .arg(database.bus.control_channel())
        .arg(format!("{id} {epoch}"))
        .query_async::<()>(&mut database.bus.connection())
        .await;
    if let Err(error) = told {
        tracing::debug!(%error, "the worker will find the request in the ledger");
    }
}

/// Runs a failed or cancelled job again, from its last checkpoint's effects onward where the handler
/// can tell them; its attempts are given back.
pub async fn retry(tx: &mut Tx, workspace: Option<Uuid>, id: JobId) -> Result<Retry, sqlx::Error> {
    if let Some(other) = take_key_again(tx, workspace, id).await? {
        return Ok(Retry::Duplicate(other));
    }
    let row = sqlx::query!(
        r#"with gone as (
               delete from finished_jobs
                where id = $1 and workspace_id is not distinct from $2 and state in ('failed', 'cancelled')
               returning *
           )
           insert into jobs (id, workspace_id, kind, version, pool, payload, origin, priority, run_at, attempt,
                  max_attempts, epoch, error, created_at, fence, checkpoints, unique_key, batch_id, isolate)
           select id, workspace_id, kind, version, pool, payload, origin, priority, now(), 0,
                  max_attempts, epoch + 1, error, created_at, epoch + 1, checkpoints, unique_key, batch_id,
                  crashes > 0
             from gone
           returning epoch, pool"#,
        id.0,
        workspace,
    )
    .fetch_optional(tx.conn())
    .await?;
    if let Some(row) = row {
        tx.publish_after_commit(Event::transition(id, Status::Queued, row.epoch, clock::now()));
        if let Some(pool) = crate::Pool::named(&row.pool) {
            tx.wake_after_commit(pool);
        }
        return Ok(Retry::Queued);
    }
    let exists = sqlx::query_scalar!(
        r#"select true as "exists!" from all_jobs where id = $1 and workspace_id is not distinct from $2"#,
        id.0,
        workspace,
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(if exists.is_some() { Retry::NotOver } else { Retry::NotFound })
}

/// A failure has freed the job's unique key. Answers with the job that has taken it meanwhile, if any.
async fn take_key_again(
    tx: &mut Tx,
    workspace: Option<Uuid>,
    id: JobId,
) -> Result<Option<JobId>, sqlx::Error> {
    let holder = sqlx::query_scalar!(
        r#"insert into job_keys as k (tenant, kind, key, job_id, until)
           select coalesce(workspace_id, '00000000-0000-0000-0000-000000000000'), kind, unique_key, id, 'done'
             from finished_jobs
            where id = $1 and workspace_id is not distinct from $2 and state in ('failed', 'cancelled')
              and unique_key is not null
           on conflict (tenant, kind, key) do update
              set job_id = case when k.expires_at < now() then excluded.job_id else k.job_id end,
                  until = case when k.expires_at < now() then excluded.until else k.until end,
                  expires_at = case when k.expires_at < now() then null else k.expires_at end
           returning job_id"#,
        id.0,
        workspace,
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(holder.map(JobId).filter(|holder| *holder != id))
}

/// Removes a finished job from the history.
pub async fn delete(tx: &mut Tx, workspace: Option<Uuid>, id: JobId) -> Result<Delete, sqlx::Error> {
    let deleted = sqlx::query!(
        r#"with gone as (
               delete from finished_jobs where id = $1 and workspace_id is not distinct from $2 returning id
           ), lines as (
               delete from job_logs l using gone where l.job_id = gone.id
           ), effects as (
               delete from job_checkpoints c using gone where c.job_id = gone.id
           )
           select id from gone"#,
        id.0,
        workspace,
    )
    .fetch_optional(tx.conn())
    .await?;
    if deleted.is_some() {
        return Ok(Delete::Deleted);
    }
    let live = sqlx::query_scalar!(
        r#"select true as "live!" from jobs where id = $1 and workspace_id is not distinct from $2"#,
        id.0,
        workspace,
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(if live.is_some() { Delete::NotOver } else { Delete::NotFound })
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
    .fetch_all(&database.pool)
    .await
}

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
