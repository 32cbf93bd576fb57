//! The surfaces as OpenAPI services, and their documents as they are served.

use api_kit::{Strict, document};
use jobs::Surface;
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
    service(sections, "Millrace Workspace API", "/api/v1")
}

/// The Platform API.
pub(crate) fn platform() -> OpenApiService<impl OpenApi, ()> {
    let sections = (PublicApi, api_accounts::platform::api(), api_jobs::platform_api());
    service(sections, "Millrace Platform API", "/")
}

/// The operator's routes.
pub(crate) fn ops() -> OpenApiService<impl OpenApi, ()> {
    service(api_ops::api(), "Millrace operator's API", "/ops")
}

/// The sections of a surface, which accept only what they declare.
fn service<T: OpenApi>(sections: T, title: &str, at: &str) -> OpenApiService<Strict<T>, ()> {
    OpenApiService::new(Strict(sections), title, env!("CARGO_PKG_VERSION")).server(at)
}

/// The document of a surface.
///
/// When the framework's document isn't JSON, which would be a bug.
/// When the framework's document isn't JSON, which would be a bug.
pub fn document(surface: Surface) -> serde_json::Result<serde_json::Value> {
    domain_jobs::install_kinds();
    let spec = match surface {
        Surface::Workspace => workspace().spec(),
        Surface::Platform => platform().spec(),
        Surface::Ops => ops().spec(),
    };
    served(&spec, surface)
}

/// The framework's document in its served form.
pub(crate) fn served(spec: &str, surface: Surface) -> serde_json::Result<serde_json::Value> {
    document::served(spec, surface)
}
