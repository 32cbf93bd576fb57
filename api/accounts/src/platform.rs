//! The sections of the Platform API.

mod audit;
mod governance;
mod keys;
mod public;
mod tenants;
mod token_api;

use poem_openapi::OpenApi;

/// All of them.
#[must_use]
pub fn api() -> impl OpenApi + 'static {
    (
        public::TenantsApi,
        tenants::UsageApi,
        keys::KeysApi,
        audit::AuditApi,
        governance::GovernanceApi,
        token_api::TokenApi,
    )
}
