//! The bus: every name that Millrace uses in Redis, and the connection that publishes there.
//!
//! Nothing on the bus is the truth. A wake-up or an event that is lost is found again in the ledger
//! by whoever waits for it, so callers may ignore a failed publish once it is counted.

use std::{collections::BTreeSet, sync::Arc};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{JobId, Pool};

/// Live events go through this many pub/sub channels, by the job's id, however many jobs there are.
pub const EVENT_CHANNELS: u8 = 16;

/// A cheap handle on Redis, with the installation's key prefix.
#[derive(Clone)]
pub struct Bus {
    client: redis::Client,
    connection: ConnectionManager,
    prefix: Arc<str>,
    wakes: mpsc::UnboundedSender<Option<Pool>>,
}

impl Bus {
    /// Connects; afterwards the connection repairs itself.
    ///
    /// # Errors
    /// When the URL is malformed or Redis doesn't answer.
    pub async fn connect(url: &str, prefix: &str) -> Result<Self, redis::RedisError> {
        let client = redis::Client::open(url)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(std::time::Duration::from_secs(2)))
            .set_response_timeout(Some(std::time::Duration::from_secs(5)))
            .set_max_delay(std::time::Duration::from_secs(1));
        let connection = ConnectionManager::new_with_config(client.clone(), config).await?;
        let (wakes, due) = mpsc::unbounded_channel();
        let bus = Self { client, connection, prefix: prefix.into(), wakes };
        tokio::spawn(send_wakes(bus.connection(), bus.dispatch_channel(), due));
        Ok(bus)
    }

    /// Whether a URL is one of a Redis.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn check_url(url: &str) -> Result<(), redis::RedisError> {
        redis::Client::open(url).map(|_| ())
    }

    /// A handle on the shared, self-repairing connection.
    #[must_use]
    pub fn connection(&self) -> ConnectionManager {
        self.connection.clone()
    }

    /// Asks whether Redis answers.
    pub async fn ping(&self) -> Result<(), redis::RedisError> {
        redis::cmd("PING").query_async(&mut self.connection()).await
    }

    /// A connection of its own for pub/sub.
    pub async fn subscriber(&self) -> Result<redis::aio::PubSub, redis::RedisError> {
        self.client.get_async_pubsub().await
    }

    /// The channel on which the dispatcher hears that a pool has due jobs.
    #[must_use]
    pub fn dispatch_channel(&self) -> String {
        format!("{}:dispatch", self.prefix)
    }

    /// The channel on which the workers of a pool hear that their queue has ids.
    #[must_use]
    pub fn wake_channel(&self, pool: Pool) -> String {
        format!("{}:wake:{pool}", self.prefix)
    }

    /// Tells the dispatcher that a pool may have due jobs; `None`: that any may. Nobody waits for Redis
    /// here. When it isn't heard, the dispatcher's poll of the ledger finds them.
    pub(crate) fn wake(&self, pool: Option<Pool>) {
        // The task lives as long as this handle, so there is always a receiver.
        let _ = self.wakes.send(pool);
    }

    /// The channel on which workers hear that a running job is to be looked at (cancelled), or their own
    /// row (asked to pause or leave).
    #[must_use]
    pub fn control_channel(&self) -> String {
        format!("{}:control", self.prefix)
    }

    /// The apalis queue of a pool.
    #[must_use]
    pub fn queue(&self, pool: Pool) -> String {
        format!("{}:queue:{pool}", self.prefix)
    }

    /// The key whose absence tells the leader that Redis has lost its memory.
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

    /// The pub/sub channel on which watchers hear that a job's log has grown.
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
    mut connection: ConnectionManager,
    channel: String,
    mut due: mpsc::UnboundedReceiver<Option<Pool>>,
) {
    let mut wakes = Vec::new();
    while due.recv_many(&mut wakes, usize::MAX).await > 0 {
        let mut pipe = redis::pipe();
        for pool in wakes.drain(..).collect::<BTreeSet<_>>() {
            pipe.publish(&channel, pool.map_or("*", Pool::name)).ignore();
        }
        if let Err(error) = pipe.query_async::<()>(&mut connection).await {
            lost("wake", &error);
        }
    }
}

/// Counts a message that Redis did not take.
pub(crate) fn lost(what: &'static str, error: &redis::RedisError) {
    metrics::counter!("millrace_bus_lost_total", "what" => what).increment(1);
    tracing::warn!(%error, what, "the bus did not take a message; the ledger's pollers will find it");
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
