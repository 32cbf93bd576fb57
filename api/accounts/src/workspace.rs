//! The sections of the Workspace API.

pub(crate) mod api_keys;
mod auth;
mod member_password;
mod permissions;
mod workspaces;

use poem_openapi::OpenApi;

/// All sections.
#[must_use]
pub fn api() -> impl OpenApi + 'static {
    (
        auth::api(),
        member_password::MemberPasswordApi,
        workspaces::api(),
        permissions::PermissionsApi,
        api_keys::ApiKeysApi,
    )
}
