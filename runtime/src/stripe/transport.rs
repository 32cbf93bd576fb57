//! One form sent by HTTP, over a connection of its own, and the complete answer. Redirects are not followed,
//! and no proxy is used.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{self, ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};
use url::Url;

/// Timeout of the whole exchange.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum size of an answer, in bytes.
const LARGEST: usize = 1 << 20;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// The connector.
pub(super) struct Transport {
    tls: TlsConnector,
}

impl Transport {
    /// # Errors
    /// When the TLS of this process can't be set up.
    pub(super) fn new() -> Result<Self, rustls::Error> {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Sends a request to a server.
    ///
    /// # Errors
    /// When it can't be reached, doesn't answer with HTTP, or takes too long.
    pub(super) async fn send(
        &self,
        server: &Url,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), AnyError> {
        timeout(TIMEOUT, self.connect_and_send(server, request)).await?
    }

    async fn connect_and_send(
        &self,
        server: &Url,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), AnyError> {
        let host = server.host_str().ok_or("a URL without a host")?.trim_matches(['[', ']']);
        let port = server.port_or_known_default().ok_or("a URL without a port")?;
        let stream = TcpStream::connect((host, port)).await?;
        if server.scheme() == "https" {
            let name = ServerName::try_from(host.to_owned())?;
            exchange(self.tls.connect(name, stream).await?, request).await
        } else {
            exchange(stream, request).await
        }
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), AnyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driven = async {
        // Its result is part of the answer.
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    let asked = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST).collect().await?.to_bytes();
        Ok((status, body))
    };
    tokio::select! {
        answer = asked => answer,
        () = driven => unreachable!("it never resolves"),
    }
}
