//! The sections of the Platform API.

mod audit;
mod governance;
mod keys;
mod public;
mod stripe_webhook;
mod tenants;
mod token_api;

use poem_openapi::OpenApi;

pub use public::Tag as PublicTag;

/// All sections.
#[must_use]
pub fn api() -> impl OpenApi + 'static {
    (
        stripe_webhook::StripeWebhookApi,
        public::TenantsApi,
        tenants::UsageApi,
        keys::KeysApi,
        audit::AuditApi,
        governance::GovernanceApi,
        token_api::TokenApi,
    )
}
