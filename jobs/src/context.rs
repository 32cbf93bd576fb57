//! The context of a running handler: its identity, its progress, its checkpoints and the signal
//! to stop. All commits on behalf of a job go through here, under the job's fence.

use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Database, JobError, JobId, Origin, Tx, logs::JobLog, progress::Progress, watch::Counts};

/// A running job, as its handler sees it.
#[derive(Clone, Debug)]
pub struct JobContext {
    /// The job.
    pub job_id: JobId,
    /// The workspace it belongs to; none for a job of the installation.
    pub workspace: Option<Uuid>,
    /// 1 for the first attempt.
    pub attempt: i32,
    /// Origin of the job.
    pub origin: Origin,
    pub(crate) fence: i64,
    pub(crate) database: Database,
    pub(crate) progress: Progress,
    pub(crate) log: JobLog,
    pub(crate) cancel: CancellationToken,
    pub(crate) hand_back: CancellationToken,
}

/// The end of the previous holder's committed effects.
#[derive(Debug, Clone, PartialEq)]
pub struct Resumed<C> {
    /// The last committed cursor; none when no batch has been committed.
    pub cursor: Option<C>,
    /// The counts committed with it.
    pub counts: Counts,
}

impl JobContext {
    /// The database, for transactions on the shared schemas.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The workspace, for a kind of job that has no use without one.
    ///
    /// # Errors
    /// `no_workspace`, which fails the job.
    pub fn require_workspace(&self) -> Result<Uuid, JobError> {
        self.workspace.ok_or_else(|| JobError::fatal("no_workspace", "the job belongs to no workspace"))
    }

    /// The job's progress, cheap to report per row.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Writes a line to the job's log only. A handler's `tracing` events, at `info` or
    /// above, are written to it, too.
    pub fn log(&self, level: tracing::Level, message: impl AsRef<str>) {
        self.log.write(level, message.as_ref());
    }

    /// Whether the job was signalled to stop. A handler checks this after each batch and answers
    /// [`crate::Outcome::Cancelled`]; one that doesn't is aborted two seconds later.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Resolves when the job is signalled to stop.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// Whether the worker is draining. A handler with checkpoints checks this after each batch and
    /// answers [`crate::Outcome::HandBack`].
    #[must_use]
    pub fn should_hand_back(&self) -> bool {
        self.hand_back.is_cancelled()
    }

    /// Takes over the job's effects, before the first batch: waits for a predecessor's open
    /// transaction and answers with the last committed cursor. Alone in its own transaction.
    ///
    /// # Errors
    /// [`JobError::Fenced`] when a newer holder has already done so.
    pub async fn resume<C: DeserializeOwned>(&self) -> Result<Resumed<C>, JobError> {
        let row = sqlx::query!(
            r#"select cursor, done as "done!", failed as "failed!", skipped as "skipped!"
                 from resume_job($1, $2)"#,
            self.job_id.0,
            self.fence,
        )
        .fetch_optional(&self.database.pool)
        .await?
        .ok_or(JobError::Fenced)?;
        let cursor = row.cursor.map(serde_json::from_value).transpose().map_err(JobError::retry)?;
        let counts = Counts { done: row.done, failed: row.failed, skipped: row.skipped, total: None };
        self.progress.committed(counts);
        Ok(Resumed { cursor, counts })
    }

    /// Commits a batch together with the cursor after it. The checkpoint is the last statement before
    /// the commit, so a holder that has lost the job commits nothing.
    ///
    /// # Errors
    /// [`JobError::Fenced`] when a newer holder has taken over; the batch is rolled back.
    pub async fn checkpoint<C: Serialize + Sync>(
        &self,
        mut tx: Tx,
        cursor: &C,
        counts: Counts,
    ) -> Result<(), JobError> {
        let cursor = serde_json::to_value(cursor).map_err(JobError::retry)?;
        let held = sqlx::query_scalar!(
            r#"select checkpoint_job($1, $2, $3, $4, $5, $6) as "held!""#,
            self.job_id.0,
            self.fence,
            cursor,
            counts.done,
            counts.failed,
            counts.skipped,
        )
        .fetch_one(tx.conn())
        .await?;
        if !held {
            return Err(JobError::Fenced);
        }
        tx.commit().await?;
        self.progress.committed(counts);
        Ok(())
    }
}
