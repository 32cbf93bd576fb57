//! Downloads by signed links: CSV, streamed, for a browser that sends no headers. A link is valid as long as the
//! credential that it was made for, and as long as that credential has the permission to see the file's content.

use std::fmt::Write as _;

use api_kit::{Access, Admitted, ApiError, App, Pass, Permission, Visitor, permissions};
use bytes::Bytes;
use chrono::Duration;
use domain::{Actor, WorkspaceDb, WorkspaceId};
use futures::{Stream, StreamExt, stream::BoxStream};
use jobs::{Act, JobId, kinds, watch::Snapshot};
use poem::{Body, IntoResponse, Response, http::header};
use poem_openapi::{
    ApiResponse,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry},
};

permissions! { ViewRecords = "records:view" }

/// Lifetime of a link.
const VALID: Duration = Duration::hours(1);
const CSV: &str = "text/csv; charset=utf-8";

/// A file that a job produces.
#[derive(Debug, Clone, Copy)]
pub(super) enum Made {
    /// The error report of an import.
    ErrorReport,
    /// The file of an export.
    Export,
}

impl Made {
    fn path(self, job: JobId) -> String {
        match self {
            Self::ErrorReport => format!("/api/v1/recordsets/import/error-reports/{job}/download"),
            Self::Export => format!("/api/v1/recordsets/export/jobs/{job}/download"),
        }
    }

    /// A link that is valid for an hour, and no longer than the caller's credential.
    pub fn link(self, access: &Access, job: JobId) -> String {
        let (path, until) = (self.path(job), jobs::clock::now() + VALID);
        access.app().keys.bound_link(&path, until, access.caller.credential())
    }

    /// Opens the data of the job's workspace by a valid link, and shows the job.
    ///
    /// # Errors
    /// 403 for a link that is invalid or has expired; 404 when the job no longer exists.
    pub async fn open(
        self,
        app: &App,
        visitor: &Visitor,
        job: JobId,
        (exp, sig): (i64, &str),
    ) -> Result<(Source, Snapshot), ApiError> {
        let refused = || ApiError::forbidden("the link is invalid or has expired; request a new one");
        let credential = app.keys.check_bound_link(&self.path(job), exp, sig).ok_or_else(refused)?;
        let snapshot = app.hub.snapshot(job).await?.ok_or_else(ApiError::not_found)?;
        let workspace = snapshot.workspace.map(WorkspaceId).ok_or_else(ApiError::not_found)?;
        let pass = Pass {
            credential,
            workspace,
            from: visitor.ip,
            // Both files show records' values.
            permission: ViewRecords::NAME.to_owned(),
            also: kinds::needs(&snapshot.kind, Act::View),
        };
        let admitted = app.admissions.check(pass).await?.map_err(|_| refused())?;
        Ok((Source { app: app.clone(), workspace, admitted }, snapshot))
    }
}

/// The data source of a download; opens one transaction at a time, none while the client is slow to read.
#[derive(Clone)]
pub(super) struct Source {
    pub app: App,
    workspace: WorkspaceId,
    admitted: Admitted,
}

impl Source {
    /// Opens the workspace's data for reading.
    pub async fn read(&self) -> Result<WorkspaceDb, ApiError> {
        Ok(WorkspaceDb::read(&self.app.database, self.workspace, Actor::default()).await?)
    }

    /// The file of that name with those bytes. If they fail, or the link's credential becomes invalid, the
    /// connection is aborted, so that the client detects the truncation.
    pub fn file(
        &self,
        name: String,
        bytes: impl Stream<Item = Result<Bytes, ApiError>> + Send + 'static,
    ) -> CsvFile {
        let admitted = self.admitted.clone();
        let bytes = bytes.map(move |chunk| match admitted.why() {
            Some(ended) => Err(ended.refusal()),
            None => chunk,
        });
        CsvFile::new(name, bytes)
    }
}

/// The stream of a CSV file.
pub struct CsvFile {
    name: String,
    bytes: BoxStream<'static, std::io::Result<Bytes>>,
}

impl CsvFile {
    fn new(name: String, bytes: impl Stream<Item = Result<Bytes, ApiError>> + Send + 'static) -> Self {
        let logged = |error: ApiError| {
            tracing::error!(%error, "a download was aborted");
            std::io::Error::other(error)
        };
        Self { name, bytes: bytes.map(move |chunk| chunk.map_err(logged)).boxed() }
    }
}

impl IntoResponse for CsvFile {
    fn into_response(self) -> Response {
        Response::builder()
            .header(header::CONTENT_TYPE, CSV)
            .header(header::CONTENT_DISPOSITION, attachment(&self.name))
            .body(Body::from_bytes_stream(self.bytes))
    }
}

impl ApiResponse for CsvFile {
    fn meta() -> MetaResponses {
        let schema = MetaSchema::new_with_format("string", "binary");
        MetaResponses {
            responses: vec![MetaResponse {
                description: "The file.",
                status: Some(200),
                status_range: None,
                content: vec![MetaMediaType {
                    content_type: "text/csv",
                    schema: MetaSchemaRef::Inline(Box::new(schema)),
                }],
                headers: vec![],
            }],
        }
    }

    fn register(_: &mut Registry) {}
}

/// The header that makes a browser save the answer under a name (RFC 6266).
fn attachment(name: &str) -> String {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_graphic() && !"\"\\%;".contains(c) { c } else { '_' }).collect();
    let mut exact = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            exact.push(char::from(byte));
        } else {
            let _ = write!(exact, "%{byte:02X}"); // to a string: never fails
        }
    }
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_safe_in_a_header() {
        assert_eq!(
            attachment("Größe \"1\".csv"),
            "attachment; filename=\"Gr__e__1_.csv\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe%20%221%22.csv"
        );
    }
}
