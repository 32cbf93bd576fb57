//! Imports: uploaded files becoming records.
//!
//! Here: the request of an import ([`start`]), the rows it writes ([`Batch`]), the atomic kind's
//! stage ([`staged`]), and the report of its invalid rows ([`report`]). Reading the file batch by batch
//! is done by the worker; the job's state is in the ledger.

pub mod report;
pub mod staged;

mod analysis;
mod batch;
mod copy;
mod ids;
mod mapping;
mod unique;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::{Error, RecordsetId, UserId, WorkspaceDb, audit::Entry, storage_use};
use jobs::{Enqueued, JobId, NewJob, Unique};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::types::Json;
use tabular::Resolved;

use crate::{
    files::{self, File, FileId, FileUri},
    job_kinds::ImportRecords,
    recordsets::{self, NewRecordset, RecordsetDetail, Schema},
};

pub use analysis::{keep_analysis, look, require_room, suggested_fields, take_in};
pub use batch::{Batch, FieldsChanged, RowWriter};
pub use mapping::Mapped;

/// Maximum number of invalid rows in the job's detail; the report has all.
const FIRST_ERRORS: i64 = 20;
/// Number of lines of a report that one transaction removes.
const FORGOTTEN_AT_ONCE: i64 = 5_000;

/// Handling of valid rows when others are invalid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, poem_openapi::Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename = "ImportMode", rename_all = "snake_case")]
pub enum Mode {
    /// Valid rows are written.
    #[default]
    Partial,
    /// All rows are written, or none.
    Atomic,
}

impl Mode {
    /// The name in the database and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Partial => "partial",
            Self::Atomic => "atomic",
        }
    }
}

/// An import to start.
#[derive(Debug, Clone)]
pub struct NewImport {
    /// File.
    pub file: FileUri,
    /// Mapping of columns to fields; suggested by names if absent.
    pub mapping: Option<BTreeMap<String, String>>,
    /// Handling of valid rows when others are invalid.
    pub mode: Mode,
    /// Number of invalid rows after which the import fails.
    pub stop_after_errors: Option<u32>,
}

/// An import.
#[derive(Debug, Clone)]
pub struct Import {
    /// Job of the import, whose id identifies it.
    pub job_id: JobId,
    /// Recordset that receives the records.
    pub recordset_id: RecordsetId,
    /// File id.
    pub file_id: FileId,
    /// File name.
    pub file_name: String,
    /// Key of the file's bytes in the storage.
    pub storage_key: String,
    /// Number of rows, from the analysis.
    pub row_count: Option<i64>,
    /// Options for reading the file; the same for every run.
    pub read_as: Resolved,
    /// Mapping of columns to fields.
    pub mapping: Vec<Mapped>,
    /// Handling of valid rows when others are invalid.
    pub mode: Mode,
    /// Number of invalid rows after which the import fails.
    pub stop_after_errors: Option<i64>,
    /// User id of the requester.
    pub created_by: Option<UserId>,
    /// Creation time.
    pub created_at: DateTime<Utc>,
}

impl Import {
    /// A column's name.
    #[must_use]
    pub fn column_name(&self, column: usize) -> String {
        self.read_as.columns.get(column).cloned().unwrap_or_default()
    }
}

/// The uploaded file that a request names.
///
/// # Errors
/// `record_invalid` of `file_uri`, if it is not there.
pub async fn uploaded(db: &mut WorkspaceDb, uri: FileUri) -> Result<File, Error> {
    files::get(db, uri).await.map_err(|error| if error.is_not_found() { no_such_file() } else { error })
}

fn no_such_file() -> Error {
    let reason = "names no uploaded file of this workspace, or one that has expired: upload it first";
    Error::invalid("file_uri", reason)
}

/// Creates a recordset and starts an import into it, in this transaction. Without fields of its own the
/// recordset gets one for each column of the file. While an import of the same bytes into a recordset of
/// the same name is unfinished, the answer is that one.
///
/// # Errors
/// Those of [`start`], and those of [`recordsets::create`] for a recordset that can't be created.
pub async fn start_new(
    db: &mut WorkspaceDb,
    mut recordset: NewRecordset,
    mut new: NewImport,
) -> Result<(RecordsetDetail, JobId), Error> {
    let file = uploaded(db, new.file).await?;
    let place = format!("new {}", recordset.slug.as_ref().unwrap_or(&recordset.name));
    let job = match enqueue(db, &file, &place).await? {
        Enqueued::New(job) => job,
        Enqueued::Duplicate(job) => {
            db.is_noted_elsewhere();
            let alive = find(db, job).await?.ok_or_else(Error::not_found)?;
            return Ok((recordsets::get(db, &alive.recordset_id.to_string()).await?, job));
        }
    };
    if recordset.fields.is_empty() {
        let analysis = analysis::kept(&file)?;
        let own_names = || analysis.columns.iter().map(|c| (c.name.clone(), c.key.to_string())).collect();
        new.mapping = new.mapping.or_else(|| Some(own_names()));
        recordset.fields = suggested_fields(&analysis).into_iter().map(Into::into).collect();
    }
    let created = recordsets::create(db, recordset).await?;
    keep(db, job, created.recordset.id, &file, &new).await?;
    Ok((created, job))
}

/// Starts an import: its row and its job, in this transaction. While an import of the same bytes into the
/// same recordset is unfinished, the answer is that one.
///
/// # Errors
/// `record_invalid` for a file that is gone or was never analysed, and for a mapping that doesn't fit; `limit_exceeded`
/// for a workspace that has no room for another record.
pub async fn start(db: &mut WorkspaceDb, recordset: RecordsetId, new: NewImport) -> Result<JobId, Error> {
    let file = uploaded(db, new.file).await?;
    match enqueue(db, &file, &recordset.to_string()).await? {
        Enqueued::New(job) => keep(db, job, recordset, &file, &new).await.map(|()| job),
        Enqueued::Duplicate(job) => {
            db.is_noted_elsewhere();
            Ok(job)
        }
    }
}

async fn enqueue(db: &mut WorkspaceDb, file: &File, place: &str) -> Result<Enqueued, sqlx::Error> {
    let job = JobId::new();
    let kind = ImportRecords { import_id: job };
    let same = Unique::until_done(Unique::key_of(&(&file.sha256, place)));
    db.enqueue(NewJob::new(&kind).id(job).unique(same)).await
}

/// Stores the import's request, and adds the audit entry.
async fn keep(
    db: &mut WorkspaceDb,
    job: JobId,
    recordset: RecordsetId,
    file: &File,
    new: &NewImport,
) -> Result<(), Error> {
    storage_use::get(db).await?.require(1)?;
    let read_as = analysis::kept(file)?.resolved;
    let schema = Schema::load_for_write(db, recordset).await?;
    let mapping = match &new.mapping {
        Some(asked) => mapping::checked(asked, &read_as.columns, &schema)?,
        None => mapping::suggested(&read_as.columns, &schema)?,
    };

    let created_by = db.user_id();
    sqlx::query!(
        "insert into imports (job_id, recordset_id, file_id, read_as, mapping, mode, stop_after_errors, created_by)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        job.0,
        recordset.0,
        file.id.0,
        Json(&read_as) as _,
        Json(&mapping) as _,
        new.mode.name(),
        new.stop_after_errors.map(i64::from),
        created_by,
    )
    .execute(db.conn())
    .await?;
    let used =
        sqlx::query!("update files set used_at = now() where id = $1 and deleted_at is null", file.id.0)
            .execute(db.conn())
            .await?;
    if used.rows_affected() == 0 {
        return Err(no_such_file()); // swept since we looked
    }
    let details =
        json!({ "recordset_id": recordset.0, "file_id": file.id, "file": file.name, "mode": new.mode });
    Ok(db.note(Entry::new("import", "requested", job.0, details)).await?)
}

/// The import of a job; none for a job that is no import, or whose import is deleted.
pub async fn find(db: &mut WorkspaceDb, job: JobId) -> Result<Option<Import>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select i.job_id, i.recordset_id, i.file_id, f.name, f.storage_key,
                  case when coalesce((f.analysis ->> 'is_complete')::boolean, true)
                       then (f.analysis ->> 'row_count')::bigint end as row_count,
                  i.read_as as "read_as: Json<Resolved>", i.mapping as "mapping: Json<Vec<Mapped>>",
                  i.mode, i.stop_after_errors, i.created_by, i.created_at
             from imports i
             join files f on f.id = i.file_id
            where i.job_id = $1"#,
        job.0,
    )
    .fetch_optional(db.conn())
    .await?;
    Ok(row.map(|row| Import {
        job_id: row.job_id,
        recordset_id: row.recordset_id,
        file_id: row.file_id,
        file_name: row.name,
        storage_key: row.storage_key,
        row_count: row.row_count,
        read_as: row.read_as.0,
        mapping: row.mapping.0,
        mode: if row.mode == Mode::Atomic.name() { Mode::Atomic } else { Mode::Partial },
        stop_after_errors: row.stop_after_errors,
        created_by: row.created_by,
        created_at: row.created_at,
    }))
}

/// Invalid rows of an import, so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, poem_openapi::Object)]
pub struct Validation {
    /// Number of reasons by code; a row may have several.
    pub errors_by_code: BTreeMap<String, i64>,
    /// The first invalid rows.
    pub first_errors: Vec<report::RowError>,
}

/// Summarises the invalid rows.
pub async fn validation(db: &mut WorkspaceDb, job: JobId) -> Result<Validation, sqlx::Error> {
    let counts = sqlx::query!("select code, count from import_error_counts where job_id = $1", job.0)
        .fetch_all(db.conn())
        .await?;
    let first_errors = sqlx::query_as!(
        report::RowError,
        r#"select row_number as "row", column_name as "column", code, reason
             from import_errors where job_id = $1 order by row_number, ordinal limit $2"#,
        job.0,
        FIRST_ERRORS,
    )
    .fetch_all(db.conn())
    .await?;
    let errors_by_code = counts.into_iter().map(|row| (row.code, row.count)).collect();
    Ok(Validation { errors_by_code, first_errors })
}

/// Deletes a part of a finished import: lines of its report, and with the last of them its row, and its file
/// if no other import has it. False: nothing is left.
pub async fn forget_some(db: &mut WorkspaceDb, job: JobId) -> Result<bool, sqlx::Error> {
    staged::begin_discarding(db, job).await?;
    let lines = sqlx::query!(
        "delete from import_errors
          where (job_id, row_number, ordinal) in (
                select job_id, row_number, ordinal from import_errors where job_id = $1
                 order by row_number, ordinal limit $2)",
        job.0,
        FORGOTTEN_AT_ONCE,
    )
    .execute(db.conn())
    .await?;
    if i64::try_from(lines.rows_affected()).is_ok_and(|lines| lines >= FORGOTTEN_AT_ONCE) {
        return Ok(true);
    }
    forget_counts(db, job).await?;
    sqlx::query!(
        "with gone as (delete from imports where job_id = $1 returning file_id)
         update files set deleted_at = now()
          where id in (select file_id from gone)
            and not exists (select from imports i where i.file_id = files.id and i.job_id <> $1)",
        job.0,
    )
    .execute(db.conn())
    .await?;
    Ok(false)
}

/// Deletes the counts of codes; the deleted lines of the report no longer count as stored.
async fn forget_counts(db: &mut WorkspaceDb, job: JobId) -> Result<(), sqlx::Error> {
    let lines = sqlx::query_scalar!(
        r#"with gone as (delete from import_error_counts where job_id = $1 returning bytes)
           select coalesce(sum(bytes), 0)::bigint as "bytes!" from gone"#,
        job.0,
    )
    .fetch_one(db.conn())
    .await?;
    storage_use::release(db, lines).await
}
