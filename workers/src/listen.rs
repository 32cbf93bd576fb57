//! The listener of a process without an API at `METRICS_LISTEN`: its metrics, and its readiness.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use domain::installation::Probe;
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use jobs::{
    Bus,
    dispatch::{Leadership, Standing},
};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

/// Maximum time for a client to send its request.
const HEAD: Duration = Duration::from_secs(10);
/// Pause between two connections that can't be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// The sources of the answers.
#[derive(Clone)]
pub(crate) struct Told {
    pub figures: PrometheusHandle,
    /// Probe of PostgreSQL.
    pub probe: Arc<Probe>,
    /// Redis.
    pub bus: Bus,
    /// State of a scheduler.
    pub leadership: Option<Leadership>,
}

/// Answers for as long as it is polled.
pub(crate) async fn listen(listener: TcpListener, told: Told) {
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let told = told.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let told = told.clone();
                async move { Ok::<_, Infallible>(told.answer(request.uri().path()).await) }
            });
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
            if let Err(error) = builder.serve_connection(TokioIo::new(socket), service).await {
                tracing::debug!(%error, "a connection for metrics was aborted");
            }
        });
    }
}

/// Opens the port.
///
/// # Errors
/// When the address is not available.
pub(crate) async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

impl Told {
    async fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        match path {
            "/" | "/metrics" => say(StatusCode::OK, "text/plain; version=0.0.4", self.figures.render()),
            "/health" => say(StatusCode::OK, "application/json", r#"{"status":"ok"}"#.to_owned()),
            "/ready" => {
                let trouble = self.trouble().await;
                let status = if trouble.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                let mut body = match trouble {
                    None => serde_json::json!({ "status": "ready" }),
                    Some((code, detail)) => serde_json::json!({ "error": code, "detail": detail }),
                };
                if let Some(leadership) = &self.leadership {
                    body["leading"] = (leadership.standing() == Standing::Leading).into();
                }
                say(status, "application/json", body.to_string())
            }
            _ => say(StatusCode::NOT_FOUND, "application/json", r#"{"error":"not_found"}"#.to_owned()),
        }
    }

    /// The reason why the process can't do its work, if it can't.
    async fn trouble(&self) -> Option<(&'static str, String)> {
        if let Err(why) = self.probe.look().await {
            return Some(("database_unreachable", why));
        }
        if let Err(error) = self.bus.probe().await {
            return Some(("redis_unreachable", error.to_string()));
        }
        match self.leadership.as_ref().map(Leadership::standing) {
            Some(Standing::CutOff | Standing::Starting) => {
                Some(("not_leading", "it neither leads nor stands by to lead".to_owned()))
            }
            _ => None,
        }
    }
}

fn say(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}
