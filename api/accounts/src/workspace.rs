//! The sections of the Workspace API.

pub(crate) mod api_keys;
mod auth;
mod permissions;

use poem_openapi::OpenApi;

/// All of them.
#[must_use]
pub fn api() -> impl OpenApi + 'static {
    (auth::SignupApi, auth::SessionApi, auth::TokensApi, permissions::PermissionsApi, api_keys::ApiKeysApi)
}
