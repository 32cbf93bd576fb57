//! The sections of the Workspace API.

mod modules;
mod records;
mod recordsets;

use poem_openapi::OpenApi;

/// All sections.
#[must_use]
pub fn api() -> impl OpenApi + 'static {
    (recordsets::RecordsetsApi, records::RecordsApi, modules::ModulesApi)
}
