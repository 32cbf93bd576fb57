//! Exports: a recordset as a file, as it was when the job began.
//!
//! Here: the request of an export ([`start`]), what its first run fixes ([`open`]), how records
//! become CSV ([`CsvRows`]) and which objects make up the file ([`segments`]). Walking through the
//! records is done by the worker; the job's state is in the ledger.

mod render;

use chrono::{DateTime, Utc};
use domain::{Error, FieldErrors, RecordsetId, UserId, WorkspaceDb, WorkspaceId, audit::Entry, storage_use};
use jobs::{JobId, NewJob};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::types::Json;
use uuid::Uuid;

use crate::{
    job_kinds::ExportRecords,
    records,
    recordsets::{self, Recordset, Schema},
};

pub use render::CsvRows;

/// A column of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// The field's key.
    pub key: String,
    /// Label in the header.
    pub label: String,
}

/// An export to start.
#[derive(Debug, Clone)]
pub struct NewExport {
    /// Id or slug of the recordset.
    pub recordset: String,
    /// Keys of the fields to export, in this order; all if absent.
    pub fields: Option<Vec<String>>,
    /// Whether cells that a spreadsheet would read as formulas are marked; see [`tabular::formula`].
    pub is_safe: bool,
}

/// An export.
#[derive(Debug, Clone)]
pub struct Export {
    /// Job of the export, whose id identifies it.
    pub job_id: JobId,
    /// Recordset id.
    pub recordset_id: RecordsetId,
    /// File name.
    pub name: String,
    /// Whether cells that a spreadsheet would read as formulas are marked.
    pub is_safe: bool,
    /// User id of the requester.
    pub created_by: Option<UserId>,
    /// Creation time.
    pub created_at: DateTime<Utc>,
}

/// The properties of an export that are fixed when it begins, for every run.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The export.
    pub export: Export,
    /// The columns after the record's id.
    pub columns: Vec<Column>,
    /// The moment whose records it writes; see [`records::visible_in`].
    pub snapshot: String,
}

/// A segment of an export's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The first is 0.
    pub number: i32,
    /// Key of its bytes in the storage.
    pub storage_key: String,
    /// Size in bytes.
    pub size: i64,
    /// Number of records.
    pub rows: i64,
}

/// The recordset of an export that could begin now.
///
/// # Errors
/// `record_not_found` when names no recordset of this workspace; `record_invalid` naming each field that it doesn't have.
pub async fn check(db: &mut WorkspaceDb, new: &NewExport) -> Result<Recordset, Error> {
    let found = recordsets::get(db, &new.recordset).await?;
    let mut errors = FieldErrors::new();
    for key in new.fields.iter().flatten() {
        if !found.fields.iter().any(|field| field.key.as_str() == key) {
            errors.insert(format!("fields.{key}"), vec!["the recordset has no such field".to_owned()]);
        }
    }
    if new.fields.as_ref().is_some_and(Vec::is_empty) {
        errors.insert("fields".to_owned(), vec!["must name at least one field, or be absent".to_owned()]);
    }
    if errors.is_empty() { Ok(found.recordset) } else { Err(Error::invalid_fields(errors)) }
}

/// Starts an export: its row, its job and the audit entry, in this transaction.
///
/// # Errors
/// See [`check`]; `limit_exceeded`.
pub async fn start(db: &mut WorkspaceDb, new: NewExport) -> Result<JobId, Error> {
    storage_use::get(db).await?.require(1)?;
    let job = JobId::new();
    let fields = new.fields.clone();
    let recordset = keep(db, job, new).await?;
    db.enqueue(NewJob::new(&ExportRecords { export_id: job }).id(job)).await?;
    let details = json!({ "recordset_id": recordset.id.0, "fields": fields });
    db.note(Entry::new("export", "requested", job.0, details)).await?;
    Ok(job)
}

/// Creates the row of an export for an existing job, unless an earlier run has.
///
/// # Errors
/// See [`check`].
pub async fn begin(db: &mut WorkspaceDb, job: JobId, new: NewExport) -> Result<(), Error> {
    if find(db, job).await?.is_none() {
        keep(db, job, new).await?;
    }
    Ok(())
}

/// Stores the export's request.
async fn keep(db: &mut WorkspaceDb, job: JobId, new: NewExport) -> Result<Recordset, Error> {
    let recordset = check(db, &new).await?;
    let created_by = db.user_id();
    sqlx::query!(
        "insert into exports (job_id, recordset_id, name, format, only_fields, created_by, is_safe)
         values ($1, $2, $3, 'csv', $4, $5, $6)",
        job.0,
        recordset.id.0,
        format!("{}.csv", recordset.slug),
        new.fields.as_deref(),
        created_by,
        new.is_safe,
    )
    .execute(db.conn())
    .await?;
    Ok(recordset)
}

/// The export of a job; none for a job that is no export, or whose export is deleted.
pub async fn find(db: &mut WorkspaceDb, job: JobId) -> Result<Option<Export>, sqlx::Error> {
    sqlx::query_as!(
        Export,
        "select job_id, recordset_id, name, is_safe, created_by, created_at from exports where job_id = $1",
        job.0,
    )
    .fetch_optional(db.conn())
    .await
}

/// Fixes the moment and the columns, or answers those of the first run; none for a deleted export.
///
/// # Errors
/// `record_not_found` when the recordset was deleted before the first run.
pub async fn open(db: &mut WorkspaceDb, job: JobId) -> Result<Option<Opened>, Error> {
    let Some(export) = find(db, job).await? else { return Ok(None) };
    let fixed = sqlx::query!(
        r#"select snapshot, columns as "columns: Json<Vec<Column>>", only_fields from exports where job_id = $1"#,
        job.0,
    )
    .fetch_one(db.conn())
    .await?;
    if let (Some(snapshot), Some(Json(columns))) = (fixed.snapshot, fixed.columns) {
        return Ok(Some(Opened { export, columns, snapshot }));
    }
    let snapshot = records::snapshot(db).await?;
    let schema = Schema::load(db, export.recordset_id).await?;
    let all = schema.fields().iter().map(|found| &found.field);
    let columns: Vec<Column> = match &fixed.only_fields {
        None => all.map(|field| Column { key: field.key.to_string(), label: field.label.clone() }).collect(),
        // A field that was deleted between the request and now leaves its column out.
        Some(keys) => keys
            .iter()
            .filter_map(|key| schema.field(key))
            .map(|found| Column { key: found.field.key.to_string(), label: found.field.label.clone() })
            .collect(),
    };
    sqlx::query!(
        "update exports set snapshot = $2, columns = $3 where job_id = $1",
        job.0,
        snapshot,
        Json(&columns) as _,
    )
    .execute(db.conn())
    .await?;
    Ok(Some(Opened { export, columns, snapshot }))
}

/// The key prefix of an export's objects. Only those named by [`segments`] count.
#[must_use]
pub fn prefix(workspace: WorkspaceId, job: JobId) -> String {
    format!("{}/exports/{job}", workspace.0.simple())
}

/// A key for a segment that no other run ever writes to, so that one that has lost its job can't
/// overwrite a part of the file.
#[must_use]
pub fn segment_key(prefix: &str, number: i32) -> String {
    format!("{prefix}/{number:06}-{}.csv", Uuid::now_v7().simple())
}

/// Adds a segment to the file.
///
/// # Errors
/// `limit_exceeded` when the plan doesn't allow to store that much.
pub async fn add_segment(db: &mut WorkspaceDb, job: JobId, segment: &Segment) -> Result<(), Error> {
    storage_use::add(db, segment.size).await?;
    sqlx::query!(
        "insert into export_segments (job_id, number, storage_key, size, rows) values ($1, $2, $3, $4, $5)",
        job.0,
        segment.number,
        segment.storage_key,
        segment.size,
        segment.rows,
    )
    .execute(db.conn())
    .await?;
    Ok(())
}

/// The file's segments so far, in order.
pub async fn segments(db: &mut WorkspaceDb, job: JobId) -> Result<Vec<Segment>, sqlx::Error> {
    sqlx::query_as!(
        Segment,
        "select number, storage_key, size, rows from export_segments where job_id = $1 order by number",
        job.0,
    )
    .fetch_all(db.conn())
    .await
}

/// Removes the segments from the file. Their objects are removed by the caller.
pub async fn remove_segments(db: &mut WorkspaceDb, job: JobId) -> Result<(), sqlx::Error> {
    let bytes = sqlx::query_scalar!(
        r#"with gone as (delete from export_segments where job_id = $1 returning size)
           select coalesce(sum(size), 0)::bigint as "bytes!" from gone"#,
        job.0,
    )
    .fetch_one(db.conn())
    .await?;
    storage_use::release(db, bytes).await
}

/// Deletes a finished export. Its objects are removed by the caller, before this.
pub async fn forget(db: &mut WorkspaceDb, job: JobId) -> Result<(), sqlx::Error> {
    remove_segments(db, job).await?;
    sqlx::query!("delete from exports where job_id = $1", job.0).execute(db.conn()).await?;
    Ok(())
}
