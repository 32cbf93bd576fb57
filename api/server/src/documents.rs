//! The two surfaces as OpenAPI services, and their documents as they are served.

use api_kit::document;
use jobs::Surface;
use poem::{IntoResponse, Response, handler};
use poem_openapi::{OpenApi, OpenApiService};

use crate::health::HealthApi;

/// The Workspace API.
pub(crate) fn workspace() -> OpenApiService<impl OpenApi, ()> {
    OpenApiService::new((api_data::workspace::api(), api_bulk::workspace_api(), api_jobs::workspace_api()), "Millrace Workspace API", env!("CARGO_PKG_VERSION"))
        .server("/api/v1")
        .description("Typed records, files, teams and the jobs that do the slow part, for one workspace at a time.")
}

/// The Platform API.
pub(crate) fn platform() -> OpenApiService<impl OpenApi, ()> {
    OpenApiService::new(HealthApi, "Millrace Platform API", env!("CARGO_PKG_VERSION"))
        .server("/")
        .description("The same store for apps that are built on it, by API key.")
}

/// The document of a surface.
///
/// # Errors
/// When the framework's document isn't JSON, which would be a bug.
pub fn document(surface: Surface) -> serde_json::Result<serde_json::Value> {
    let spec = match surface {
        Surface::Workspace => workspace().spec(),
        Surface::Platform => platform().spec(),
    };
    document::served(&spec, surface)
}

/// `GET /api/v1/openapi.json`
#[handler]
pub(crate) fn workspace_document() -> Response {
    served(Surface::Workspace)
}

/// `GET /docs/openapi.json`
#[handler]
pub(crate) fn platform_document() -> Response {
    served(Surface::Platform)
}

fn served(surface: Surface) -> Response {
    match document(surface) {
        Ok(document) => poem::web::Json(document).into_response(),
        Err(error) => poem::Error::from(api_kit::ApiError::internal(error)).into_response(),
    }
}
