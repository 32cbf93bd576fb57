//! Recordset Export: records into files. The contract lists `POST /recordsets/export` in
//! "Recordset Import" (W-IMP-09); the download is an addition.

use api_kit::{
    Accepted, Answer, ApiError, App, Body, Can, Fails, JobStarted, Visitor, no_deadline, permissions,
};
use domain_data::exports::{self, NewExport, Segment};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use jobs::{JobId, watch::Status};
use poem::web::Data;
use poem_openapi::{
    Enum, Object, OpenApi, Tags,
    param::{Path, Query},
};
use runtime::storage::StorageError;

use super::download::{CsvFile, Made};

permissions! { CreateExport = "exports:create", ViewRecords = "records:view" }

/// File format of an export.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
enum ExportFormat {
    /// Comma-separated values, UTF-8.
    #[default]
    Csv,
}

/// An export to start.
#[derive(Debug, Object)]
struct ExportRequest {
    /// Id or slug of the recordset.
    #[oai(validator(min_length = 1))]
    recordset_id: String,
    /// File format.
    #[oai(default)]
    format: ExportFormat,
    /// Keys of the fields to export, in this order; all fields if absent.
    fields: Option<Vec<String>>,
    /// Whether a value that a spreadsheet would read as a formula gets a leading apostrophe, which an import removes
    /// again. If false, values are written unchanged; do not open such a file in a spreadsheet.
    #[oai(default = "yes")]
    safe: bool,
}

fn yes() -> bool {
    true
}

#[derive(Tags)]
enum Tag {
    /// Exports of recordsets to files.
    #[oai(rename = "Recordset Export")]
    RecordsetExport,
}

/// Routes of the section.
pub struct RecordsetExportApi;

#[OpenApi(prefix_path = "/recordsets/export", tag = "Tag::RecordsetExport")]
impl RecordsetExportApi {
    /// Export a recordset to a file
    ///
    /// The file has the records as of the start of the job. Once the job has finished, its detail
    /// (`/recordsets/import/jobs/{job_id}`) has the link to the file.
    #[oai(path = "/", method = "post", operation_id = "start_export", tag = "Fails::LimitExceeded")]
    async fn start(
        &self,
        can: Can<(CreateExport, ViewRecords)>,
        asked: Body<ExportRequest>,
    ) -> Answer<Accepted<JobStarted>> {
        let ExportRequest { recordset_id, format: ExportFormat::Csv, fields, safe } = asked.0;
        let new = NewExport { recordset: recordset_id, fields, is_safe: safe };
        let job = can.change(async |db| exports::start(db, new).await).await?;
        Ok(Accepted(can.job_started(job)))
    }

    /// Download the file of an export
    ///
    /// By the signed link from the job's detail; needs no headers. The link becomes invalid with the credential
    /// that it was made for, and when that credential loses the permission to see the export.
    #[oai(
        path = "/jobs/:job_id/download",
        method = "get",
        operation_id = "download_export",
        transform = "no_deadline",
        tag = "Fails::Forbidden",
        tag = "Fails::ExportNotFinished"
    )]
    async fn download(
        &self,
        app: Data<&App>,
        visitor: Visitor,
        job_id: Path<JobId>,
        exp: Query<i64>,
        sig: Query<String>,
    ) -> Answer<CsvFile> {
        let job = job_id.0;
        let (source, snapshot) = Made::Export.open(&app, &visitor, job, (exp.0, &sig)).await?;
        if snapshot.event.status != Status::Completed {
            return Err(ApiError::conflict("export_not_finished", "the export is not finished"));
        }
        let mut db = source.read().await?;
        let export = exports::find(&mut db, job).await?.ok_or_else(ApiError::not_found)?;
        let segments = exports::segments(&mut db, job).await?;
        drop(db);
        Ok(source.file(export.name, strung_together(app.clone(), segments)))
    }
}

/// The bytes of all segments, one after the other.
fn strung_together(
    app: App,
    segments: Vec<Segment>,
) -> impl Stream<Item = Result<bytes::Bytes, ApiError>> + Send + 'static {
    stream::iter(segments)
        .then(move |segment| {
            let app = app.clone();
            async move { app.storage.stream(&segment.storage_key).await }
        })
        .try_flatten()
        .map_err(|error: StorageError| ApiError::internal(error))
}
