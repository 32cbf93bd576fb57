//! Imports: uploaded files becoming records.
//!
//! Here: what an import is told to do ([`start`]), the rows it writes ([`Batch`]), the atomic kind's
//! stage ([`staged`]), and what is reported of its bad rows ([`report`]). Reading the file batch by batch
//! is the worker's; how the job goes is the ledger's.

pub mod report;
pub mod staged;

mod analysis;
mod batch;
mod copy;
mod error;
mod ids;
mod mapping;
mod unique;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::{RecordsetId, UserId, WorkspaceDb, audit::Entry, storage_use};
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
pub use error::ImportError;
pub use mapping::Mapped;

/// How many bad rows the job's detail shows; the report has them all.
const FIRST_ERRORS: i64 = 20;
/// Lines of a report removed by one transaction.
const FORGOTTEN_AT_ONCE: i64 = 5_000;

/// What becomes of the good rows when others are bad.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, poem_openapi::Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename = "ImportMode", rename_all = "snake_case")]
pub enum Mode {
    /// They are written.
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

/// An import about to begin.
#[derive(Debug, Clone)]
pub struct NewImport {
    /// The file.
    pub file: FileUri,
    /// Which columns go to which fields; suggested by names if absent.
    pub mapping: Option<BTreeMap<String, String>>,
    /// What becomes of the good rows when others are bad.
    pub mode: Mode,
    /// Ends the import as failed after so many bad rows.
    pub stop_after_errors: Option<u32>,
}

/// What an import does.
#[derive(Debug, Clone)]
pub struct Import {
    /// Its job, by whose id it is known.
    pub job_id: JobId,
    /// The recordset that it fills.
    pub recordset_id: RecordsetId,
    /// The file's id.
    pub file_id: FileId,
    /// The file's name.
    pub file_name: String,
    /// Where its bytes are.
    pub storage_key: String,
    /// How many rows the file had when it was looked at.
    pub row_count: Option<i64>,
    /// How the file is read; the same for every run.
    pub read_as: Resolved,
    /// Which columns go to which fields.
    pub mapping: Vec<Mapped>,
    /// What becomes of the good rows when others are bad.
    pub mode: Mode,
    /// Ends the import as failed after so many bad rows.
    pub stop_after_errors: Option<i64>,
    /// Who asked for it.
    pub created_by: Option<UserId>,
    /// When.
    pub created_at: DateTime<Utc>,
}

impl Import {
    /// A column's name.
    #[must_use]
    pub fn column_name(&self, column: usize) -> String {
        self.read_as.columns.get(column).cloned().unwrap_or_default()
    }
}

/// Creates a recordset and starts an import into it, in this transaction. Without fields of its own the
/// recordset gets one for each column of the file. While an import of the same bytes into a recordset of
/// the same name is alive, it is that one.
///
/// # Errors
/// Those of [`start`], and [`ImportError::Recordset`] for a recordset that can't be created.
pub async fn start_new(
    db: &mut WorkspaceDb,
    mut recordset: NewRecordset,
    mut new: NewImport,
) -> Result<(RecordsetDetail, JobId), ImportError> {
    let file = files::get(db, new.file).await?;
    let place = format!("new {}", recordset.slug.as_ref().unwrap_or(&recordset.name));
    let job = match enqueue(db, &file, &place).await? {
        Enqueued::New(job) => job,
        Enqueued::Duplicate(job) => {
            db.is_noted_elsewhere();
            let alive = find(db, job).await?.ok_or(ImportError::NotFound)?;
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
/// same recordset is alive, it is that one.
///
/// # Errors
/// [`ImportError`] for a file that is gone or was never analysed, for a mapping that doesn't fit, and for a workspace
/// that has no room for another record.
pub async fn start(
    db: &mut WorkspaceDb,
    recordset: RecordsetId,
    new: NewImport,
) -> Result<JobId, ImportError> {
    let file = files::get(db, new.file).await?;
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

/// Keeps what the job is to import, and notes who asked for it.
async fn keep(
    db: &mut WorkspaceDb,
    job: JobId,
    recordset: RecordsetId,
    file: &File,
    new: &NewImport,
) -> Result<(), ImportError> {
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
        return Err(ImportError::FileNotFound); // swept since we looked
    }
    let details =
        json!({ "recordset_id": recordset.0, "file_id": file.id, "file": file.name, "mode": new.mode });
    Ok(db.note(Entry::new("import", "requested", job.0, details)).await?)
}

/// What a job is to import; none for a job that is no import, or whose import is deleted.
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

/// What is wrong with the rows of an import, so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, poem_openapi::Object)]
pub struct Validation {
    /// Reasons by code; a row may have several.
    pub errors_by_code: BTreeMap<String, i64>,
    /// The first of them.
    pub first_errors: Vec<report::RowError>,
}

/// Sums up the bad rows.
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

/// Forgets some of a finished import: lines of its report, and with the last of them its row, and its file
/// when no other import has it. False: nothing is left.
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

/// Forgets how often each code occurred; the lines of the report, which are gone, count as stored no more.
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
