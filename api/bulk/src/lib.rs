//! Routes of bulk work: uploads, imports, their error reports, and exports.

pub mod workspace;

use poem_openapi::OpenApi;

/// The sections of the Workspace API.
#[must_use]
pub fn workspace_api() -> impl OpenApi {
    (workspace::recordset_import::RecordsetImportApi, workspace::recordset_export::RecordsetExportApi)
}
