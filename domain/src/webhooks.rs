//! Webhooks: signed requests to addresses that users name, after the Standard Webhooks specification.
//!
//! A request goes to public addresses only, unless the operator allows others: what a name leads to is
//! looked at when the connection is made, redirects are not followed, and no proxy of the environment is
//! used.

mod guard;
mod signing;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use reqwest::{Client, StatusCode, header, redirect};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use url::Url;

pub use guard::{AddressError, Guard};
pub use signing::SigningKey;

use crate::settings::{SettingError, Settings};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A request about to be sent.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Where to.
    pub url: Url,
    /// The same for each try, so that whoever receives it twice knows it.
    pub id: String,
    /// When it is sent.
    pub at: DateTime<Utc>,
    /// What it is signed with.
    pub secret: String,
    /// JSON.
    pub body: Bytes,
}

/// Why a request did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The address may not be called.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The receiver refused it, and would do so again.
    #[error("the receiver answered {0}")]
    Refused(u16),
    /// Perhaps later: the receiver is away, or said so.
    #[error("{0}")]
    NotNow(String),
}

/// What sends webhooks.
#[async_trait]
pub trait WebhookSender: fmt::Debug + Send + Sync {
    /// Sends one; answers with the receiver's status, which is a success.
    ///
    /// # Errors
    /// See [`DeliveryError`].
    async fn send(&self, delivery: &Delivery) -> Result<u16, DeliveryError>;
}

/// The sender that a process's configuration asks for. `WEBHOOK_ALLOWED_NETWORKS`: networks (CIDR),
/// separated by commas, that may be called although they are not public.
///
/// # Errors
/// When that is malformed.
pub fn from_settings(settings: &Settings) -> Result<Arc<dyn WebhookSender>, SettingError> {
    let guard = Guard::new(settings.list("WEBHOOK_ALLOWED_NETWORKS")?);
    let http =
        HttpSender::new(guard).map_err(|error| SettingError::malformed("WEBHOOK_ALLOWED_NETWORKS", error))?;
    Ok(Arc::new(http))
}

/// Sends over HTTP.
#[derive(Debug)]
pub struct HttpSender {
    http: Client,
    guard: Guard,
}

impl HttpSender {
    /// A sender within a guard.
    ///
    /// # Errors
    /// When the TLS of this process can't be set up.
    pub fn new(guard: Guard) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let http = Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(guard.clone())
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .connect_timeout(Duration::from_secs(10))
            .user_agent(concat!("Millrace/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http, guard })
    }
}

#[async_trait]
impl WebhookSender for HttpSender {
    async fn send(&self, delivery: &Delivery) -> Result<u16, DeliveryError> {
        self.guard.check(&delivery.url)?;
        let timestamp = delivery.at.timestamp();
        let sent = self
            .http
            .post(delivery.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", &delivery.id)
            .header("webhook-timestamp", timestamp)
            .header(
                "webhook-signature",
                signing::sign(&delivery.secret, &delivery.id, timestamp, &delivery.body),
            )
            .body(delivery.body.clone())
            .send()
            .await;
        let status = match sent {
            Ok(answer) => answer.status(),
            Err(error) => {
                return Err(match AddressError::within(&error) {
                    Some(refused) => refused.into(),
                    None if error.is_timeout() => {
                        DeliveryError::NotNow("the receiver took too long".to_owned())
                    }
                    None => DeliveryError::NotNow("the receiver can't be reached".to_owned()),
                });
            }
        };
        let later = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        match status {
            status if status.is_success() => Ok(status.as_u16()),
            status if status.is_server_error() || later.contains(&status) => {
                Err(DeliveryError::NotNow(format!("the receiver answered {}", status.as_u16())))
            }
            status => Err(DeliveryError::Refused(status.as_u16())),
        }
    }
}
