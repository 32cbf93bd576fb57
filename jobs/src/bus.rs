//! The bus: every name that Millrace uses in Redis, and the connection that publishes there.
//!
//! Nothing on the bus is the truth. A lost wake-up or event is found again in the ledger
//! by its consumer, so callers may ignore a failed publish once it is counted.

mod server;

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, PoisonError, RwLock, Weak},
    time::Duration,
};

use futures::{StreamExt, stream::BoxStream};
use redis::aio::ConnectionManager;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use uuid::Uuid;

use crate::{JobId, Pool};

/// Number of pub/sub channels for live events, selected by the job's id, however many jobs exist.
pub const EVENT_CHANNELS: u8 = 16;

/// Timeout of Redis for a probe.
const PROBE: Duration = Duration::from_secs(1);

/// Redis can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// The URL is not one of a single server.
    #[error("REDIS_URL: {0}")]
    Url(&'static str),
    /// It is no single server.
    #[error("{0}")]
    Unsupported(&'static str),
    /// It does not answer in time.
    #[error("it does not answer")]
    Silent,
    /// It refuses, or is unreachable.
    #[error(transparent)]
    Redis(#[from] redis::RedisError),
}

/// A cheap handle on Redis, with the installation's key prefix.
#[derive(Clone)]
pub struct Bus {
    client: redis::Client,
    connection: Arc<RwLock<ConnectionManager>>,
    /// Notified when the connection leads to a server that accepts writes, after one that refused them.
    moved: watch::Receiver<()>,
    prefix: Arc<str>,
    wakes: mpsc::UnboundedSender<Option<Pool>>,
}

impl Bus {
    /// Connects; afterwards the connection repairs itself.
    ///
    /// # Errors
    /// When the URL is malformed, Redis doesn't answer, or it is no single server.
    pub async fn connect(
        url: &str,
        ca: Option<&[u8]>,
        prefix: &str,
        silence: Duration,
    ) -> Result<Self, RedisError> {
        let client = server::client(url, ca, silence)?;
        let mut connection = server::connect(&client).await?;
        server::look_at(&mut connection).await?;
        let connection = Arc::new(RwLock::new(connection));
        let (wakes, due) = mpsc::unbounded_channel();
        let (moves, moved) = watch::channel(());
        let bus = Self { client, connection, moved, prefix: prefix.into(), wakes };
        tokio::spawn(send_wakes(Arc::downgrade(&bus.connection), bus.dispatch_channel(), due));
        tokio::spawn(server::keep_writable(
            Arc::downgrade(&bus.connection),
            bus.client.clone(),
            bus.probe_key(),
            moves,
        ));
        Ok(bus)
    }

    /// Whether a URL is one of a single Redis.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_url(url: &str) -> Result<(), &'static str> {
        match server::client(url, None, server::CONNECT) {
            Ok(_) => Ok(()),
            Err(RedisError::Url(reason) | RedisError::Unsupported(reason)) => Err(reason),
            Err(_) => Err("is not the URL of a supported Redis server"),
        }
    }

    /// A handle on the shared, self-repairing connection.
    #[must_use]
    pub fn connection(&self) -> ConnectionManager {
        self.connection.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Probes whether Redis accepts writes.
    ///
    /// # Errors
    /// The reason why it doesn't, or that it doesn't answer within [`PROBE`].
    pub async fn probe(&self) -> Result<(), RedisError> {
        match timeout(PROBE, server::write(&mut self.connection(), &self.probe_key())).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(RedisError::Silent),
        }
    }

    /// Key of the probe's value, which is removed at once.
    fn probe_key(&self) -> String {
        format!("{}:probe", self.prefix)
    }

    /// The messages on channels from now on, over a connection of its own. It ends when that connection is
    /// lost, and when the bus has moved to another server: messages published there are not received from the
    /// old one.
    pub async fn messages(
        &self,
        channels: impl redis::ToRedisArgs,
    ) -> Result<BoxStream<'static, redis::Msg>, redis::RedisError> {
        let mut moved = self.moved.clone();
        moved.mark_unchanged();
        let connect = async {
            let mut subscriber = self.client.get_async_pubsub().await?;
            subscriber.subscribe(channels).await?;
            Ok(subscriber)
        };
        let subscriber = timeout(server::CONNECT, connect).await.unwrap_or_else(|_| {
            let silent = io::Error::new(io::ErrorKind::TimedOut, "Redis does not answer");
            Err(redis::RedisError::from(silent))
        })?;
        let moved = async move { moved.changed().await };
        Ok(subscriber.into_on_message().take_until(moved).boxed())
    }

    /// The channel on which the dispatcher is notified that a pool has due jobs.
    #[must_use]
    pub fn dispatch_channel(&self) -> String {
        format!("{}:dispatch", self.prefix)
    }

    /// The channel on which the workers of a pool are notified that their queue has ids.
    #[must_use]
    pub fn wake_channel(&self, pool: Pool) -> String {
        format!("{}:wake:{pool}", self.prefix)
    }

    /// Notifies the dispatcher that a pool may have due jobs; `None`: that any may. Doesn't wait for
    /// Redis. If the message is lost, the dispatcher's poll of the ledger finds the jobs.
    pub(crate) fn wake(&self, pool: Option<Pool>) {
        // The task lives as long as this handle, so there is always a receiver.
        let _ = self.wakes.send(pool);
    }

    /// The channel on which workers are notified of requests to a running job (cancel), or to themselves
    /// (pause or drain).
    #[must_use]
    pub fn control_channel(&self) -> String {
        format!("{}:control", self.prefix)
    }

    /// The apalis queue of a pool.
    #[must_use]
    pub fn queue(&self, pool: Pool) -> String {
        format!("{}:queue:{pool}", self.prefix)
    }

    /// The key whose absence tells the leader that Redis has lost its data.
    #[must_use]
    pub fn marker_key(&self) -> String {
        format!("{}:marker", self.prefix)
    }

    /// The counter of a rate limit's window.
    #[must_use]
    pub fn rate_key(&self, bucket: &str) -> String {
        format!("{}:rate:{bucket}", self.prefix)
    }

    /// The capped stream that keeps a job's events.
    #[must_use]
    pub fn history_key(&self, job: JobId) -> String {
        format!("{}:events:{job}", self.prefix)
    }

    /// The pub/sub channel of a job's live events.
    #[must_use]
    pub fn event_channel(&self, job: JobId) -> String {
        self.event_channel_number(job.0.as_bytes()[15] % EVENT_CHANNELS)
    }

    /// All channels of live events.
    #[must_use]
    pub fn event_channels(&self) -> Vec<String> {
        (0..EVENT_CHANNELS).map(|n| self.event_channel_number(n)).collect()
    }

    fn event_channel_number(&self, n: u8) -> String {
        format!("{}:live:{n}", self.prefix)
    }

    /// The pub/sub channel on which watchers are notified that a job's log has grown.
    #[must_use]
    pub fn log_channel(&self, job: JobId) -> String {
        self.log_channel_number(job.0.as_bytes()[15] % EVENT_CHANNELS)
    }

    /// All channels of growing logs.
    #[must_use]
    pub fn log_channels(&self) -> Vec<String> {
        (0..EVENT_CHANNELS).map(|n| self.log_channel_number(n)).collect()
    }

    fn log_channel_number(&self, n: u8) -> String {
        format!("{}:log:{n}", self.prefix)
    }

    /// The stream that keeps the events of a workspace for the application's own stream.
    #[must_use]
    pub fn workspace_channel(&self, workspace: Uuid) -> String {
        format!("{}:workspace:{workspace}", self.prefix)
    }
}

/// Sends wake-ups, each pool's once however many are due together, until the last handle is dropped.
async fn send_wakes(
    connection: Weak<RwLock<ConnectionManager>>,
    channel: String,
    mut due: mpsc::UnboundedReceiver<Option<Pool>>,
) {
    let mut wakes = Vec::new();
    while due.recv_many(&mut wakes, usize::MAX).await > 0 {
        let mut pipe = redis::pipe();
        for pool in wakes.drain(..).collect::<BTreeSet<_>>() {
            pipe.publish(&channel, pool.map_or("*", Pool::name)).ignore();
        }
        let Some(connection) = connection.upgrade() else { return };
        let mut connection = connection.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Err(error) = pipe.query_async::<()>(&mut connection).await {
            lost("wake", &error);
        }
    }
}

/// Counts a message that Redis did not accept.
pub(crate) fn lost(what: &'static str, error: &redis::RedisError) {
    metrics::counter!("millrace_bus_lost_total", "what" => what).increment(1);
    tracing::warn!(%error, what, "the bus did not accept a message; polling the ledger will find it");
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
