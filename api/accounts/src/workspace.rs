//! The sections of the Workspace API.

mod auth;
mod workspaces;

use poem_openapi::OpenApi;

/// All of them.
#[must_use]
pub fn api() -> impl OpenApi + 'static {
    (auth::SignupApi, auth::StripeInviteApi, auth::SessionApi, workspaces::WorkspaceDoorsApi)
}
