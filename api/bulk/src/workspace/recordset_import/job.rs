//! Imports and exports as jobs: what lists and details show.

use std::collections::BTreeMap;

use api_kit::{Access, ApiError};
use chrono::{DateTime, Utc};
use domain::{RecordsetId, UserId};
use domain_data::{
    exports,
    imports::{self, Import, Mode, Validation},
    job_kinds::{ExportRecords, ImportRecords, ScheduledExport},
};
use jobs::{
    JobId, JobKind,
    watch::{Event, Snapshot, Status},
};
use poem_openapi::{Enum, Object};

use crate::workspace::download::Made;

/// Into records or out of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(super) enum JobType {
    /// A file into records.
    Import,
    /// Records into a file.
    Export,
}

impl JobType {
    /// Of a kind of job; none for other kinds.
    pub fn of(kind: &str) -> Option<Self> {
        match kind {
            ImportRecords::NAME => Some(Self::Import),
            ExportRecords::NAME | ScheduledExport::NAME => Some(Self::Export),
            _ => None,
        }
    }

    /// The kinds of job that are meant.
    pub fn kinds(which: Option<Self>) -> Vec<String> {
        let names = match which {
            Some(Self::Import) => vec![ImportRecords::NAME],
            Some(Self::Export) => vec![ExportRecords::NAME, ScheduledExport::NAME],
            None => vec![ImportRecords::NAME, ExportRecords::NAME, ScheduledExport::NAME],
        };
        names.into_iter().map(str::to_owned).collect()
    }
}

/// An import or export.
#[derive(Debug, Clone, Object)]
pub(super) struct TransferJob {
    #[oai(flatten)]
    event: Event,
    /// Into records or out of them.
    job_type: JobType,
    /// When it was asked for.
    created_at: DateTime<Utc>,
    /// When it began.
    #[oai(skip_serializing_if_is_none)]
    started_at: Option<DateTime<Utc>>,
    /// When it ended.
    #[oai(skip_serializing_if_is_none)]
    finished_at: Option<DateTime<Utc>>,
    /// The person who asked for it; null for one that an API key asked for.
    #[oai(skip_serializing_if_is_none)]
    created_by: Option<UserId>,
    /// Its events, for `EventSource`: carries a ticket, made for this caller, that reads this one job.
    stream_url: String,
}

impl TransferJob {
    /// An import or export as it is shown to that caller.
    pub fn shown(access: &Access, snapshot: Snapshot) -> Self {
        Self {
            stream_url: access.stream_url(snapshot.event.job_id),
            job_type: JobType::of(&snapshot.kind).unwrap_or(JobType::Import),
            event: snapshot.event,
            created_at: snapshot.created_at,
            started_at: snapshot.started_at,
            finished_at: snapshot.finished_at,
            created_by: snapshot.origin.user_id.map(UserId),
        }
    }
}

/// An import or export, with all there is to know.
#[derive(Debug, Clone, Object)]
pub(super) struct TransferJobDetail {
    #[oai(flatten)]
    job: TransferJob,
    /// The recordset that it fills or reads.
    #[oai(skip_serializing_if_is_none)]
    recordset_id: Option<RecordsetId>,
    /// The file that it reads or makes.
    #[oai(skip_serializing_if_is_none)]
    file_name: Option<String>,
    /// Of an import: what becomes of the good rows when others are bad.
    #[oai(skip_serializing_if_is_none)]
    mode: Option<Mode>,
    /// Of an import: after how many bad rows it ends.
    #[oai(skip_serializing_if_is_none)]
    stop_after_errors: Option<i64>,
    /// Of an import: which column goes to which field.
    #[oai(skip_serializing_if_is_none)]
    field_mappings: Option<BTreeMap<String, String>>,
    /// Of an import: what is wrong with its rows, so far.
    #[oai(skip_serializing_if_is_none)]
    validation: Option<Validation>,
    /// Of an import with bad rows, for callers who may view records: where its error report is, for an hour.
    #[oai(skip_serializing_if_is_none)]
    report_url: Option<String>,
    /// Of an export that is finished, for callers who may view records: where its file is, for an hour.
    #[oai(skip_serializing_if_is_none)]
    download_url: Option<String>,
}

impl TransferJobDetail {
    /// Adds what the import or export knows about itself, with links to what shows records' values if that is to be.
    pub async fn load(access: &Access, snapshot: Snapshot, links: bool) -> Result<Self, ApiError> {
        let mut db = access.read().await?;
        let job = snapshot.event.job_id;
        let is_complete = snapshot.event.status == Status::Completed;
        let mut detail = Self {
            job: TransferJob::shown(access, snapshot),
            recordset_id: None,
            file_name: None,
            mode: None,
            stop_after_errors: None,
            field_mappings: None,
            validation: None,
            report_url: None,
            download_url: None,
        };
        if detail.job.job_type == JobType::Import {
            if let Some(import) = imports::find(&mut db, job).await? {
                let validation = imports::validation(&mut db, job).await?;
                let has_errors = !validation.errors_by_code.is_empty();
                detail.report_url = (has_errors && links).then(|| Made::ErrorReport.link(access, job));
                detail.validation = Some(validation);
                detail.describe(import);
            }
        } else if let Some(export) = exports::find(&mut db, job).await? {
            detail.recordset_id = Some(export.recordset_id);
            detail.file_name = Some(export.name);
            detail.download_url = (is_complete && links).then(|| Made::Export.link(access, job));
        }
        Ok(detail)
    }

    fn describe(&mut self, import: Import) {
        let name = |mapped: &imports::Mapped| (import.column_name(mapped.column), mapped.field.to_string());
        self.field_mappings = Some(import.mapping.iter().map(name).collect());
        self.recordset_id = Some(import.recordset_id);
        self.file_name = Some(import.file_name);
        self.mode = Some(import.mode);
        self.stop_after_errors = import.stop_after_errors;
    }
}

/// An import, in short.
#[derive(Debug, Clone, Object)]
pub(super) struct ImportStatus {
    /// The job.
    job_id: JobId,
    /// Its status.
    status: Status,
    /// Percent.
    progress: i32,
    /// Rows that are written.
    imported: i64,
    /// Rows that were refused.
    failed: i64,
    /// Why it failed, if it did.
    #[oai(skip_serializing_if_is_none)]
    error_message: Option<String>,
    /// Its events, for `EventSource`: carries a ticket, made for this caller, that reads this one job.
    stream_url: String,
}

impl ImportStatus {
    /// An import as it is shown to that caller.
    pub fn shown(access: &Access, snapshot: Snapshot) -> Self {
        let event = snapshot.event;
        Self {
            stream_url: access.stream_url(event.job_id),
            job_id: event.job_id,
            status: event.status,
            progress: event.progress,
            imported: event.counts.done,
            failed: event.counts.failed,
            error_message: event.error_message,
        }
    }
}

/// A link to an error report.
#[derive(Debug, Clone, Object)]
pub(super) struct ReportUrl {
    /// Good for an hour.
    pub report_url: String,
}

/// What came of cancelling them all.
#[derive(Debug, Clone, Default, Object)]
pub(super) struct CancelledJobs {
    /// Jobs that were waiting, and are over.
    pub cancelled: i64,
    /// Running jobs that were asked to stop, and are about to.
    pub requested: i64,
    /// True if there may be more: 1,000 were cancelled by a request with an `Idempotency-Key`. Call again, with another
    /// key.
    pub more: bool,
}
