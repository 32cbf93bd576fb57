//! The one Redis server of an installation: connecting to it, and checking that it accepts writes.

use std::{
    sync::{PoisonError, RwLock, Weak},
    time::Duration,
};

use redis::{
    Client, IntoConnectionInfo, TlsCertificates,
    aio::{ConnectionManager, ConnectionManagerConfig},
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};

use tokio::sync::watch;

use super::RedisError;
use crate::tcp;

/// Interval of the write checks.
const PROBED: Duration = Duration::from_secs(2);
/// Timeout of a new connection, and of an answer.
pub(super) const CONNECT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(5);

/// A client of the server at that URL, which gives up a server that acknowledges nothing for so long.
pub(super) fn client(url: &str, ca: Option<&[u8]>, silence: Duration) -> Result<Client, RedisError> {
    let scheme = url.split("://").next().unwrap_or_default().to_ascii_lowercase();
    if scheme.contains("sentinel") {
        return Err(RedisError::Url(
            "Redis Sentinel is not supported; name the server, or a proxy that leads to it",
        ));
    }
    if scheme.contains("cluster") {
        return Err(RedisError::Url(CLUSTER));
    }
    if url.split(['?', '#']).next().unwrap_or_default().contains(',') {
        return Err(RedisError::Url("names several servers; Redis Cluster and Sentinel are not supported"));
    }
    let (first, pause) = tcp::probes(silence);
    let settings = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(TcpKeepalive::new().with_time(first).with_interval(pause))
        .set_user_timeout(silence);
    let info = url
        .into_connection_info()
        .map_err(|_| {
            RedisError::Url("is not of the form redis://[:password@]host:port/number or rediss://…")
        })?
        .set_tcp_settings(settings);
    let client = match ca {
        Some(ca) => {
            Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(ca.to_vec()) })
        }
        None => Client::open(info),
    };
    Ok(client?)
}

const CLUSTER: &str =
    "Redis Cluster is not supported, since scripts touch several keys at once; use a single server";

/// A connection that repairs itself.
pub(super) async fn connect(client: &Client) -> Result<ConnectionManager, redis::RedisError> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(ANSWER))
        .set_max_delay(Duration::from_secs(1));
    ConnectionManager::new_with_config(client.clone(), config).await
}

/// Checks the kind of the server.
///
/// # Errors
/// When it belongs to a cluster or is a sentinel.
pub(super) async fn look_at(connection: &mut ConnectionManager) -> Result<(), RedisError> {
    let info: String = match redis::cmd("INFO").query_async(connection).await {
        Ok(info) => info,
        Err(error) if error.kind() == redis::ErrorKind::Server(redis::ServerErrorKind::NoPerm) => {
            tracing::warn!(%error, "could not read the state of Redis: not checked for maxmemory-policy and clusters");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let value = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
            .unwrap_or_default()
    };
    match value("redis_mode") {
        "cluster" => return Err(RedisError::Unsupported(CLUSTER)),
        "sentinel" => {
            return Err(RedisError::Unsupported("this is a Redis Sentinel; name the server that it watches"));
        }
        _ => {}
    }
    let policy = value("maxmemory_policy");
    if policy.starts_with("allkeys") {
        tracing::warn!(
            policy,
            "Redis may evict queues and the counters of rate limits when its memory is full: set maxmemory-policy to \
             volatile-ttl or noeviction"
        );
    }
    Ok(())
}

/// Writes a value that is removed at once.
pub(super) async fn write(connection: &mut ConnectionManager, key: &str) -> Result<(), redis::RedisError> {
    redis::cmd("SET").arg(key).arg(1).arg("PX").arg(1).query_async(connection).await
}

/// Checks periodically whether the server accepts writes, until the last handle is dropped. A connection whose
/// server refuses them is dropped and made anew: after a failover the name may lead to another one. Once that accepts
/// writes, `moves` is notified.
pub(super) async fn keep_writable(
    connection: Weak<RwLock<ConnectionManager>>,
    client: Client,
    key: String,
    moves: watch::Sender<()>,
) {
    let mut ticks = tokio::time::interval(PROBED);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut writable, mut made_anew) = (true, false);
    loop {
        ticks.tick().await;
        let Some(shared) = connection.upgrade() else { return };
        let mut current = shared.read().unwrap_or_else(PoisonError::into_inner).clone();
        let written = write(&mut current, &key).await;
        metrics::gauge!("millrace_redis_writable").set(if written.is_ok() { 1.0 } else { 0.0 });
        if writable != written.is_ok() {
            writable = written.is_ok();
            match &written {
                Ok(()) => tracing::info!("Redis accepts writes again"),
                Err(error) => tracing::error!(%error, "Redis accepts no writes"),
            }
        }
        if written.is_ok() && std::mem::take(&mut made_anew) {
            moves.send_replace(());
        }
        // A connection that broke repairs itself.
        if written.is_err_and(|error| refuses(&error)) {
            match connect(&client).await {
                Ok(new) => {
                    *shared.write().unwrap_or_else(PoisonError::into_inner) = new;
                    made_anew = true;
                }
                Err(error) => tracing::debug!(%error, "could not connect to Redis anew"),
            }
        }
    }
}

/// Whether the server answers, and refuses to write: it is a replica (READONLY), full (OOM), can't save
/// (MISCONF), or lacks replicas.
fn refuses(error: &redis::RedisError) -> bool {
    error.kind() == redis::ErrorKind::Server(redis::ServerErrorKind::ReadOnly)
        || error.code().is_some_and(|code| {
            matches!(code, "READONLY" | "OOM" | "MISCONF" | "NOREPLICAS" | "MASTERDOWN" | "LOADING")
        })
}
