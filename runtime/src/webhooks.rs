//! Webhooks: signed requests to URLs set by users, according to the Standard Webhooks specification.
//!
//! A request goes to public addresses only, unless the operator allows others: it connects to exactly the
//! addresses that were checked. Redirects are not followed, and no proxy is used.

mod guard;
mod signing;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming, client::conn::http1, header, http};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{self, ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};
use url::{Position, Url};

pub use guard::{AddressError, Guard};
pub use signing::SigningKey;

use crate::settings::{SettingError, Settings};

/// Timeout of an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// URL of the receiver.
    pub url: Url,
    /// Id, the same for each try, so that the receiver detects repetitions.
    pub id: String,
    /// Time of sending.
    pub at: DateTime<Utc>,
    /// Secret to sign it with.
    pub secret: String,
    /// JSON body.
    pub body: Bytes,
}

/// The reason why a request did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The address may not be called.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Permanent: the receiver refused it.
    #[error("the receiver answered {0}")]
    Refused(u16),
    /// Temporary: the receiver is unreachable, or answered so.
    #[error("{reason}")]
    NotNow {
        /// Message for display.
        reason: String,
        /// Wait that the receiver asks for, by `Retry-After`.
        wait: Option<Duration>,
    },
}

impl DeliveryError {
    fn not_now(reason: impl Into<String>) -> Self {
        Self::NotNow { reason: reason.into(), wait: None }
    }
}

/// The sender of webhooks.
#[async_trait]
pub trait WebhookSender: fmt::Debug + Send + Sync {
    /// Sends one; answers the receiver's status, which is a success.
    ///
    /// # Errors
    /// See [`DeliveryError`].
    async fn send(&self, delivery: &Delivery) -> Result<u16, DeliveryError>;
}

/// The sender of a process's configuration. `WEBHOOK_ALLOWED_NETWORKS`: networks (CIDR),
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

/// Sends over HTTP, a connection per request.
pub struct HttpSender {
    guard: Guard,
    tls: TlsConnector,
}

impl HttpSender {
    /// A sender with a guard.
    ///
    /// # Errors
    /// When the TLS of this process can't be set up.
    pub fn new(guard: Guard) -> Result<Self, rustls::Error> {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { guard, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Connects to an address that the guard allows, and sends the request.
    async fn post(&self, delivery: &Delivery) -> Result<Head, DeliveryError> {
        let url = &delivery.url;
        let addresses = self.guard.addresses(url).await?;
        let request = request(delivery).map_err(|_| AddressError::Url)?;
        let stream = TcpStream::connect(&addresses[..]).await.map_err(|_| unreachable_receiver())?;
        let answered = if url.scheme() == "https" {
            let name = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let name = ServerName::try_from(name).map_err(|_| AddressError::Url)?;
            let secured = self.tls.connect(name, stream).await;
            exchange(secured.map_err(|_| unreachable_receiver())?, request).await
        } else {
            exchange(stream, request).await
        };
        answered.map_err(|_| unreachable_receiver())
    }
}

impl fmt::Debug for HttpSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSender").field("guard", &self.guard).finish_non_exhaustive()
    }
}

fn unreachable_receiver() -> DeliveryError {
    DeliveryError::not_now("the receiver can't be reached")
}

/// The relevant parts of an answer's head.
struct Head {
    status: StatusCode,
    retry_after: Option<Duration>,
}

impl Head {
    fn of(answer: &Response<Incoming>) -> Self {
        let retry_after = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        Self {
            status: answer.status(),
            retry_after: retry_after.and_then(|value| wait_of(value, jobs::clock::now())),
        }
    }
}

/// The wait of `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3).
fn wait_of(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(value).ok()?;
    Some((date.with_timezone(&Utc) - now).to_std().unwrap_or_default())
}

fn request(delivery: &Delivery) -> Result<Request<Full<Bytes>>, http::Error> {
    let Delivery { url, id, at, secret, body } = delivery;
    let timestamp = at.timestamp();
    let host = &url[Position::BeforeHost..Position::AfterPort];
    Request::post(&url[Position::BeforePath..Position::AfterQuery])
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("Millrace/", env!("CARGO_PKG_VERSION")))
        .header(header::CONTENT_TYPE, "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signing::sign(secret, id, timestamp, body))
        .body(Full::new(body.clone()))
}

/// Sends a request and waits for the head of its answer; the rest is not read.
async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Head, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driven = async {
        // Its result is part of the answer.
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = sender.send_request(request) => answer.map(|answer| Head::of(&answer)),
        () = driven => unreachable!("it never resolves"),
    }
}

#[async_trait]
impl WebhookSender for HttpSender {
    async fn send(&self, delivery: &Delivery) -> Result<u16, DeliveryError> {
        let Head { status, retry_after } = tokio::time::timeout(TIMEOUT, self.post(delivery))
            .await
            .map_err(|_| DeliveryError::not_now("the receiver took too long"))??;
        let later = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        match status {
            status if status.is_success() => Ok(status.as_u16()),
            status if status.is_server_error() || later.contains(&status) => {
                let reason = format!("the receiver answered {}", status.as_u16());
                Err(DeliveryError::NotNow { reason, wait: retry_after })
            }
            status => Err(DeliveryError::Refused(status.as_u16())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_asks_to_wait_by_seconds_or_by_a_date() {
        let now = DateTime::parse_from_rfc3339("2026-11-29T12:00:00Z").unwrap().to_utc();
        assert_eq!(wait_of(" 120 ", now), Some(Duration::from_secs(120)));
        assert_eq!(wait_of("Sun, 29 Nov 2026 12:00:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(wait_of("Sun, 29 Nov 2026 11:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(wait_of("soon", now), None);
    }
}
