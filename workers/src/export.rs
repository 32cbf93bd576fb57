//! Exports: a recordset's records as of the start of the job, as CSV.
//!
//! The file is written as numbered segments of some megabytes, each an object of its own, committed
//! together with the cursor behind its last record; a download concatenates them. The content is
//! fixed by the first run (the moment and the columns), so every run writes the same records.
//!
//! Killed at any line: a segment that was stored and not committed is an unreferenced remain,
//! and the next holder writes its own under another key, so that neither a gap nor a repetition can result
//! from a holder that has lost the job. Remains are removed at the end, or with the
//! export.

use std::sync::Arc;

use bytes::Bytes;
use domain::{Actor, Error, ErrorKind, Event, RecordId, RecordsetId, WorkspaceDb, WorkspaceId};
use domain_data::{
    exports::{self, CsvRows, NewExport, Opened, Segment},
    job_kinds::{ExportRecords, ScheduledExport},
    records::{self, SnapshotPage},
};
use futures::TryStreamExt;
use jobs::{Answer, Database, JobContext, JobError, Outcome, watch::Counts};
use runtime::storage::StorageError;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet};

use crate::Services;

/// Maximum number of bytes of a segment,
const SEGMENT_BYTES: usize = 8 << 20;
/// and of records.
const SEGMENT_ROWS: i64 = 50_000;
/// Number of records read by one statement: initial and maximum.
const FIRST_PAGE: i64 = 500;
const MAX_PAGE: i64 = 10_000;
/// Intended number of bytes of a page, estimated by the previous page; twice as many are the maximum.
const PAGE_BYTES: usize = 3 << 20;

/// Position from which the next holder continues.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Cursor {
    /// Last written record; none before the first.
    after: Option<RecordId>,
    /// Number of the next segment.
    segment: i32,
    /// Number of bytes so far.
    bytes: i64,
    /// Whether only the job's end is left to write.
    finished: bool,
}

/// Writes the records of a recordset to a file; see the module.
pub async fn export_records(services: Arc<Services>, _job: ExportRecords, context: JobContext) -> Answer {
    write(services, context).await
}

/// The same for a schedule. Killed at any line: the export's row is created once, under the job's id; the
/// rest as above.
pub async fn scheduled_export(services: Arc<Services>, job: ScheduledExport, context: JobContext) -> Answer {
    let workspace = WorkspaceId(context.require_workspace()?);
    let mut db = WorkspaceDb::write(context.database(), workspace, Actor::of_job(&context.origin)).await?;
    let new = NewExport { recordset: job.recordset, fields: job.fields, is_safe: true };
    match exports::begin(&mut db, context.job_id, new).await {
        Ok(()) => db.commit().await?,
        Err(error) if error.is_failure() => return Err(error.into()),
        Err(error) if matches!(error.kind(), ErrorKind::Invalid(_)) => {
            return Ok(Outcome::fail("fields_gone", "the recordset no longer has all of the fields"));
        }
        Err(_) => return Ok(Outcome::fail("recordset_gone", "the recordset was deleted")),
    }
    write(services, context).await
}

async fn write(services: Arc<Services>, context: JobContext) -> Answer {
    let resumed = context.resume::<Cursor>().await?;
    let workspace = WorkspaceId(context.require_workspace()?);
    let actor = Actor::of_job(&context.origin);
    let mut db = WorkspaceDb::write(context.database(), workspace, actor.clone()).await?;
    let opened = match exports::open(&mut db, context.job_id).await {
        Ok(Some(opened)) => opened,
        Ok(None) => return Ok(Outcome::fail("export_deleted", "the export was deleted")),
        Err(error) if error.is_failure() => return Err(error.into()),
        Err(_) => return Ok(Outcome::fail("recordset_gone", "the recordset was deleted")),
    };
    let prefix = exports::prefix(workspace, context.job_id);
    db.commit().await?;
    let mut run = Run {
        services,
        context,
        workspace,
        actor,
        opened,
        prefix,
        cursor: resumed.cursor.unwrap_or_default(),
        counts: resumed.counts,
    };
    if !run.cursor.finished {
        run.context.progress().step("Writing the file");
        match run.write_all().await? {
            End::Whole => {}
            End::Stopped(outcome) => return Ok(outcome),
            End::Full(error) => {
                run.give_up().await?;
                return Ok(Outcome::fail("limit_exceeded", error.to_string()));
            }
        }
    }
    run.remove_remnants().await?;
    Ok(Outcome::Done(json!({
        "rows": run.counts.done,
        "bytes": run.cursor.bytes,
        "file_name": run.opened.export.name,
        "recordset_id": run.opened.export.recordset_id,
    })))
}

/// How writing ended.
enum End {
    /// All records are in the file.
    Whole,
    /// It continues later, or not at all.
    Stopped(Outcome),
    /// The workspace would store more than its plan allows.
    Full(Error),
}

struct Run {
    services: Arc<Services>,
    context: JobContext,
    workspace: WorkspaceId,
    actor: Actor,
    opened: Opened,
    prefix: String,
    /// Of the last checkpoint, like the counts.
    cursor: Cursor,
    counts: Counts,
}

impl Run {
    /// Writes segment by segment, to the end or until it is stopped.
    async fn write_all(&mut self) -> Result<End, JobError> {
        let csv = CsvRows::new(self.opened.columns.clone(), self.opened.export.is_safe);
        let mut pages = self.read_pages();
        let mut stored: Option<Storing> = None;
        let mut file = segment_buffer();
        let mut rows = 0;
        if self.cursor.segment == 0 {
            csv.header(&mut file);
        }
        loop {
            let page = tokio::select! {
                biased;
                () = self.context.cancelled() => return Ok(End::Stopped(Outcome::Cancelled)),
                page = pages.next() => page?,
            };
            csv.rows(&page.records, &mut file).map_err(JobError::retry)?;
            rows += i64::try_from(page.records.len()).unwrap_or_default();
            let in_hand = rows + stored.as_ref().map_or(0, |before| before.segment.rows);
            self.context.progress().counts(self.counts.done + in_hand, 0, 0);
            let is_last = page.next.is_none();
            if is_last || file.len() >= SEGMENT_BYTES || rows >= SEGMENT_ROWS {
                if let Some(before) = stored.take()
                    && let Some(full) = self.commit(before).await?
                {
                    return Ok(End::Full(full));
                }
                let full = std::mem::replace(&mut file, segment_buffer());
                let storing = self.store(full, rows, page.next);
                if is_last || self.context.should_hand_back() {
                    return Ok(match self.commit(storing).await? {
                        Some(full) => End::Full(full),
                        None if is_last => End::Whole,
                        None => End::Stopped(Outcome::HandBack),
                    });
                }
                stored = Some(storing);
                rows = 0;
            }
        }
    }

    /// Starts to store a segment, while the next one is filled.
    fn store(&self, bytes: Vec<u8>, rows: i64, after: Option<RecordId>) -> Storing {
        let number = self.cursor.segment;
        let storage_key = exports::segment_key(&self.prefix, number);
        let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let (storage, key) = (self.services.storage.clone(), storage_key.clone());
        let mut task = JoinSet::new();
        task.spawn(async move { storage.put(&key, Bytes::from(bytes)).await });
        Storing { task, segment: Segment { number, storage_key, size, rows }, after }
    }

    /// Waits until a segment is stored, then commits that it is part of the file; unless the workspace would store
    /// more than its plan allows.
    async fn commit(&mut self, mut storing: Storing) -> Result<Option<Error>, JobError> {
        if let Some(stored) = storing.task.join_next().await {
            stored.map_err(JobError::retry)?.map_err(crate::storage_failed)?;
        }
        let Segment { number, size, rows, .. } = storing.segment;
        let mut db = WorkspaceDb::write(self.context.database(), self.workspace, self.actor.clone()).await?;
        match exports::add_segment(&mut db, self.context.job_id, &storing.segment).await {
            Ok(()) => {}
            Err(full) if *full.kind() == ErrorKind::LimitExceeded => return Ok(Some(full)),
            Err(error) => return Err(error.into()),
        }
        if storing.after.is_none() {
            let export = &self.opened.export;
            let data = json!({ "recordset_id": export.recordset_id, "rows": self.counts.done + rows });
            db.record(Event::new("export", "completed", self.context.job_id.0, data)).await?;
        }
        let cursor = Cursor {
            after: storing.after,
            segment: number + 1,
            bytes: self.cursor.bytes + size,
            finished: storing.after.is_none(),
        };
        let counts = Counts { done: self.counts.done + rows, ..self.counts };
        self.context.checkpoint(db.into_tx(), &cursor, counts).await?;
        (self.cursor, self.counts) = (cursor, counts);
        Ok(None)
    }

    /// Removes the remains of a file that can't be completed. The next run, if there is one, starts from the
    /// beginning.
    async fn give_up(&mut self) -> Result<(), JobError> {
        let mut db = WorkspaceDb::write(self.context.database(), self.workspace, self.actor.clone()).await?;
        exports::remove_segments(&mut db, self.context.job_id).await?;
        (self.cursor, self.counts) = (Cursor::default(), Counts::default());
        self.context.checkpoint(db.into_tx(), &self.cursor, self.counts).await?;
        self.remove_remnants().await
    }

    /// Reads on behind the cursor, one page ahead.
    fn read_pages(&self) -> Pages {
        let (sender, pages) = mpsc::channel(1);
        let reader = Reader {
            database: self.context.database().clone(),
            workspace: self.workspace,
            actor: self.actor.clone(),
            recordset: self.opened.export.recordset_id,
            snapshot: self.opened.snapshot.clone(),
        };
        let mut task = JoinSet::new();
        task.spawn(reader.read(self.cursor.after, sender));
        Pages { pages, task }
    }

    /// Removes objects that are not part of the file.
    async fn remove_remnants(&self) -> Result<(), JobError> {
        let mut db = WorkspaceDb::read(self.context.database(), self.workspace, self.actor.clone()).await?;
        let kept = exports::segments(&mut db, self.context.job_id).await?;
        drop(db);
        let storage = &self.services.storage;
        let keys: Result<Vec<String>, StorageError> = storage.keys(&self.prefix).try_collect().await;
        for key in keys.map_err(crate::storage_failed)? {
            if !kept.iter().any(|segment| segment.storage_key == key) {
                storage.delete(&key).await.map_err(crate::storage_failed)?;
            }
        }
        Ok(())
    }
}

/// Room for a segment and the page that fills it up.
fn segment_buffer() -> Vec<u8> {
    Vec::with_capacity(SEGMENT_BYTES + PAGE_BYTES)
}

/// A segment that is being stored; dropping it aborts that.
struct Storing {
    task: JoinSet<Result<(), StorageError>>,
    segment: Segment,
    /// Behind its last record; none when it is the last segment.
    after: Option<RecordId>,
}

/// Pages that are being read; dropping it ends their reader.
struct Pages {
    pages: mpsc::Receiver<SnapshotPage>,
    task: JoinSet<Result<(), sqlx::Error>>,
}

impl Pages {
    async fn next(&mut self) -> Result<SnapshotPage, JobError> {
        if let Some(page) = self.pages.recv().await {
            return Ok(page);
        }
        match self.task.join_next().await {
            Some(Ok(Err(error))) => Err(error.into()),
            // No page is requested after the last one.
            _ => Err(JobError::retry("the reader of records ended early")),
        }
    }
}

/// The reader, with a transaction of its own for each page.
struct Reader {
    database: Database,
    workspace: WorkspaceId,
    actor: Actor,
    recordset: RecordsetId,
    snapshot: String,
}

impl Reader {
    async fn read(
        self,
        mut after: Option<RecordId>,
        to: mpsc::Sender<SnapshotPage>,
    ) -> Result<(), sqlx::Error> {
        let mut limit = FIRST_PAGE;
        loop {
            let mut db = WorkspaceDb::read(&self.database, self.workspace, self.actor.clone()).await?;
            let page =
                records::visible_in(&mut db, self.recordset, &self.snapshot, after, limit, 2 * PAGE_BYTES)
                    .await?;
            drop(db);
            limit = next_limit(&page, limit);
            after = page.next;
            if to.send(page).await.is_err() || after.is_none() {
                return Ok(());
            }
        }
    }
}

/// Number of records for the next page, so that it has about [`PAGE_BYTES`].
fn next_limit(page: &SnapshotPage, limit: i64) -> i64 {
    let bytes: usize = page.records.iter().map(|(_, data)| data.len()).sum();
    let each = (bytes / page.records.len().max(1)).max(1);
    let fitting = i64::try_from(PAGE_BYTES / each).unwrap_or(MAX_PAGE);
    // Grows slowly, since the next records may be larger.
    fitting.clamp(1, MAX_PAGE).min(limit * 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(records: usize, bytes: usize) -> SnapshotPage {
        let record = || (RecordId(uuid::Uuid::nil()), "x".repeat(bytes));
        SnapshotPage { records: (0..records).map(|_| record()).collect(), next: None }
    }

    #[test]
    fn pages_grow_while_records_are_small_and_shrink_when_they_are_large() {
        assert_eq!(next_limit(&page(200, 100), 200), 800);
        assert_eq!(next_limit(&page(800, 100), 9_000), MAX_PAGE);
        assert_eq!(next_limit(&page(200, 1 << 18), 200), 12);
        assert_eq!(next_limit(&page(4, 4 << 20), 4), 1);
        assert_eq!(next_limit(&page(0, 0), 200), 800);
    }
}
