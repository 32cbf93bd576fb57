//! The sections of the Platform API.

mod stripe_webhook;

use poem_openapi::OpenApi;

/// All of them.
#[must_use]
pub fn api() -> impl OpenApi + 'static {
    stripe_webhook::StripeWebhookApi
}
