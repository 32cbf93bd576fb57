//! Imports and exports as jobs, as lists and details show them.

use std::collections::BTreeMap;

use api_kit::{Access, ApiError, ShownJob};
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

/// Direction of the transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(super) enum JobType {
    /// Import: a file into records.
    Import,
    /// Export: records into a file.
    Export,
}

impl JobType {
    /// The direction of a job kind; none for other kinds.
    pub fn of(kind: &str) -> Option<Self> {
        match kind {
            ImportRecords::NAME => Some(Self::Import),
            ExportRecords::NAME | ScheduledExport::NAME => Some(Self::Export),
            _ => None,
        }
    }

    /// The job kinds of the given direction, or of both.
    pub fn kinds(which: Option<Self>) -> &'static [&'static str] {
        match which {
            Some(Self::Import) => &[ImportRecords::NAME],
            Some(Self::Export) => &[ExportRecords::NAME, ScheduledExport::NAME],
            None => TRANSFERS,
        }
    }
}

/// The kinds of imports and exports.
pub(super) const TRANSFERS: &[&str] = &[ImportRecords::NAME, ExportRecords::NAME, ScheduledExport::NAME];

/// An import or export.
#[derive(Debug, Clone, Object)]
pub(super) struct TransferJob {
    #[oai(flatten)]
    event: Event,
    /// Direction of the transfer.
    job_type: JobType,
    /// Creation time.
    created_at: DateTime<Utc>,
    /// Start time; null if not started.
    #[oai(skip_serializing_if_is_none)]
    started_at: Option<DateTime<Utc>>,
    /// End time; null if not finished.
    #[oai(skip_serializing_if_is_none)]
    finished_at: Option<DateTime<Utc>>,
    /// User id of the requester; null if the requester was an API key.
    #[oai(skip_serializing_if_is_none)]
    created_by: Option<UserId>,
    /// URL of the job's events, for `EventSource`: includes a ticket of the caller that is valid for this job only.
    stream_url: String,
}

impl ShownJob for TransferJob {
    fn shown(access: &Access, snapshot: Snapshot) -> Self {
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

/// An import or export with all details.
#[derive(Debug, Clone, Object)]
pub(super) struct TransferJobDetail {
    #[oai(flatten)]
    job: TransferJob,
    /// Id of the recordset that receives or provides the records.
    #[oai(skip_serializing_if_is_none)]
    recordset_id: Option<RecordsetId>,
    /// Name of the file that is read or written.
    #[oai(skip_serializing_if_is_none)]
    file_name: Option<String>,
    /// Handling of valid rows when others are invalid; only for imports.
    #[oai(skip_serializing_if_is_none)]
    mode: Option<Mode>,
    /// Number of invalid rows after which the import fails; null for no limit. Only for imports.
    #[oai(skip_serializing_if_is_none)]
    stop_after_errors: Option<i64>,
    /// Mapping of columns to fields; only for imports.
    #[oai(skip_serializing_if_is_none)]
    field_mappings: Option<BTreeMap<String, String>>,
    /// Invalid rows so far; only for imports.
    #[oai(skip_serializing_if_is_none)]
    validation: Option<Validation>,
    /// URL of the error report, valid for an hour; only for imports with invalid rows, and for callers who may
    /// view records.
    #[oai(skip_serializing_if_is_none)]
    report_url: Option<String>,
    /// URL of the file, valid for an hour; only for finished exports, and for callers who may view records.
    #[oai(skip_serializing_if_is_none)]
    download_url: Option<String>,
}

impl TransferJobDetail {
    /// Adds the details of the import or export, with links to files that show records' values if `links` is set.
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

/// Short form of an import.
#[derive(Debug, Clone, Object)]
pub(super) struct ImportStatus {
    /// Job id.
    job_id: JobId,
    /// Job status.
    status: Status,
    /// Progress in percent.
    progress: i32,
    /// Number of imported rows.
    imported: i64,
    /// Number of rejected rows.
    failed: i64,
    /// Error message; null if the import has not failed.
    #[oai(skip_serializing_if_is_none)]
    error_message: Option<String>,
    /// URL of the job's events, for `EventSource`: includes a ticket of the caller that is valid for this job only.
    stream_url: String,
}

impl ShownJob for ImportStatus {
    fn shown(access: &Access, snapshot: Snapshot) -> Self {
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
    /// URL of the error report, valid for an hour.
    pub report_url: String,
}

/// Result of cancelling all unfinished jobs.
#[derive(Debug, Clone, Default, Object)]
pub(super) struct CancelledJobs {
    /// Number of waiting jobs that were cancelled.
    pub cancelled: i64,
    /// Number of running jobs that were signalled to stop and are about to end.
    pub requested: i64,
    /// Whether there may be more: 1,000 were cancelled by a request with an `Idempotency-Key`. Call again, with another
    /// key.
    pub more: bool,
}
