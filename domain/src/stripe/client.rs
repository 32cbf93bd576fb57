//! The client of Stripe's HTTP API: forms in, JSON out, an idempotency key on everything that creates.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http_body_util::Full;
use hyper::{Request, StatusCode, header, http};
use serde::{Deserialize, de::DeserializeOwned};
use url::{Position, Url, form_urlencoded};

use super::{
    Billing, NewCheckout, NewCustomer, NewSubscription, StripeError, Subscription, transport::Transport,
};

/// The version of the API that answers are read by, whatever the account's own is.
const API_VERSION: &str = "2024-06-20";

/// A form, in order.
type Form = Vec<(&'static str, String)>;

/// Talks to Stripe with an account's key.
pub(super) struct StripeClient {
    transport: Transport,
    key: String,
    base: Url,
}

/// What every object has.
#[derive(Deserialize)]
struct Created {
    id: String,
}

#[derive(Deserialize)]
struct CreatedSubscription {
    id: String,
    trial_end: Option<i64>,
}

#[derive(Deserialize)]
struct CreatedCheckout {
    url: String,
}

/// How Stripe says no.
#[derive(Default, Deserialize)]
struct Said {
    error: Option<SaidError>,
}

#[derive(Default, Deserialize)]
struct SaidError {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    param: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

impl StripeClient {
    /// A client for a key.
    pub(super) fn new(key: &str, base: Url) -> Result<Self, String> {
        if base.host_str().is_none() || !key.chars().all(|c| c.is_ascii_graphic()) {
            return Err("the key or the URL is none".to_owned());
        }
        let transport = Transport::new().map_err(|error| error.to_string())?;
        Ok(Self { transport, key: key.to_owned(), base })
    }

    async fn create<T: DeserializeOwned>(&self, path: &str, key: &str, form: Form) -> Result<T, StripeError> {
        let request =
            self.request(path, key, form).map_err(|error| StripeError::Misconfigured(error.to_string()))?;
        let answered = self.transport.send(&self.base, request).await;
        let (status, body) = answered.map_err(|error| StripeError::NotNow(error.to_string()))?;
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|error| StripeError::NotNow(format!("{path}: {error}")));
        }
        let said: Said = serde_json::from_slice(&body).unwrap_or_default();
        Err(refusal(status, said.error.unwrap_or_default()))
    }

    fn request(&self, path: &str, key: &str, form: Form) -> Result<Request<Full<Bytes>>, http::Error> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        Request::post(format!("{}/v1/{path}", self.base.path().trim_end_matches('/')))
            .header(header::HOST, &self.base[Position::BeforeHost..Position::AfterPort])
            .header(header::USER_AGENT, concat!("Millrace/", env!("CARGO_PKG_VERSION")))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("Stripe-Version", API_VERSION)
            .header("Idempotency-Key", key)
            .body(Full::new(body.into()))
    }
}

/// Whom an answer blames.
fn refusal(status: StatusCode, said: SaidError) -> StripeError {
    let message = said.message.unwrap_or_else(|| format!("status {}", status.as_u16()));
    let blames_the_payer = status == StatusCode::PAYMENT_REQUIRED
        || status.is_client_error()
            && said.param.as_deref().is_some_and(|param| param.contains("payment_method"));
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::CONFLICT => StripeError::NotNow(message),
        _ if blames_the_payer => StripeError::Refused(message),
        status if status.is_client_error() => StripeError::Misconfigured(format!(
            "{} {}: {message}",
            status.as_u16(),
            said.code.unwrap_or_default()
        )),
        _ => StripeError::NotNow(message),
    }
}

#[async_trait]
impl Billing for StripeClient {
    async fn create_customer(&self, key: &str, customer: &NewCustomer<'_>) -> Result<String, StripeError> {
        let mut form = vec![
            ("email", customer.email.to_owned()),
            ("name", customer.name.to_owned()),
            ("metadata[workspace_id]", customer.workspace.to_string()),
        ];
        if let Some(method) = customer.payment_method {
            form.push(("payment_method", method.to_owned()));
            form.push(("invoice_settings[default_payment_method]", method.to_owned()));
        }
        let created: Created = self.create("customers", key, form).await?;
        Ok(created.id)
    }

    async fn subscribe(&self, key: &str, new: &NewSubscription<'_>) -> Result<Subscription, StripeError> {
        let mut form = vec![
            ("customer", new.customer.to_owned()),
            ("items[0][price]", new.price.id.clone()),
            ("default_payment_method", new.payment_method.to_owned()),
            ("metadata[workspace_id]", new.workspace.to_string()),
            ("metadata[plan]", new.price.plan.clone()),
        ];
        if new.trial_days > 0 {
            form.push(("trial_period_days", new.trial_days.to_string()));
        }
        let created: CreatedSubscription = self.create("subscriptions", key, form).await?;
        let trial_ends_at = created.trial_end.and_then(|at| DateTime::<Utc>::from_timestamp(at, 0));
        Ok(Subscription { id: created.id, trial_ends_at })
    }

    async fn open_checkout(&self, key: &str, new: &NewCheckout<'_>) -> Result<String, StripeError> {
        let mut form = vec![
            ("mode", "subscription".to_owned()),
            ("customer", new.customer.to_owned()),
            ("client_reference_id", new.workspace.to_string()),
            ("line_items[0][price]", new.price.id.clone()),
            ("line_items[0][quantity]", "1".to_owned()),
            ("success_url", new.success_url.to_owned()),
            ("cancel_url", new.cancel_url.to_owned()),
            ("metadata[workspace_id]", new.workspace.to_string()),
            ("metadata[plan]", new.price.plan.clone()),
            ("subscription_data[metadata][workspace_id]", new.workspace.to_string()),
            ("subscription_data[metadata][plan]", new.price.plan.clone()),
        ];
        if new.trial_days > 0 {
            form.push(("subscription_data[trial_period_days]", new.trial_days.to_string()));
        }
        let created: CreatedCheckout = self.create("checkout/sessions", key, form).await?;
        Ok(created.url)
    }
}

impl fmt::Debug for StripeClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StripeClient").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, param: Option<&str>) -> StripeError {
        let said = SaidError { param: param.map(str::to_owned), ..SaidError::default() };
        refusal(StatusCode::from_u16(status).unwrap(), said)
    }

    #[test]
    fn an_answer_blames_the_payer_the_installation_or_the_moment() {
        assert!(matches!(refused(402, None), StripeError::Refused(_)));
        assert!(matches!(refused(400, Some("payment_method")), StripeError::Refused(_)));
        assert!(matches!(refused(400, Some("items[0][price]")), StripeError::Misconfigured(_)));
        assert!(matches!(refused(401, None), StripeError::Misconfigured(_)));
        for status in [409, 429, 500, 503] {
            assert!(matches!(refused(status, None), StripeError::NotNow(_)), "{status}");
        }
    }

    #[test]
    fn the_key_never_shows_itself() {
        let client = StripeClient::new("sk_live_hush", "https://api.stripe.com".parse().unwrap()).unwrap();
        assert!(!format!("{client:?}").contains("hush"));
    }
}
