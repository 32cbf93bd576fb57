//! Imports: a file's rows into records, each exactly once.
//!
//! A blocking thread reads, checks and serialises the next batch ([`read`]) while this side commits the
//! one before: its records, its bad rows, the count, one event and the cursor behind it, in one
//! transaction of a fraction of a second.
//!
//! Killed at any line: before a batch's commit nothing of the batch exists, after it the cursor includes it.
//! The next holder's `resume` waits for a transaction that is still open, and a holder that has lost the
//! job can't commit, since the checkpoint checks its fence last. An atomic import's records are staged,
//! invisible to readers; killed before the publishing commit they are staged, after it published.
//! Killed while it removes staged records, it finds the mark, removes the rest and starts anew.

mod discard;
mod read;

pub(crate) use discard::all as discard_all;
pub use discard::discard_import;

use std::sync::Arc;

use domain::{Actor, Error, ErrorKind, RecordId, WorkspaceDb, WorkspaceId};
use domain_data::{
    imports::{self, Batch, Import, Mode, RowWriter, staged},
    job_kinds::{DiscardImport, ImportRecords},
    recordsets::Schema,
};
use jobs::{Answer, JobContext, JobError, JobId, NewJob, Outcome, watch::Counts};
use runtime::storage::StorageError;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tabular::{FileError, Position};
use tokio::sync::mpsc;

use crate::Services;

/// Number of batches read ahead of the one that is being written, besides the one that the reader fills.
const READ_AHEAD: usize = 1;

/// Position from which the next holder continues.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Cursor {
    /// Position behind the last row of a committed batch.
    position: Position,
    /// Start of the last batch's ids; see [`Batch::after`].
    millis: u64,
    /// First and last id, of an atomic import.
    ids: Option<(RecordId, RecordId)>,
    /// Whether only the job's end is left to write.
    finished: bool,
}

/// How reading ended.
enum End {
    /// All rows have been read.
    Whole,
    Cancelled,
    HandBack,
    /// The fields changed meanwhile: continue from the last checkpoint with the new ones.
    FieldsChanged,
    /// No further run would end otherwise.
    Failed {
        code: &'static str,
        message: String,
    },
}

/// Result of writing a batch.
enum Written {
    Committed,
    /// Nothing is written, because the fields have changed.
    FieldsChanged,
    /// Nothing is written, because the workspace would store more than its plan allows.
    Full(Error),
}

fn failed(code: &'static str, message: impl Into<String>) -> End {
    End::Failed { code, message: message.into() }
}

/// Reads an uploaded file into the records of a recordset; see the module.
pub async fn import_records(services: Arc<Services>, _job: ImportRecords, context: JobContext) -> Answer {
    let resumed = context.resume::<Cursor>().await?;
    let workspace = WorkspaceId(context.require_workspace()?);
    let actor = Actor::of_job(&context.origin);
    let mut db = WorkspaceDb::read(context.database(), workspace, actor.clone()).await?;
    let Some(import) = imports::find(&mut db, context.job_id).await? else {
        return Ok(Outcome::fail("import_deleted", "the import was deleted"));
    };
    drop(db);
    let mut run = Run {
        services,
        context,
        workspace,
        actor,
        import,
        cursor: resumed.cursor.unwrap_or_default(),
        counts: resumed.counts,
    };
    if run.cursor.finished {
        return Ok(run.done());
    }
    if run.import.mode == Mode::Atomic {
        run.open_stage().await?;
    }
    if let Some(rows) = run.import.row_count {
        run.context.progress().of(rows);
    }
    run.context.progress().step("Writing records");
    let end = loop {
        match run.read().await? {
            End::FieldsChanged => {}
            end => break end,
        }
    };
    match run.import.mode {
        Mode::Partial => run.finish_partial(end).await,
        Mode::Atomic => run.finish_atomic(end).await,
    }
}

struct Run {
    services: Arc<Services>,
    context: JobContext,
    workspace: WorkspaceId,
    actor: Actor,
    import: Import,
    /// Of the last checkpoint, like the counts.
    cursor: Cursor,
    counts: Counts,
}

impl Run {
    async fn write_db(&self) -> Result<WorkspaceDb, sqlx::Error> {
        WorkspaceDb::write(self.context.database(), self.workspace, self.actor.clone()).await
    }

    /// Reads from the cursor to the end, or until it is stopped.
    async fn read(&mut self) -> Result<End, JobError> {
        if self.has_too_many_errors() {
            return Ok(self.too_many_errors());
        }
        let mut db = WorkspaceDb::read(self.context.database(), self.workspace, self.actor.clone()).await?;
        let schema = match Schema::load(&mut db, self.import.recordset_id).await {
            Ok(schema) => schema,
            Err(error) if error.is_failure() => return Err(error.into()),
            Err(_) => return Ok(failed("recordset_gone", "the recordset was deleted")),
        };
        drop(db);
        let writer = match RowWriter::new(&self.import, &schema) {
            Ok(writer) => writer,
            Err(changed) => return Ok(failed("fields_changed", changed.to_string())),
        };
        let source = match self.services.storage.reader(&self.import.storage_key).await {
            Ok(source) => source,
            Err(StorageError::NotFound) => return Ok(failed("file_gone", "the file no longer exists")),
            Err(error) => return Err(crate::storage_failed(error)),
        };
        let copy = writer.copy();
        let size = source.size();
        let (sender, mut batches) = mpsc::channel(READ_AHEAD);
        let task = read::Task {
            source,
            read_as: self.import.read_as.clone(),
            position: self.cursor.position,
            millis: self.cursor.millis.max(created_millis(self.import.job_id)),
            writer,
            refusals_left: self.import.stop_after_errors.map(|most| most - self.counts.failed),
        };
        // As many as the pool has slots.
        #[expect(clippy::disallowed_methods)]
        let reader = tokio::task::spawn_blocking(move || task.run(&sender));
        // From here on, returning drops `batches`, which ends the reader's thread too.
        loop {
            let next = tokio::select! {
                biased;
                () = self.context.cancelled() => return Ok(End::Cancelled),
                next = batches.recv() => next,
            };
            let Some(read) = next else { break };
            self.context.progress().bytes(read.consumed, size);
            match self.write(read.batch, read.position, &schema, &copy).await? {
                Written::Committed => {}
                Written::FieldsChanged => return Ok(End::FieldsChanged),
                Written::Full(error) => return Ok(failed("limit_exceeded", error.to_string())),
            }
            if self.has_too_many_errors() {
                return Ok(self.too_many_errors());
            }
            if self.context.is_cancelled() {
                return Ok(End::Cancelled);
            }
            if self.context.should_hand_back() {
                return Ok(End::HandBack);
            }
        }
        match reader.await {
            Ok(Ok(unknown)) => {
                if !unknown.is_empty() {
                    let names = unknown.into_iter().collect::<Vec<_>>().join(", ");
                    self.context.log(
                        tracing::Level::WARN,
                        format!("skipped, since the first 1,000 rows don't have them: {names}"),
                    );
                }
                Ok(End::Whole)
            }
            Ok(Err(FileError::Io(error))) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(failed("file_gone", "the file no longer exists"))
            }
            Ok(Err(FileError::Io(error))) => {
                tracing::warn!(%error, "the file can't be read");
                Err(JobError::Away("the file storage is unreachable".to_owned()))
            }
            Ok(Err(error)) => Ok(failed(error.code(), error.to_string())),
            // The parser panicked; the engine's crash counting is for processes.
            Err(_) => Ok(failed("corrupt_file", "the file is damaged and cannot be read")),
        }
    }

    /// Commits a batch and the cursor behind it, or nothing.
    async fn write(
        &mut self,
        mut batch: Batch,
        position: Position,
        schema: &Schema,
        copy: &str,
    ) -> Result<Written, JobError> {
        let mut db = self.write_db().await?;
        if !schema.hold(&mut db).await? {
            return Ok(Written::FieldsChanged);
        }
        match batch.write(&mut db, &self.import, copy).await {
            Ok(()) => {}
            Err(full) if *full.kind() == ErrorKind::LimitExceeded => return Ok(Written::Full(full)),
            Err(error) => return Err(error.into()),
        }
        let counts = Counts {
            done: self.counts.done + batch.accepted,
            failed: self.counts.failed + batch.refused,
            skipped: self.counts.skipped + batch.skipped,
            total: None,
        };
        let ids = match (self.cursor.ids, batch.id_range()) {
            (Some((first, _)), Some((_, last))) => Some((first, last)),
            (before, batch) => before.or(batch),
        };
        let cursor = Cursor { position, millis: batch.millis(), ids, finished: false };
        self.context.progress().counts(counts.done, counts.failed, counts.skipped);
        self.context.checkpoint(db.into_tx(), &cursor, counts).await?;
        for (outcome, rows) in
            [("imported", batch.accepted), ("refused", batch.refused), ("skipped", batch.skipped)]
        {
            metrics::counter!("millrace_import_rows_total", "outcome" => outcome)
                .increment(u64::try_from(rows).unwrap_or(0));
        }
        (self.cursor, self.counts) = (cursor, counts);
        Ok(Written::Committed)
    }

    fn has_too_many_errors(&self) -> bool {
        self.import.stop_after_errors.is_some_and(|most| self.counts.failed >= most)
    }

    fn too_many_errors(&self) -> End {
        let rows = self.counts.failed;
        failed("too_many_errors", format!("stopped after {rows} invalid rows, as the import requires"))
    }

    async fn finish_partial(mut self, end: End) -> Answer {
        match end {
            End::Whole => {
                self.cursor.finished = true;
                let tx = self.write_db().await?.into_tx();
                self.context.checkpoint(tx, &self.cursor, self.counts).await?;
                Ok(self.done())
            }
            End::Cancelled => Ok(Outcome::Cancelled),
            End::HandBack | End::FieldsChanged => Ok(Outcome::HandBack),
            End::Failed { code, message } => Ok(Outcome::fail(code, message)),
        }
    }

    async fn finish_atomic(mut self, end: End) -> Answer {
        match end {
            End::Whole if self.counts.failed == 0 => {
                self.context.progress().step("Publishing");
                self.cursor.finished = true;
                let mut db = self.write_db().await?;
                if !staged::publish(&mut db, &self.import, self.counts.done, self.cursor.ids).await? {
                    return Err(JobError::retry("the staged records are being removed"));
                }
                self.context.checkpoint(db.into_tx(), &self.cursor, self.counts).await?;
                Ok(self.done())
            }
            End::Whole => {
                let rows = self.counts.failed;
                self.give_up().await?;
                Ok(Outcome::fail("rows_refused", format!("{rows} rows are invalid, so none was written")))
            }
            End::Failed { code, message } => {
                self.give_up().await?;
                Ok(Outcome::fail(code, message))
            }
            End::Cancelled => {
                // Two seconds are too short to remove much: a job of its own does that.
                let mut db = self.write_db().await?;
                staged::begin_discarding(&mut db, self.import.job_id).await?;
                db.enqueue(NewJob::new(&DiscardImport { import_id: self.import.job_id })).await?;
                self.reset(db).await?;
                Ok(Outcome::Cancelled)
            }
            End::HandBack | End::FieldsChanged => Ok(Outcome::HandBack),
        }
    }

    /// Reads the stage of an atomic import as an earlier run has left it.
    async fn open_stage(&mut self) -> Result<(), JobError> {
        loop {
            let mut db = self.write_db().await?;
            match staged::open(&mut db, &self.import).await? {
                staged::Stage::Begun => return Ok(()),
                staged::Stage::Fresh => {
                    self.counts = Counts::default();
                    return self.reset(db).await;
                }
                staged::Stage::Discarding => {
                    drop(db);
                    self.discard().await?;
                }
            }
        }
    }

    /// Removes the staged records, which were never visible.
    async fn give_up(&mut self) -> Result<(), JobError> {
        let mut db = self.write_db().await?;
        staged::begin_discarding(&mut db, self.import.job_id).await?;
        self.reset(db).await?;
        self.discard().await
    }

    async fn discard(&self) -> Result<(), JobError> {
        self.context.progress().step("Removing staged records");
        discard::all(self.context.database(), self.workspace, &self.actor, self.import.job_id).await?;
        Ok(())
    }

    /// Commits that nothing is written: the next run starts from the beginning.
    async fn reset(&mut self, db: WorkspaceDb) -> Result<(), JobError> {
        self.cursor = Cursor::default();
        self.counts.done = 0;
        self.context.checkpoint(db.into_tx(), &self.cursor, self.counts).await
    }

    fn done(&self) -> Outcome {
        let Counts { done, failed, skipped, .. } = self.counts;
        Outcome::Done(json!({
            "rows": done + failed + skipped,
            "imported": done,
            "failed": failed,
            "skipped": skipped,
            "recordset_id": self.import.recordset_id,
            "report": failed > 0,
        }))
    }
}

/// Ids of records come after their import's, by which [`staged::discard_some`] finds them.
fn created_millis(job: JobId) -> u64 {
    job.0.get_timestamp().map_or(0, |at| {
        let (seconds, nanos) = at.to_unix();
        seconds * 1_000 + u64::from(nanos) / 1_000_000
    })
}
