//! The sections of the Workspace API.

mod auth;
mod member_password;
mod workspaces;

use poem_openapi::OpenApi;

/// All of them.
#[must_use]
pub fn api() -> impl OpenApi + 'static {
    (auth::api(), member_password::MemberPasswordApi, workspaces::api())
}
