//! Exports: a recordset as a file, as it was when the job began.
//!
//! Here: what an export is told to do ([`start`]), what it fixes when it begins ([`open`]), how records
//! become CSV ([`CsvRows`]) and which objects make up the file ([`segments`]). Walking through the
//! records is the worker's; how the job goes is the ledger's.

mod render;

use chrono::{DateTime, Utc};
use domain::{
    DomainError, EntityError, FieldErrors, RecordsetId, Refusal, UserId, WorkspaceDb,
    audit::Entry,
    storage_use::{self, StorageUseError},
};
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
    /// What the header says.
    pub label: String,
}

/// An export about to begin.
#[derive(Debug, Clone)]
pub struct NewExport {
    /// The recordset's id or slug.
    pub recordset: String,
    /// Only these fields, in this order; all of them if absent.
    pub fields: Option<Vec<String>>,
    /// Whether cells that a spreadsheet would take for formulas are marked; see [`tabular::formula`].
    pub is_safe: bool,
}

/// What an export writes.
#[derive(Debug, Clone)]
pub struct Export {
    /// Its job, by whose id it is known.
    pub job_id: JobId,
    /// The recordset.
    pub recordset_id: RecordsetId,
    /// The name of the file.
    pub name: String,
    /// Whether cells that a spreadsheet would take for formulas are marked.
    pub is_safe: bool,
    /// Who asked for it.
    pub created_by: Option<UserId>,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// What an export has fixed when it began, for every run.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The export.
    pub export: Export,
    /// The columns after the record's id.
    pub columns: Vec<Column>,
    /// The moment whose records it writes; see [`records::visible_in`].
    pub snapshot: String,
}

/// A part of an export's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The first is 0.
    pub number: i32,
    /// Where its bytes are.
    pub storage_key: String,
    /// Bytes.
    pub size: i64,
    /// Records.
    pub rows: i64,
}

/// Why an export could not be started, or found.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// There is no such export in this workspace.
    #[error("there is no such export")]
    NotFound,
    /// Fields that the recordset doesn't have.
    #[error("the recordset has no such fields")]
    Fields(FieldErrors),
    /// About the recordset.
    #[error(transparent)]
    Recordset(#[from] EntityError),
    /// The workspace stores as much as its plan allows.
    #[error(transparent)]
    Full(StorageUseError),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

impl From<StorageUseError> for ExportError {
    fn from(error: StorageUseError) -> Self {
        match error {
            StorageUseError::Database(error) => Self::Database(error),
            exceeded @ StorageUseError::Exceeded { .. } => Self::Full(exceeded),
        }
    }
}

impl DomainError for ExportError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::NotFound => Refusal::NotFound,
            Self::Fields(errors) => Refusal::Invalid(errors.clone()),
            Self::Recordset(error) => error.refusal(),
            Self::Full(error) => error.refusal(),
            Self::Database(error) => error.refusal(),
        }
    }
}

/// The recordset of an export that could begin now.
///
/// # Errors
/// [`ExportError::Recordset`] when there is no such recordset, [`ExportError::Fields`] naming each
/// field that it doesn't have.
pub async fn check(db: &mut WorkspaceDb, new: &NewExport) -> Result<Recordset, ExportError> {
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
    if errors.is_empty() { Ok(found.recordset) } else { Err(ExportError::Fields(errors)) }
}

/// Starts an export: its row, its job and the audit's entry of who asked for it, in this transaction.
///
/// # Errors
/// See [`check`]; [`ExportError::Full`].
pub async fn start(db: &mut WorkspaceDb, new: NewExport) -> Result<JobId, ExportError> {
    storage_use::get(db).await?.require(1)?;
    let job = JobId::new();
    let fields = new.fields.clone();
    let recordset = keep(db, job, new).await?;
    db.enqueue(NewJob::new(&ExportRecords { export_id: job }).id(job)).await?;
    let details = json!({ "recordset_id": recordset.id.0, "fields": fields });
    db.note(Entry::new("export", "requested", job.0, details)).await?;
    Ok(job)
}

/// Makes the row of an export for a job that is there already, unless an earlier run has.
///
/// # Errors
/// See [`check`].
pub async fn begin(db: &mut WorkspaceDb, job: JobId, new: NewExport) -> Result<(), ExportError> {
    if find(db, job).await?.is_none() {
        keep(db, job, new).await?;
    }
    Ok(())
}

/// Keeps what the job is to export.
async fn keep(db: &mut WorkspaceDb, job: JobId, new: NewExport) -> Result<Recordset, ExportError> {
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

/// What a job is to export; none for a job that is no export, or whose export is deleted.
pub async fn find(db: &mut WorkspaceDb, job: JobId) -> Result<Option<Export>, sqlx::Error> {
    sqlx::query_as!(
        Export,
        "select job_id, recordset_id, name, is_safe, created_by, created_at from exports where job_id = $1",
        job.0,
    )
    .fetch_optional(db.conn())
    .await
}

/// Fixes the moment and the columns, or answers those of the first run.
///
/// # Errors
/// [`ExportError::NotFound`] for a deleted export, [`ExportError::Recordset`] when the recordset was
/// deleted before the first run.
pub async fn open(db: &mut WorkspaceDb, job: JobId) -> Result<Opened, ExportError> {
    let export = find(db, job).await?.ok_or(ExportError::NotFound)?;
    let fixed = sqlx::query!(
        r#"select snapshot, columns as "columns: Json<Vec<Column>>", only_fields from exports where job_id = $1"#,
        job.0,
    )
    .fetch_one(db.conn())
    .await?;
    if let (Some(snapshot), Some(Json(columns))) = (fixed.snapshot, fixed.columns) {
        return Ok(Opened { export, columns, snapshot });
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
    Ok(Opened { export, columns, snapshot })
}

/// The key prefix of an export's objects. Only those named by [`segments`] count.
#[must_use]
pub fn prefix(db: &WorkspaceDb, job: JobId) -> String {
    format!("{}/exports/{job}", db.workspace().0.simple())
}

/// A key for a segment that no other run ever writes to, so that one which has lost its job can't
/// overwrite a part of the file.
#[must_use]
pub fn segment_key(prefix: &str, number: i32) -> String {
    format!("{prefix}/{number:06}-{}.csv", Uuid::now_v7().simple())
}

/// Adds a segment to the file.
///
/// # Errors
/// [`StorageUseError::Exceeded`] when the plan doesn't allow to store that much.
pub async fn add_segment(db: &mut WorkspaceDb, job: JobId, segment: &Segment) -> Result<(), StorageUseError> {
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

/// The file's parts so far, in order.
pub async fn segments(db: &mut WorkspaceDb, job: JobId) -> Result<Vec<Segment>, sqlx::Error> {
    sqlx::query_as!(
        Segment,
        "select number, storage_key, size, rows from export_segments where job_id = $1 order by number",
        job.0,
    )
    .fetch_all(db.conn())
    .await
}

/// Takes the segments out of the file. Their objects are the caller's to remove.
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

/// Forgets a finished export. Its objects are the caller's to remove, before this.
pub async fn forget(db: &mut WorkspaceDb, job: JobId) -> Result<(), sqlx::Error> {
    remove_segments(db, job).await?;
    sqlx::query!("delete from exports where job_id = $1", job.0).execute(db.conn()).await?;
    Ok(())
}
