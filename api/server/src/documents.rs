//! The surfaces as OpenAPI services, and their documents as they are served.

use api_kit::{absent, document};
use bytes::Bytes;
use jobs::Surface;
use poem::{Endpoint, Response, endpoint::make_sync};
use poem_openapi::{OpenApi, OpenApiService};

use crate::public::PublicApi;

/// The Workspace API.
pub(crate) fn workspace() -> OpenApiService<impl OpenApi, ()> {
    let sections = (
        api_accounts::workspace::api(),
        api_people::workspace::api(),
        api_data::workspace::api(),
        api_bulk::workspace_api(),
        api_jobs::workspace_api(),
    );
    OpenApiService::new(sections, "Millrace Workspace API", env!("CARGO_PKG_VERSION"))
        .server("/api/v1")
        .description(
            "Typed records, files, teams and the jobs that do the slow part, for one workspace at a time.",
        )
}

/// The Platform API.
pub(crate) fn platform() -> OpenApiService<impl OpenApi, ()> {
    let sections = (PublicApi, api_accounts::platform::api(), api_jobs::platform_api());
    OpenApiService::new(sections, "Millrace Platform API", env!("CARGO_PKG_VERSION"))
        .server("/")
        .description("The same store for apps that are built on it, by API key.")
}

/// The operator's routes.
pub(crate) fn ops() -> OpenApiService<impl OpenApi, ()> {
    OpenApiService::new(api_ops::api(), "Millrace operator's API", env!("CARGO_PKG_VERSION"))
        .server("/ops")
        .description("Queues, workers, pauses and limits of the whole installation, by the operator's token.")
}

/// The document of a surface.
///
/// # Errors
/// When the framework's document isn't JSON, which would be a bug.
pub fn document(surface: Surface) -> serde_json::Result<serde_json::Value> {
    let spec = match surface {
        Surface::Workspace => workspace().spec(),
        Surface::Platform => platform().spec(),
        Surface::Ops => ops().spec(),
    };
    served(&spec, surface)
}

/// The framework's document as it is served.
fn served(spec: &str, surface: Surface) -> serde_json::Result<serde_json::Value> {
    let mut document = document::served(spec, surface)?;
    absent::admit_null(&mut document);
    Ok(document)
}

/// A surface's document and the page that shows it, ready to be sent.
#[derive(Clone)]
pub(crate) struct Pages {
    pub(crate) document: Bytes,
    pub(crate) page: Bytes,
}

impl Pages {
    /// Those of a surface.
    pub(crate) fn of<T: OpenApi>(service: &OpenApiService<T, ()>, surface: Surface) -> Self {
        let spec = service.spec();
        let document = served(&spec, surface).expect("the framework's document is JSON").to_string();
        // The page holds its document within a script.
        let page = service.swagger_ui_html().replace(&spec, &document.replace("</", "<\\/"));
        Self { document: document.into(), page: page.into() }
    }

    /// The document, as JSON.
    pub(crate) fn send_document(&self) -> impl Endpoint + 'static {
        sent(&self.document, "application/json")
    }

    /// The page, which needs nothing from elsewhere.
    pub(crate) fn send_page(&self) -> impl Endpoint + 'static {
        sent(&self.page, "text/html; charset=utf-8")
    }
}

fn sent(body: &Bytes, content_type: &'static str) -> impl Endpoint + 'static {
    let body = body.clone();
    make_sync(move |_| Response::builder().content_type(content_type).body(body.clone()))
}
