//! Batches: jobs that belong together, under a parent job that can be watched like any other.
//!
//! A batch is opened, filled in any number of transactions, and sealed. The leader moves
//! the parent on ([`advance()`]): its progress is that of its children, and when all of them have ended it
//! ends according to its policy and enqueues the follow-up job, in one commit. Cancelling the parent
//! cancels the children. Killed at any line: the counts are stored, and the next leader continues.

mod advance;

use std::collections::HashMap;

use uuid::Uuid;

use crate::{
    Database, JobId, JobKind, NewJob, Origin, Owner, Pool, Tx, clock, control,
    enqueue::{self, Row},
    watch::{Event, Status},
};

pub(crate) use advance::advance;

/// The kind of a batch's parent.
pub const KIND: &str = "engine.batch";

/// Handling of a batch when one of its jobs fails finally.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The others continue, and the batch completes; its result counts the failed ones.
    #[default]
    Continue,
    /// The others continue, and the batch fails at the end.
    Fail,
    /// The others are cancelled, and the batch fails.
    Abort,
}

impl OnFailure {
    const fn name(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Fail => "fail",
            Self::Abort => "abort",
        }
    }
}

/// The reason why a batch accepts no more jobs.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// It is sealed, has ended, is being cancelled, belongs to another workspace, or doesn't exist.
    #[error("the batch accepts no more jobs")]
    Closed,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// A batch to be opened.
#[derive(Debug)]
pub struct NewBatch {
    id: JobId,
    title: String,
    workspace: Option<Uuid>,
    origin: Origin,
    on_failure: OnFailure,
    on_complete: Option<Row>,
}

impl NewBatch {
    /// A batch with that title.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            id: JobId::new(),
            title: title.into(),
            workspace: None,
            origin: Origin::default(),
            on_failure: OnFailure::default(),
            on_complete: None,
        }
    }

    /// For a workspace. In a workspace's own transaction its role decides, and this is ignored.
    #[must_use]
    pub fn workspace(mut self, workspace: Option<Uuid>) -> Self {
        self.workspace = workspace;
        self
    }

    /// Sets the origin.
    #[must_use]
    pub fn origin(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }

    /// Sets the handling of failed jobs.
    #[must_use]
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Enqueues that job when all have ended, whatever their outcome; not when the batch is cancelled.
    ///
    /// # Errors
    /// When the payload can't be serialised, or has secrets without a key for them.
    pub fn on_complete<K: JobKind>(
        mut self,
        database: &Database,
        job: NewJob<'_, K>,
    ) -> Result<Self, sqlx::Error> {
        self.on_complete = Some(job.into_row(&database.keys)?);
        Ok(self)
    }
}

/// Opens a batch; it exists if and only if `tx` commits.
pub async fn open(tx: &mut Tx, new: NewBatch) -> Result<JobId, sqlx::Error> {
    let workspace = tx.workspace().or(new.workspace);
    let encode = |value| serde_json::to_value(value).map_err(|e| sqlx::Error::Encode(Box::new(e)));
    sqlx::query!(
        "select open_batch($1, $2, $3, $4, $5, $6)",
        workspace,
        new.id.0,
        new.title,
        serde_json::to_value(&new.origin).map_err(|e| sqlx::Error::Encode(e.into()))?,
        new.on_failure.name(),
        new.on_complete.map(encode).transpose()?,
    )
    .execute(tx.conn())
    .await?;
    tx.publish_after_commit(Event::transition(new.id, Status::Running, 1, clock::now()));
    Ok(new.id)
}

/// Adds jobs of one kind. Answers those that are represented by another job; they are not part of the batch.
///
/// # Errors
/// [`BatchError::Closed`] when the batch accepts no more.
pub async fn add<K: JobKind>(
    tx: &mut Tx,
    batch: JobId,
    jobs: Vec<NewJob<'_, K>>,
) -> Result<HashMap<JobId, JobId>, BatchError> {
    let asked = jobs.len();
    let jobs = jobs.into_iter().map(|job| job.batch(batch)).collect();
    let duplicates = enqueue::enqueue_all(tx, jobs).await?;
    let children = i64::try_from(asked - duplicates.len()).unwrap_or(i64::MAX);
    let open = sqlx::query_scalar!(r#"select grow_batch($1, $2) as "open!""#, batch.0, children)
        .fetch_one(tx.conn())
        .await?;
    if open { Ok(duplicates) } else { Err(BatchError::Closed) }
}

/// Seals the batch: no more jobs follow.
///
/// # Errors
/// [`BatchError::Closed`] when there is no such batch.
pub async fn seal(tx: &mut Tx, batch: JobId) -> Result<(), BatchError> {
    let found =
        sqlx::query_scalar!(r#"select seal_batch($1) as "found!""#, batch.0).fetch_one(tx.conn()).await?;
    if found { Ok(()) } else { Err(BatchError::Closed) }
}

/// Reopens a batch that has failed or was cancelled, and retries those of its jobs that did not
/// complete. False for a job that is no such batch. Unique keys stay with their present holders.
pub(crate) async fn reopen(tx: &mut Tx, owner: Owner, parent: JobId) -> Result<bool, sqlx::Error> {
    let Some(epoch) = sqlx::query_scalar!(
        "with gone as (
             delete from finished_jobs
              where id = $1 and workspace_id is not distinct from $2 and kind = $3
                and state in ('failed', 'cancelled')
             returning *
         ), seen as (
             -- Looked at even if none of its jobs runs again.
             insert into job_batch_deltas (batch_id) select id from gone
         )
         insert into jobs (id, workspace_id, kind, version, pool, payload, origin, priority, state, run_at, attempt,
                max_attempts, epoch, created_at, started_at, fence)
         select id, workspace_id, kind, version, pool, payload, origin, priority, 'running', now(), 1, max_attempts,
                epoch + 1, created_at, started_at, epoch + 1
           from gone
         returning epoch",
        parent.0,
        owner.workspace(),
        KIND,
    )
    .fetch_optional(tx.conn())
    .await?
    else {
        return Ok(false);
    };
    let children = sqlx::query!(
        r#"select r.id as "id!", r.epoch as "epoch!", r.pool as "pool!"
             from (select array(select id from finished_jobs
                                 where batch_id = $1 and state in ('failed', 'cancelled') and discarded_at is null
                                   for update) as ids) held,
                  restart_jobs(held.ids, false) r"#,
        parent.0,
    )
    .fetch_all(tx.conn())
    .await?;
    let mut beginnings = vec![Event::transition(parent, Status::Running, epoch, clock::now())];
    for child in children {
        beginnings.push(Event::transition(JobId(child.id), Status::Queued, child.epoch, clock::now()));
        if let Some(pool) = Pool::named(&child.pool) {
            tx.wake_after_commit(pool);
        }
    }
    control::begin_anew(tx, beginnings).await?;
    Ok(true)
}
