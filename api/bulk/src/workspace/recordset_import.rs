//! Recordset Import: files into records (W-IMP). Upload and look at a file, start an import with it,
//! follow the job, fetch the report of its bad rows.

mod analysis;
mod job;

use std::collections::BTreeMap;

use api_kit::{
    Accepted, Answer, ApiError, App, Body, Can, CappedPage, Created, Either, Fails, FileUpload, JobStarted,
    NoContent, PageNumber, PageSize, Visitor, page_request, permissions, unhurried, watching,
};
use bytes::Bytes;
use domain::{Acting, RecordsetId, WorkspaceDb, page::PageOf};
use domain_data::{
    exports,
    files::{self, FileUri, UploadLimit},
    imports::{self, ImportError, Mode, NewImport, report},
    recordsets::{NewField, NewRecordset, RecordsetDetail},
};
use futures::{Stream, TryStreamExt, stream};
use jobs::{
    Act, JobId, Tx,
    control::{self, Cancel, CancelAll, CancelledAll, Delete, Filter},
    watch::{Snapshot, Status},
};
use poem::web::Data;
use poem_openapi::{
    Object, OpenApi, Tags,
    param::{Path, Query},
    payload::Json,
};

use super::download::{CsvFile, Made, Source};
use analysis::{AnalyzeRequest, ReadOptions, Uploaded};
use job::{CancelledJobs, ImportStatus, JobType, ReportUrl, TransferJob, TransferJobDetail};

permissions! {
    ViewImports = "imports:view",
    CreateImport = "imports:create",
    CancelImport = "imports:cancel",
    DeleteImport = "imports:delete",
    ViewExports = "exports:view",
    CancelExport = "exports:cancel",
    DeleteExport = "exports:delete",
    ViewRecords = "records:view",
    CreateRecords = "records:create",
    CreateRecordsets = "recordsets:create",
}

/// An import that creates its recordset.
#[derive(Debug, Object)]
struct RecordsetImport {
    /// The recordset's name for people.
    name: String,
    /// Its name in URLs; derived from the name if absent.
    slug: Option<String>,
    /// What it is for.
    description: Option<String>,
    /// Its fields; one for each column of the file if absent.
    #[oai(default)]
    fields: Vec<NewField>,
    #[oai(flatten)]
    import: RecordsImport,
}

/// An import into a recordset.
#[derive(Debug, Object)]
struct RecordsImport {
    /// The uploaded file, as the upload named it.
    file_uri: String,
    /// Which column of the file goes to which field, as `{column name: field key}`; by their names if
    /// absent. Columns that aren't named are left out.
    field_mappings: Option<BTreeMap<String, String>>,
    /// How to read the file, if otherwise than it was analysed last.
    options: Option<ReadOptions>,
    /// What becomes of the good rows when others are bad.
    #[oai(default)]
    mode: Mode,
    /// Ends the import as failed after so many bad rows.
    #[oai(validator(minimum(value = "1")))]
    stop_after_errors: Option<u32>,
}

/// An import that was started.
#[derive(Debug, Object)]
struct ImportStarted {
    /// The recordset that it fills.
    recordset_id: RecordsetId,
    /// The recordset, if it is a new one.
    #[oai(skip_serializing_if_is_none)]
    recordset: Option<RecordsetDetail>,
    #[oai(flatten)]
    job: JobStarted,
}

#[derive(Tags)]
enum Tag {
    /// Files into records.
    #[oai(rename = "Recordset Import")]
    RecordsetImport,
}

/// See the module.
pub struct RecordsetImportApi;

#[OpenApi(prefix_path = "/recordsets/import", tag = "Tag::RecordsetImport")]
impl RecordsetImportApi {
    /// Upload a file to import
    ///
    /// CSV and its kin, XLSX, XLS, ODS, JSON, NDJSON or GeoJSON, as `multipart/form-data` with the file
    /// in the part `file`. The answer says what is in it. A file that no import uses is kept for a day. The plan limits
    /// the file's size (413 `payload_too_large`) and the workspace's storage (402 `limit_exceeded`).
    #[oai(
        path = "/upload",
        method = "post",
        operation_id = "upload_import_file",
        transform = "unhurried",
        tag = "Fails::LimitExceeded"
    )]
    async fn upload(&self, can: Can<CreateImport>, file: FileUpload) -> Answer<Created<Uploaded>> {
        let app = can.app();
        let whose = (can.workspace, can.actor());
        let limit = UploadLimit::of(&app.database, whose.clone(), app.config.max_upload_bytes).await?;
        limit.check(file.least_size().unwrap_or(0))?;
        let (new, bytes) = file.open().await?;
        let (file, found) = imports::take_in(&app.database, &app.storage, whose, new, bytes, limit).await?;
        Ok(Created(Uploaded::new(&file, found)))
    }

    /// Look at an uploaded file again, as the options say
    #[oai(
        path = "/upload/analyze",
        method = "post",
        operation_id = "analyze_import_file",
        transform = "unhurried"
    )]
    async fn analyze(&self, can: Can<CreateImport>, asked: Body<AnalyzeRequest>) -> Answer<Json<Uploaded>> {
        let AnalyzeRequest { file_uri, options } = asked.0;
        imports::require_room(can.workspace)?;
        let file = files::get(&mut can.read().await?, uri(&file_uri)?).await?;
        let look = Look::at(&can, file, options.unwrap_or_default()).await?;
        can.change(async |db| look.keep(db).await).await?;
        Ok(Json(Uploaded::new(&look.file, look.found)))
    }

    /// Create a recordset and import a file into it
    #[oai(
        path = "/",
        method = "post",
        operation_id = "start_recordset_import",
        transform = "unhurried",
        tag = "Fails::LimitExceeded",
        tag = "Fails::SlugTaken"
    )]
    async fn start(
        &self,
        can: Can<(CreateImport, CreateRecords, CreateRecordsets)>,
        asked: Body<RecordsetImport>,
    ) -> Answer<Accepted<ImportStarted>> {
        let RecordsetImport { name, slug, description, fields, import } = asked.0;
        let (new, look) = import.prepared(&can).await?;
        let recordset = NewRecordset { name, slug, description, fields, ..NewRecordset::default() };
        let start = async |db: &mut WorkspaceDb| {
            keep(look, db).await?;
            imports::start_new(db, recordset, new).await
        };
        let (created, job) = can.change(start).await?;
        Ok(Accepted(ImportStarted {
            recordset_id: created.recordset.id,
            recordset: Some(created),
            job: can.job_started(job),
        }))
    }

    /// Import a file into a recordset that exists
    #[oai(
        path = "/records/:recordset_id",
        method = "post",
        operation_id = "start_records_import",
        transform = "unhurried",
        tag = "Fails::LimitExceeded"
    )]
    async fn start_into(
        &self,
        can: Can<(CreateImport, CreateRecords)>,
        recordset_id: Path<RecordsetId>,
        asked: Body<RecordsImport>,
    ) -> Answer<Accepted<ImportStarted>> {
        let recordset_id = recordset_id.0;
        let (new, look) = asked.0.prepared(&can).await?;
        let start = async |db: &mut WorkspaceDb| {
            keep(look, db).await?;
            imports::start(db, recordset_id, new).await
        };
        let job = can.change(start).await?;
        Ok(Accepted(ImportStarted { recordset_id, recordset: None, job: can.job_started(job) }))
    }

    /// List imports and exports, newest first
    ///
    /// `total` counts up to 10,000 jobs; with more, `total_is_capped` is true.
    #[oai(path = "/jobs", method = "get", operation_id = "list_import_jobs")]
    async fn list(
        &self,
        can: Can<Either<ViewImports, ViewExports>>,
        job_type: Query<Option<JobType>>,
        status: Query<Option<Status>>,
        #[oai(default)] page: Query<PageNumber>,
        #[oai(default)] page_size: Query<PageSize>,
    ) -> Answer<Json<CappedPage<TransferJob>>> {
        let request = page_request(page.0, page_size.0);
        let filter = Filter { kinds: JobType::kinds(job_type.0), status: status.0, ..Filter::default() };
        let filter = filter.without(&can.kinds_denied(Act::View));
        let whose = Some(can.workspace.0);
        let (jobs, total) =
            control::list(&can.app().database, whose, &filter, request.limit, request.offset).await?;
        let items = jobs.into_iter().map(|job| TransferJob::shown(&can, job)).collect();
        Ok(Json(CappedPage::new(request, PageOf { items, total }, control::MAX_COUNTED)))
    }

    /// Look at an import or export
    ///
    /// With what is wrong with an import's rows so far, and, for callers who may view records, with links to the
    /// report or the file.
    #[oai(path = "/jobs/:job_id", method = "get", operation_id = "get_import_job", transform = "watching")]
    async fn get(
        &self,
        can: Can<Either<ViewImports, ViewExports>>,
        job_id: Path<JobId>,
    ) -> Answer<Json<TransferJobDetail>> {
        let snapshot = find(&can, job_id.0, Act::View).await?;
        // Report and file show records' values.
        let links = can.may::<ViewRecords>();
        Ok(Json(TransferJobDetail::load(&can, snapshot, links).await?))
    }

    /// Look at an import, in short
    #[oai(
        path = "/status/:job_id",
        method = "get",
        operation_id = "get_import_status",
        transform = "watching"
    )]
    async fn status(
        &self,
        can: Can<Either<ViewImports, ViewExports>>,
        job_id: Path<JobId>,
    ) -> Answer<Json<ImportStatus>> {
        Ok(Json(ImportStatus::shown(&can, find(&can, job_id.0, Act::View).await?)))
    }

    /// Cancel an import or export
    ///
    /// A waiting job is over at once. A running one is asked to stop and ends within about two seconds;
    /// what it has written stays, unless it is atomic.
    #[oai(
        path = "/jobs/:job_id/cancel",
        method = "post",
        operation_id = "cancel_import_job",
        tag = "Fails::JobOver"
    )]
    async fn cancel(
        &self,
        can: Can<Either<CancelImport, CancelExport>>,
        job_id: Path<JobId>,
    ) -> Answer<Json<TransferJob>> {
        let before = find(&can, job_id.0, Act::Cancel).await?;
        let (whose, by) = (Some(can.workspace.0), can.origin());
        let cancel =
            async |tx: &mut Tx, _: &Acting<'_>| match control::cancel(tx, whose, before.event.job_id, &by)
                .await?
            {
                Cancel::Cancelled | Cancel::Requested => {
                    before.within(tx).await?.ok_or_else(ApiError::not_found)
                }
                Cancel::AlreadyOver => Err(ApiError::conflict("job_over", "the job is over")),
                Cancel::NotFound => Err(ApiError::not_found()),
            };
        Ok(Json(TransferJob::shown(&can, can.change_shared(cancel).await?)))
    }

    /// Cancel all imports and exports that are not over
    ///
    /// Of those that the caller may cancel. With an `Idempotency-Key` at most 1,000 at a time; `more` tells whether to call
    /// again.
    #[oai(path = "/jobs/cancel-all", method = "post", operation_id = "cancel_all_import_jobs")]
    async fn cancel_all(&self, can: Can<Either<CancelImport, CancelExport>>) -> Answer<Json<CancelledJobs>> {
        let filter = Filter { kinds: JobType::kinds(None), ..Filter::default() };
        let filter = filter.without(&can.kinds_denied(Act::Cancel));
        let (whose, by) = (Some(can.workspace.0), can.origin());
        let CancelledAll { cancelled, requested, more } =
            can.change_in_steps(CancelAll::new(whose, &filter, i64::MAX, &by)).await?;
        Ok(Json(CancelledJobs { cancelled, requested, more }))
    }

    /// Get a new link to an import's error report
    #[oai(path = "/jobs/:job_id/report-url", method = "get", operation_id = "get_import_report_url")]
    async fn report_url(
        &self,
        can: Can<(ViewImports, ViewRecords)>,
        job_id: Path<JobId>,
    ) -> Answer<Json<ReportUrl>> {
        let job = find(&can, job_id.0, Act::View).await?.event.job_id;
        let mut db = can.read().await?;
        if imports::find(&mut db, job).await?.is_none() || !report::exists(&mut db, job).await? {
            return Err(ApiError::not_found());
        }
        Ok(Json(ReportUrl { report_url: Made::ErrorReport.link(&can, job) }))
    }

    /// Download an import's error report
    ///
    /// CSV: the row's number, the column, a code and a reason, then the row as it is in the file. By the
    /// signed link of the job's detail; needs no headers. The link ends with the credential that it was made for, and
    /// with that credential's permission to see the import.
    #[oai(
        path = "/error-reports/:job_id/download",
        method = "get",
        operation_id = "download_import_report",
        transform = "unhurried",
        tag = "Fails::Forbidden"
    )]
    async fn download_report(
        &self,
        app: Data<&App>,
        visitor: Visitor,
        job_id: Path<JobId>,
        exp: Query<i64>,
        sig: Query<String>,
    ) -> Answer<CsvFile> {
        let job = job_id.0;
        let (source, _) = Made::ErrorReport.open(&app, &visitor, job, (exp.0, &sig)).await?;
        let import = imports::find(&mut source.read().await?, job).await?.ok_or_else(ApiError::not_found)?;
        let stem = import.file_name.rsplit_once('.').map_or(import.file_name.as_str(), |(stem, _)| stem);
        let header = Bytes::from(report::header(&import.read_as.columns));
        let bytes = report_bytes(source.clone(), job, header);
        Ok(source.file(format!("{stem}-errors.csv"), bytes))
    }

    /// Remove a finished import or export from the history
    ///
    /// The imported records stay; the report, and the file of an export, go.
    #[oai(
        path = "/jobs/:job_id",
        method = "delete",
        operation_id = "delete_import_job",
        tag = "Fails::JobNotOver"
    )]
    async fn delete(
        &self,
        can: Can<Either<DeleteImport, DeleteExport>>,
        job_id: Path<JobId>,
    ) -> Answer<NoContent> {
        let job = find(&can, job_id.0, Act::Delete).await?.event.job_id;
        let delete = async |tx: &mut Tx, _: &Acting<'_>| match control::delete(
            tx,
            Some(can.workspace.0),
            job,
            &can.origin(),
        )
        .await?
        {
            Delete::Deleted => Ok(()),
            Delete::NotOver => {
                Err(ApiError::conflict("job_not_over", "the job is not over; cancel it first"))
            }
            Delete::NotFound => Err(ApiError::not_found()),
        };
        can.change_shared(delete).await?;
        // What is left if this process dies here is found by the sweep.
        let mut more = true;
        while more {
            let forget = async |db: &mut WorkspaceDb| {
                db.is_noted_elsewhere(); // it is part of what was deleted
                imports::forget_some(db, job).await
            };
            more = can.change(forget).await?;
        }
        let forget = async |db: &mut WorkspaceDb| {
            db.is_noted_elsewhere();
            exports::forget(db, job).await?;
            Ok::<_, ApiError>(exports::prefix(db, job))
        };
        let prefix = can.change(forget).await?;
        let storage = &can.app().storage;
        storage.keys(&prefix).try_for_each(|key| async move { storage.delete(&key).await }).await?;
        Ok(NoContent)
    }
}

impl RecordsImport {
    /// Reads what is asked for; looks at the file again if it is to be read otherwise.
    async fn prepared<P>(self, can: &Can<P>) -> Result<(NewImport, Option<Look>), ApiError> {
        let file = uri(&self.file_uri)?;
        let look = match self.options {
            None => None,
            Some(options) => {
                let found = files::get(&mut can.read().await?, file).await.map_err(ImportError::from)?;
                Some(Look::at(can, found, options).await?)
            }
        };
        let new = NewImport {
            file,
            mapping: self.field_mappings,
            mode: self.mode,
            stop_after_errors: self.stop_after_errors,
        };
        Ok((new, look))
    }
}

/// What was found in an uploaded file, as the options say.
struct Look {
    file: files::File,
    options: tabular::Options,
    found: tabular::Analysis,
}

impl Look {
    async fn at<P>(can: &Can<P>, file: files::File, options: ReadOptions) -> Result<Self, ApiError> {
        let options = options.checked()?;
        let found = imports::look(&can.app().storage, can.workspace, &file, &options).await?;
        Ok(Self { file, options, found })
    }

    /// Keeps it for imports that don't say otherwise.
    async fn keep(&self, db: &mut WorkspaceDb) -> Result<(), ImportError> {
        imports::keep_analysis(db, &self.file, &self.options, &self.found).await
    }
}

async fn keep(look: Option<Look>, db: &mut WorkspaceDb) -> Result<(), ImportError> {
    match look {
        Some(look) => look.keep(db).await,
        None => Ok(()),
    }
}

fn uri(text: &str) -> Result<FileUri, ApiError> {
    text.parse().map_err(|error: files::NotAFileUri| ApiError::invalid("file_uri", error.to_string()))
}

/// The job, if it is an import or export of the caller's workspace, and they may do that with it.
async fn find<P>(can: &Can<P>, job: JobId, act: Act) -> Answer<Snapshot> {
    let snapshot = can.app().hub.snapshot(job).await?;
    let of_ours = |job: &Snapshot| job.workspace == Some(can.workspace.0) && JobType::of(&job.kind).is_some();
    can.allowed(act, snapshot.filter(of_ours).ok_or_else(ApiError::not_found)?)
}

/// The report, page by page.
fn report_bytes(
    source: Source,
    job: JobId,
    header: Bytes,
) -> impl Stream<Item = Result<Bytes, ApiError>> + Send + 'static {
    let pages = stream::try_unfold(None, move |after| {
        let source = source.clone();
        async move {
            let page = report::lines(&mut source.read().await?, job, after).await?;
            Ok(page.map(|(lines, next)| (Bytes::from(lines), Some(next))))
        }
    });
    futures::StreamExt::chain(stream::iter([Ok(header)]), pages)
}
