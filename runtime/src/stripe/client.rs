//! The client of Stripe's HTTP API: forms in, JSON out, an idempotency key on everything that creates.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http_body_util::Full;
use hyper::{Method, Request, StatusCode, header, http};
use serde::{Deserialize, de::DeserializeOwned};
use url::{Position, Url, form_urlencoded};

use super::{
    Billing, CurrentSubscription, NewCheckout, NewCustomer, NewSubscription, StripeError, Subscription,
    transport::Transport,
};

/// Version of the API for parsing answers, whatever the account's own is.
const API_VERSION: &str = "2024-06-20";

/// A form, in order.
type Form = Vec<(&'static str, String)>;

/// A client with an account's key.
pub(super) struct StripeClient {
    transport: Transport,
    key: String,
    base: Url,
}

/// The common part of every object.
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

/// A subscription, as far as it is read.
#[derive(Deserialize)]
struct SaidSubscription {
    id: String,
    status: String,
    trial_end: Option<i64>,
    #[serde(default)]
    created: i64,
    #[serde(default)]
    items: SaidItems,
    #[serde(default)]
    metadata: SaidMetadata,
}

#[derive(Default, Deserialize)]
struct SaidItems {
    data: Vec<SaidItem>,
}

#[derive(Deserialize)]
struct SaidItem {
    price: Created,
}

#[derive(Default, Deserialize)]
struct SaidMetadata {
    plan: Option<String>,
}

/// An error of Stripe's API.
#[derive(Deserialize)]
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
        let is_key =
            ["sk_", "rk_"].iter().any(|prefix| key.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()));
        if !is_key || !key.chars().all(|c| c.is_ascii_graphic()) {
            return Err("expected sk_… or rk_…, as Stripe shows it".to_owned());
        }
        let transport = Transport::new().map_err(|error| error.to_string())?;
        Ok(Self { transport, key: key.to_owned(), base })
    }

    async fn create<T: DeserializeOwned>(&self, path: &str, key: &str, form: Form) -> Result<T, StripeError> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self
            .request(Method::POST, &[path])
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("Idempotency-Key", key)
            .body(Full::new(body.into()));
        let (status, body) = self.send(request).await?;
        if status.is_success() { read(path, &body) } else { Err(refusal(status, said(&body))) }
    }

    /// The object under a path; none if there is none.
    async fn fetch<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Option<T>, StripeError> {
        let (status, body) = self.send(self.request(Method::GET, path).body(Full::default())).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => read(&path.join("/"), &body).map(Some),
            status => Err(refusal(status, said(&body))),
        }
    }

    async fn send(
        &self,
        request: Result<Request<Full<Bytes>>, http::Error>,
    ) -> Result<(StatusCode, Bytes), StripeError> {
        let request = request.map_err(|error| StripeError::Misconfigured(error.to_string()))?;
        let answered = self.transport.send(&self.base, request).await;
        answered.map_err(|error| StripeError::NotNow(error.to_string()))
    }

    fn request(&self, method: Method, path: &[&str]) -> http::request::Builder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            // A path of ours has slashes; an id of theirs is one segment.
            segments.pop_if_empty().push("v1").extend(path.iter().flat_map(|part| part.split('/')));
        }
        Request::builder()
            .method(method)
            .uri(url.path())
            .header(header::HOST, &self.base[Position::BeforeHost..Position::AfterPort])
            .header(header::USER_AGENT, concat!("Millrace/", env!("CARGO_PKG_VERSION")))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .header("Stripe-Version", API_VERSION)
    }
}

fn read<T: DeserializeOwned>(path: &str, body: &[u8]) -> Result<T, StripeError> {
    serde_json::from_slice(body).map_err(|error| StripeError::NotNow(format!("{path}: {error}")))
}

/// The error of Stripe; for an answer that isn't Stripe's, its beginning.
fn said(body: &[u8]) -> SaidError {
    let said = serde_json::from_slice::<Said>(body).ok().and_then(|said| said.error);
    said.unwrap_or_else(|| {
        let beginning: String = String::from_utf8_lossy(body).chars().take(200).collect();
        let message = (!beginning.is_empty()).then(|| format!("not an answer of Stripe's: {beginning}"));
        SaidError { message, ..SaidError::default() }
    })
}

/// The error of an answer by its status.
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

    async fn subscription(&self, id: &str) -> Result<Option<CurrentSubscription>, StripeError> {
        // An id is one segment of a path, whatever it contains.
        if id.is_empty() || id.contains('/') {
            return Ok(None);
        }
        let said: Option<SaidSubscription> = self.fetch(&["subscriptions", id]).await?;
        Ok(said.map(|said| CurrentSubscription {
            id: said.id,
            status: said.status,
            prices: said.items.data.into_iter().map(|item| item.price.id).collect(),
            noted_plan: said.metadata.plan,
            trial_ends_at: said.trial_end.and_then(|at| DateTime::<Utc>::from_timestamp(at, 0)),
            created: said.created,
        }))
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
