//! The sections of the Workspace API.

mod health;
mod members;
mod teams;

use poem_openapi::OpenApi;

/// All of them.
#[must_use]
pub fn api() -> impl OpenApi + 'static {
    (members::MembersApi, teams::TeamsApi, health::WorkspaceHealthApi)
}
