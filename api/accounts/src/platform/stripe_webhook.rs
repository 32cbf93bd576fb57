//! Webhook events of Stripe: contract section "Billing" (P-BILL-01). An event is authenticated by its signature over
//! the exact bytes of the body, which are therefore kept as they are. Duplicate members are not searched for as in
//! other bodies: only Stripe can sign an event, and all that is used of one is the id of an object to fetch.

use api_kit::{Answer, ApiError, App, Envelope, Visitor};
use bytes::Bytes;
use domain_accounts::stripe::webhook_events::{self, Page};
use poem::{Request, RequestBody, error::ReadBodyError, http::StatusCode, web::Data};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions, Object, OpenApi, Tags,
    param::Header,
    payload::Json,
    registry::{MetaMediaType, MetaRequest, Registry},
    types::Type,
};
use runtime::stripe::NotConfigured;
use serde_json::Value;

/// Maximum size of an event, in bytes.
const MAX_BODY_BYTES: usize = 256 << 10;

/// The bytes of an event, documented as a JSON body.
struct WebhookEvent(Bytes);

/// The event was accepted.
#[derive(Debug, Object)]
struct Received {
    /// Always true.
    received: bool,
}

#[derive(Tags)]
enum Tag {
    /// Webhook events of Stripe about payments.
    Billing,
}

/// Routes of the section.
pub struct StripeWebhookApi;

#[OpenApi(tag = "Tag::Billing")]
impl StripeWebhookApi {
    /// Receive a webhook event from Stripe
    ///
    /// `checkout.session.completed` and `checkout.session.async_payment_succeeded` give a workspace its plan, or
    /// email a code to a payer who has no workspace for it. `customer.subscription.*` changes the plan. Other events are accepted and have no
    /// effect. An event only names an object: its present state is fetched from Stripe, so events may come
    /// late, repeated or in any order. 503 `stripe_unavailable` if Stripe does not answer; Stripe then sends
    /// the event again. A signature is valid for five minutes.
    #[oai(path = "/webhooks/stripe", method = "post", operation_id = "stripe_webhook")]
    async fn take(
        &self,
        app: Data<&App>,
        visitor: Visitor,
        #[oai(name = "Stripe-Signature")] signature: Header<Option<String>>,
        event: WebhookEvent,
    ) -> Answer<Json<Envelope<Received>>> {
        let secret = app.payments.webhook_secret().map_err(|error: NotConfigured| {
            ApiError::unavailable("stripe_not_configured", error.to_string())
        })?;
        let signature = signature.0.unwrap_or_default();
        secret.check(&signature, &event.0, jobs::clock::now()).map_err(|error| {
            ApiError::new(StatusCode::BAD_REQUEST, "signature_invalid", error.to_string())
        })?;
        let link = |page: Page, code: &str| {
            let page = match page {
                Page::Register => "register",
                Page::NewWorkspace => "new-workspace",
            };
            app.config.app_link(page, &[("code", code)])
        };
        webhook_events::take(&app.database, &app.payments, &event.0, &visitor.actor(), link).await?;
        Ok(Json(Envelope::new(Received { received: true }, visitor.request_id)))
    }
}

impl<'a> ApiExtractor<'a> for WebhookEvent {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        Value::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType { content_type: "application/json", schema: Value::schema_ref() }],
            required: true,
        })
    }

    async fn from_request(
        _: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let body = body.take().map_err(ApiError::internal)?;
        let read = body.into_bytes_limit(MAX_BODY_BYTES).await;
        Ok(Self(read.map_err(|error| match error {
            ReadBodyError::PayloadTooLarge => ApiError::too_large(),
            error => ApiError::invalid_json(format!("the body is incomplete: {error}")),
        })?))
    }
}
