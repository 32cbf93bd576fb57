//! The accept loop: a task per connection, for HTTP/1.1 and, for proxies that speak it without TLS, HTTP/2.
//!
//! It is our own because of the cost of an open stream. The framework's detects the protocol by
//! reading the first bytes ahead, whereupon the connection's buffer grows to twice its size, and it
//! keeps memory for both protocols, and for a whole request, as long as the connection is open. Here the
//! first bytes are only peeked at, and the memory of a request is freed when its answer begins. The listener's queue
//! is long enough for all clients whose streams another process dropped. And the last answer to a client that still
//! sends arrives.

mod crowd;
mod linger;

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant},
};

use api_kit::AmbiguousHost;

pub use crowd::Crowd;
use crowd::TooMany;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use linger::Closing;
use poem::{
    Endpoint, Request,
    http::{self, Version, header, uri::Scheme},
    web::{LocalAddr, RemoteAddr},
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Maximum number of connections that wait to be accepted; the system may allow less.
const BACKLOG: u32 = 4096;
/// Delay after a failure to accept a connection, for example for lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// Maximum time for a client to send the head of a request, and maximum idle time of a connection between
/// two: closes connections that never send a request.
const HEAD: Duration = Duration::from_secs(30);
/// Minimum interval of log messages about refused connections.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// The first bytes of HTTP/2. No method of HTTP/1.1 begins like that.
const PREFACE: &[u8; 3] = b"PRI";

/// Listens at an address.
///
/// # Errors
/// When the address is not available.
pub fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

/// Serves until `stop`; then requests in flight may continue for `grace`, and connections still open after
/// that are aborted.
pub async fn serve<E>(
    listener: TcpListener,
    endpoint: E,
    crowd: Crowd,
    stop: impl Future<Output = ()>,
    grace: Duration,
) where
    E: Endpoint + 'static,
{
    let (endpoint, closing) = (Arc::new(endpoint), Arc::new(Closing::default()));
    let (leaving, over) = (CancellationToken::new(), CancellationToken::new());
    let connections = TaskTracker::new();
    let mut stop = pin!(stop);
    let mut told = None;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((socket, peer)) => {
                let held = match crowd.enter(peer) {
                    Ok(held) => held,
                    Err(TooMany(client)) => {
                        refuse(client, &mut told);
                        continue;
                    }
                };
                let connection = connection(socket, peer, Arc::clone(&endpoint), leaving.clone());
                let (closing, leaving) = (Arc::clone(&closing), leaving.clone());
                let connection = async move {
                    if let Some(socket) = connection.await {
                        closing.close(socket, &leaving).await;
                    }
                    drop(held);
                };
                connections.spawn(over.clone().run_until_cancelled_owned(connection));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    leaving.cancel();
    connections.close();
    if timeout(grace, connections.wait()).await.is_err() {
        over.cancel();
        connections.wait().await;
    }
}

/// Counts a connection that is closed at once, and logs a summary from time to time.
fn refuse(client: IpAddr, told: &mut Option<Instant>) {
    metrics::counter!("millrace_http_connections_refused_total").increment(1);
    if told.is_none_or(|told| told.elapsed() > TOLD_EVERY) {
        *told = Some(Instant::now());
        tracing::warn!(
            %client,
            "refused a connection: this client has MAX_CONNECTIONS_PER_ADDRESS; if it is a proxy, name it in \
             TRUSTED_PROXIES"
        );
    }
}

/// Marks a request that doesn't name its host in exactly one way (RFC 9112, 3.2).
fn check_host(request: &mut http::Request<Incoming>) {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    let needed = usize::from(request.version() == Version::HTTP_11);
    if hosts > 1 || (hosts < needed) {
        request.extensions_mut().insert(AmbiguousHost);
    }
}

/// One connection, to its end: its socket, where it is still to be closed. Its errors concern only the peer.
async fn connection<E>(
    socket: TcpStream,
    peer: SocketAddr,
    endpoint: Arc<E>,
    leaving: CancellationToken,
) -> Option<TcpStream>
where
    E: Endpoint + 'static,
{
    // An event is a small packet that should be sent at once.
    let (Ok(local), Ok(())) = (socket.local_addr(), socket.set_nodelay(true)) else { return None };
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        check_host(&mut request);
        let endpoint = Arc::clone(&endpoint);
        let addresses = (LocalAddr(local.into()), RemoteAddr(peer.into()));
        let request = Request::from((request, addresses.0, addresses.1, Scheme::HTTP));
        // Boxed: the memory of this future is kept as long as the connection.
        Box::pin(
            async move { Ok::<_, Infallible>(hyper::Response::from(endpoint.get_response(request).await)) },
        )
    });
    let mut first = [0; PREFACE.len()];
    let looked = tokio::select! {
        looked = timeout(HEAD, socket.peek(&mut first)) => looked,
        () = leaving.cancelled() => return None,
    };
    let looked = looked.ok()?;
    let socket = TokioIo::new(socket);
    if looked.is_ok() && first == *PREFACE {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        // A peer that answers no ping is lost, with all of its streams.
        builder.timer(TokioTimer::new()).keep_alive_interval(HEAD);
        let connection = builder.serve_connection(socket, service);
        let mut connection = Box::pin(connection);
        tokio::select! {
            _ = connection.as_mut() => return None,
            () = leaving.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
        None
    } else {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
        let mut connection = builder.serve_connection(socket, service);
        let mut is_leaving = pin!(leaving.cancelled());
        let mut asked = false;
        // Without closing the connection, which the caller does.
        let ended = poll_fn(|context| {
            if !asked && is_leaving.as_mut().poll(context).is_ready() {
                asked = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            connection.poll_without_shutdown(context)
        });
        // A client that knows that this process is stopping sends nothing more.
        let ended = ended.await;
        (ended.is_ok() && !leaving.is_cancelled()).then(|| connection.into_parts().io.into_inner())
    }
}
