//! Recordset Import: files into records (W-IMP). Upload and analyse a file, start an import of it,
//! follow the job, fetch the error report.

mod analysis;
mod job;

use std::collections::BTreeMap;

use api_kit::{
    Accepted, Answer, ApiError, App, Body, Can, CappedPage, Created, Either, Fails, FileUpload, JobStarted,
    NoContent, PageNumber, PageSize, Visitor, no_deadline, page_request, permissions, watching,
};
use bytes::Bytes;
use domain::{RecordsetId, WorkspaceDb};
use domain_data::{
    files::{self, FileUri, UploadLimit},
    imports::{self, Mode, NewImport, report},
    recordsets::{NewField, NewRecordset, RecordsetDetail},
    remains::Remains,
};
use futures::{Stream, stream};
use jobs::{
    Act, JobId,
    control::{CancelledAll, Filter},
    watch::Status,
};
use poem::web::Data;
use poem_openapi::{
    Object, OpenApi, Tags,
    param::{Path, Query},
    payload::Json,
};

use super::download::{CsvFile, DownloadKind, Source};
use analysis::{AnalyzeRequest, ReadOptions, Uploaded};
use job::{CancelledJobs, ImportStatus, JobType, ReportUrl, TRANSFERS, TransferJob, TransferJobDetail};

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
    /// Name of the recordset.
    name: String,
    /// Slug of the recordset: its name in URLs; derived from the name if absent.
    slug: Option<String>,
    /// Description of the recordset; null if none.
    description: Option<String>,
    /// Fields of the recordset; an empty list creates one for each column of the file.
    #[oai(default)]
    fields: Vec<NewField>,
    #[oai(flatten)]
    import: RecordsImport,
}

/// An import into a recordset.
#[derive(Debug, Object)]
struct RecordsImport {
    /// URI of the uploaded file, from the answer to the upload.
    file_uri: String,
    /// Mapping of columns to fields, as `{column name: field key}`; by their names if
    /// absent. Columns that are not named are skipped.
    field_mappings: Option<BTreeMap<String, String>>,
    /// Options for reading the file, if different from its last analysis.
    options: Option<ReadOptions>,
    /// Handling of valid rows when others are invalid.
    #[oai(default)]
    mode: Mode,
    /// Number of invalid rows after which the import fails; null for no limit.
    #[oai(validator(minimum(value = "1")))]
    stop_after_errors: Option<u32>,
}

/// A started import.
#[derive(Debug, Object)]
struct ImportStarted {
    /// Id of the recordset that receives the records.
    recordset_id: RecordsetId,
    /// The recordset, if the import created it.
    #[oai(skip_serializing_if_is_none)]
    recordset: Option<RecordsetDetail>,
    #[oai(flatten)]
    job: JobStarted,
}

#[derive(Tags)]
enum Tag {
    /// Imports of files into recordsets.
    #[oai(rename = "Recordset Import")]
    RecordsetImport,
}

/// Routes of the section.
pub struct RecordsetImportApi;

#[OpenApi(prefix_path = "/recordsets/import", tag = "Tag::RecordsetImport")]
impl RecordsetImportApi {
    /// Upload a file to import
    ///
    /// CSV and other delimited text, XLSX, XLS, ODS, JSON, NDJSON or GeoJSON, as `multipart/form-data` with the
    /// file in the part `file`. The answer has the analysis of its content. A file that no import uses is kept
    /// for a day. The plan limits the file's size (413 `payload_too_large`) and the workspace's storage (402
    /// `limit_exceeded`).
    #[oai(
        path = "/upload",
        method = "post",
        operation_id = "upload_import_file",
        transform = "no_deadline",
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

    /// Analyse an uploaded file again with other options
    #[oai(
        path = "/upload/analyze",
        method = "post",
        operation_id = "analyze_import_file",
        transform = "no_deadline"
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
        transform = "no_deadline",
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

    /// Import a file into an existing recordset
    #[oai(
        path = "/records/:recordset_id",
        method = "post",
        operation_id = "start_records_import",
        transform = "no_deadline",
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
        let filter = Filter { status: status.0, ..Filter::default() };
        let jobs = can.jobs(JobType::kinds(job_type.0));
        jobs.list(filter, page_request(page.0, page_size.0)).await.map(Json)
    }

    /// Show an import or export
    ///
    /// With the invalid rows of an import so far, and, for callers who may view records, with links to the
    /// error report or the file.
    #[oai(path = "/jobs/:job_id", method = "get", operation_id = "get_import_job", transform = "watching")]
    async fn get(
        &self,
        can: Can<Either<ViewImports, ViewExports>>,
        job_id: Path<JobId>,
    ) -> Answer<Json<TransferJobDetail>> {
        let snapshot = can.jobs(TRANSFERS).find(job_id.0).await?;
        // Report and file show records' values.
        let links = can.may::<ViewRecords>();
        Ok(Json(TransferJobDetail::load(&can, snapshot, links).await?))
    }

    /// Show the short form of an import
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
        can.jobs(TRANSFERS).find(job_id.0).await.map(Json)
    }

    /// Cancel an import or export
    ///
    /// A waiting job ends at once. A running job is signalled to stop and ends within about two seconds;
    /// records that it has written stay, unless the import is atomic.
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
        can.jobs(TRANSFERS).cancel(job_id.0).await.map(Json)
    }

    /// Cancel all unfinished imports and exports
    ///
    /// Jobs that the caller may not cancel are left out. With an `Idempotency-Key` at most 1,000 are cancelled
    /// at a time; if `more` is true, call again.
    #[oai(path = "/jobs/cancel-all", method = "post", operation_id = "cancel_all_import_jobs")]
    async fn cancel_all(&self, can: Can<Either<CancelImport, CancelExport>>) -> Answer<Json<CancelledJobs>> {
        let CancelledAll { cancelled, requested, more } =
            can.jobs(TRANSFERS).cancel_all(Filter::default(), i64::MAX).await?;
        Ok(Json(CancelledJobs { cancelled, requested, more }))
    }

    /// Get a new link to an import's error report
    #[oai(path = "/jobs/:job_id/report-url", method = "get", operation_id = "get_import_report_url")]
    async fn report_url(
        &self,
        can: Can<(ViewImports, ViewRecords)>,
        job_id: Path<JobId>,
    ) -> Answer<Json<ReportUrl>> {
        let job = can.jobs(TRANSFERS).snapshot(Act::View, job_id.0).await?.event.job_id;
        let mut db = can.read().await?;
        if imports::find(&mut db, job).await?.is_none() || !report::exists(&mut db, job).await? {
            return Err(ApiError::not_found());
        }
        Ok(Json(ReportUrl { report_url: DownloadKind::ErrorReport.link(&can, job) }))
    }

    /// Download an import's error report
    ///
    /// CSV: the row's number, the column, a code and a reason, then the row as it is in the file. By the signed
    /// link from the job's detail; needs no headers. The link becomes invalid with the credential that it was
    /// made for, and when that credential loses the permission to see the import.
    #[oai(
        path = "/error-reports/:job_id/download",
        method = "get",
        operation_id = "download_import_report",
        transform = "no_deadline",
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
        let (source, _) = DownloadKind::ErrorReport.open(&app, &visitor, job, (exp.0, &sig)).await?;
        let import = imports::find(&mut source.read().await?, job).await?.ok_or_else(ApiError::not_found)?;
        let stem = import.file_name.rsplit_once('.').map_or(import.file_name.as_str(), |(stem, _)| stem);
        let header = Bytes::from(report::header(&import.read_as.columns));
        let bytes = report_bytes(source.clone(), job, header);
        Ok(source.file(format!("{stem}-errors.csv"), bytes))
    }

    /// Remove a finished import or export from the history
    ///
    /// The imported records stay; the error report of an import and the file of an export are deleted.
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
        can.jobs(TRANSFERS).delete(job_id.0).await?;
        // If this process dies here, the sweep finds the rest.
        let remains = Remains::new(can.workspace, job_id.0);
        remains.remove_files(&can.app().storage).await?;
        while can.change(async |db| remains.remove_some(db).await).await? {}
        Ok(NoContent)
    }
}

impl RecordsImport {
    /// Resolves the request; analyses the file again if it is to be read with other options.
    async fn prepared<P>(self, can: &Can<P>) -> Result<(NewImport, Option<Look>), ApiError> {
        let file = uri(&self.file_uri)?;
        let look = match self.options {
            None => None,
            Some(options) => {
                let found = imports::uploaded(&mut can.read().await?, file).await?;
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

/// The analysis of an uploaded file with the given options.
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

    /// Stores the analysis for imports without options of their own.
    async fn keep(&self, db: &mut WorkspaceDb) -> Result<(), domain::Error> {
        imports::keep_analysis(db, &self.file, &self.options, &self.found).await
    }
}

async fn keep(look: Option<Look>, db: &mut WorkspaceDb) -> Result<(), domain::Error> {
    match look {
        Some(look) => look.keep(db).await,
        None => Ok(()),
    }
}

fn uri(text: &str) -> Result<FileUri, ApiError> {
    text.parse().map_err(|error: files::NotAFileUri| ApiError::invalid("file_uri", error.to_string()))
}

/// The error report, page by page.
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
