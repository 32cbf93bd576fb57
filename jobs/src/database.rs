//! The database handle and the one transaction type of Millrace.
//!
//! [`Tx`] ensures that a job exists if and only if the change that enqueued it was committed:
//! jobs are inserted through it, and its commit sends the wake-ups afterwards.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool, Postgres, Transaction, pool::PoolConnection,
    postgres::PgPoolOptions,
};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::{
    Bus, FairUse, PayloadError, PayloadKeys, Pool, Reach,
    bus::RedisError,
    control::{self, Asked},
    fair::{self, ACQUIRE, Fair, Held, OnBehalf},
    reach, roster, server,
    watch::Event,
    watch::publish,
};

/// The schemas of a transaction that belongs to no workspace.
pub(crate) const SHARED_PATH: &str = "control,shard,shard_api,ext";

/// A connection that has been idle no longer than this is used without checking whether it still
/// works, which costs a round trip. If the server restarts within it, the user of the
/// connection gets the same error as the users of active connections.
const PRESUMED_ALIVE: Duration = Duration::from_millis(200);

/// Maximum time that a request waits, after its commit, for the bus to accept its events.
pub(crate) const MAX_AFTER_COMMIT: Duration = Duration::from_secs(2);

/// Number of concurrent announcements, after a commit, of cancel requests to workers.
const TOLD_AT_ONCE: usize = 16;

/// A server that a process needs is unreachable.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// PostgreSQL.
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
    /// Redis.
    #[error("Redis: {0}")]
    Bus(#[from] RedisError),
}

/// A cheap handle on PostgreSQL and the bus, shared by everything in a process.
#[derive(Clone, Debug)]
pub struct Database {
    /// Connections as Millrace's own login, `search_path` on the shared schemas.
    pub pool: PgPool,
    /// Wake-ups and live events.
    pub bus: Bus,
    /// Whether PostgreSQL is reachable.
    pub reach: Reach,
    /// Settings of new connections.
    aside: server::Recipe,
    /// Keys with which secrets in payloads are encrypted.
    pub(crate) keys: PayloadKeys,
    /// Limits of one workspace's use of connections, where there are any.
    fair: Option<Fair>,
    /// Workspace that this handle works for.
    on_behalf: Option<OnBehalf>,
}

/// Parameters of a process's connections.
#[derive(Debug, Clone)]
pub struct Connect<'a> {
    /// PostgreSQL, as Millrace's own login.
    pub database_url: &'a str,
    /// Redis.
    pub redis_url: &'a str,
    /// CA certificates (PEM) for Redis, in place of the system's.
    pub redis_ca: Option<&'a [u8]>,
    /// Prefix of every name in Redis.
    pub redis_prefix: &'a str,
    /// Maximum number of connections to PostgreSQL.
    pub connections: u32,
    /// Maximum silence of either end of a connection. A transaction that is idle for this long is
    /// ended by the server: below the lease, so that a worker cut off from the network doesn't block the
    /// next holder of its job. A server that acknowledges nothing for this long is given up.
    pub silence: Duration,
    /// For processes that answer requests; jobs may take the time that they need.
    pub fair_use: Option<FairUse>,
}

impl Database {
    /// Connects to both servers.
    ///
    /// # Errors
    /// When a URL is malformed or a server doesn't answer.
    pub async fn connect(to: &Connect<'_>) -> Result<Self, ConnectError> {
        let milliseconds = to.silence.as_millis().to_string();
        let fair = to.fair_use.as_ref().map(fair::settings);
        let fair = fair.iter().flatten().map(|(name, value)| (*name, value.as_str()));
        let own =
            [("search_path", SHARED_PATH), ("idle_in_transaction_session_timeout", milliseconds.as_str())];
        let settings = server::settings(to.silence, own.into_iter().chain(fair));
        let options = server::options(to.database_url, "millrace")?;
        let recipe = server::Recipe::new(options.clone(), to.silence, settings);
        let aside = recipe.clone();
        let mut pool = PgPoolOptions::new();
        if to.fair_use.is_some() {
            pool = pool.after_release(|connection, _| Box::pin(fair::has_finished(connection)));
        }
        let pool = pool
            .max_connections(to.connections)
            .acquire_timeout(ACQUIRE)
            .test_before_acquire(false)
            .before_acquire(|connection, metadata| {
                Box::pin(async move {
                    if metadata.idle_for > PRESUMED_ALIVE {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .after_connect(move |connection, _| {
                let recipe = recipe.clone();
                Box::pin(async move {
                    recipe.begin(connection).await?;
                    if reach::is_standby(connection).await? {
                        return Err(sqlx::Error::Io(io::Error::other(reach::STANDBY)));
                    }
                    Ok(())
                })
            })
            .connect_with(options.clone())
            .await?;
        server::tell_of_clear_text(&options, &pool).await?;
        Ok(Self {
            pool,
            bus: Bus::connect(to.redis_url, to.redis_ca, to.redis_prefix, to.silence).await?,
            reach: Reach::start(options),
            aside,
            keys: PayloadKeys::default(),
            fair: to.fair_use.as_ref().map(Fair::new),
            on_behalf: None,
        })
    }

    /// A connection outside the pool, for checks that must not wait for requests.
    pub async fn connect_aside(&self) -> Result<PgConnection, sqlx::Error> {
        self.aside.connect().await
    }

    /// The same handle, with the keys of secrets in payloads. Without them no job with secrets can be
    /// enqueued or run.
    #[must_use]
    pub fn with_keys(self, keys: PayloadKeys) -> Self {
        Self { keys, ..self }
    }

    /// The same handle for one request of a workspace: its connections count against the workspace's share.
    #[must_use]
    pub fn on_behalf_of(&self, workspace: Uuid) -> Self {
        Self { on_behalf: Some(OnBehalf::of(workspace)), ..self.clone() }
    }

    /// Encrypts a secret to be stored in the database, for one place.
    ///
    /// # Errors
    /// When this process was started without keys.
    pub fn seal(&self, plain: &[u8], place: &str) -> Result<String, PayloadError> {
        self.keys.seal(plain, place)
    }

    /// Decrypts a secret of that place.
    ///
    /// # Errors
    /// When the key is not known here, or the value was altered.
    pub fn unseal(&self, sealed: &str, place: &str) -> Result<Vec<u8>, PayloadError> {
        self.keys.open(sealed, place)
    }

    /// Begins a transaction on the shared schemas.
    pub async fn begin(&self) -> Result<Tx, sqlx::Error> {
        // Before a connection is taken, not while one is held.
        let place = self.place().await?;
        let mut tx = Tx::new(self, self.pool.begin().await?);
        tx.place = place;
        Ok(tx)
    }

    /// A connection for reading the shared schemas, outside of transactions, for callers that need one statement.
    pub async fn reader(&self) -> Result<Reader, sqlx::Error> {
        let place = self.place().await?;
        Ok(Reader(Some((self.pool.acquire().await?, place))))
    }

    /// A connection for reading more than [`crate::MAX_QUICK_ROWS`] of the shared schemas on a workspace's behalf. To
    /// be requested while no other is held.
    async fn long_reader(&self) -> Result<Reader, sqlx::Error> {
        let place = match (&self.fair, &self.on_behalf) {
            (Some(fair), Some(on_behalf)) => Some(fair.long_read(on_behalf.workspace).await?),
            _ => None,
        };
        Ok(Reader(Some((self.pool.acquire().await?, place))))
    }

    /// Begins a transaction whose statements run as a workspace's role, seeing its schema only.
    /// `set local` ends with the transaction, so the pooled connection is returned clean.
    pub async fn begin_as_workspace(&self, workspace: Uuid, read_only: bool) -> Result<Tx, sqlx::Error> {
        // Before a connection is taken, not while one is held.
        let place = self.place_of(workspace).await?;
        self.enter(workspace, read_only, place).await
    }

    /// The same for reading more than [`crate::MAX_QUICK_ROWS`]. To be requested while no other is held.
    pub async fn begin_long_read(&self, workspace: Uuid) -> Result<Tx, sqlx::Error> {
        let place = match &self.fair {
            Some(fair) => Some(fair.long_read(workspace).await?),
            None => None,
        };
        self.enter(workspace, true, place).await
    }

    async fn enter(
        &self,
        workspace: Uuid,
        read_only: bool,
        place: Option<Arc<Held>>,
    ) -> Result<Tx, sqlx::Error> {
        let mode = if read_only { " read only" } else { "" };
        // One round trip.
        let begin = format!("begin{mode}; {}", role_of(workspace));
        let mut tx = Tx::new(self, self.pool.begin_with(AssertSqlSafe(begin)).await?);
        tx.workspace = Some(workspace);
        tx.place = place;
        Ok(tx)
    }

    /// A place of the workspace that this handle works for, if any.
    async fn place(&self) -> Result<Option<Arc<Held>>, sqlx::Error> {
        match (&self.fair, &self.on_behalf) {
            (Some(fair), Some(on_behalf)) => on_behalf.place(fair).await.map(Some),
            _ => Ok(None),
        }
    }

    /// A place of that workspace.
    async fn place_of(&self, workspace: Uuid) -> Result<Option<Arc<Held>>, sqlx::Error> {
        match (&self.fair, &self.on_behalf) {
            (Some(_), Some(on_behalf)) if on_behalf.workspace == workspace => self.place().await,
            (Some(fair), _) => fair.place(workspace).await.map(Some),
            (None, _) => Ok(None),
        }
    }
}

/// The schema, and the role, of a workspace.
#[must_use]
pub fn workspace_schema(workspace: Uuid) -> String {
    format!("ws_{}", workspace.simple())
}

/// The statements by which a transaction takes a workspace's role and sees its schema only. Identifiers made
/// of hex digits: nothing here comes from a client.
fn role_of(workspace: Uuid) -> String {
    let schema = workspace_schema(workspace);
    format!("set local role {schema}; set local search_path = {schema}, shard_api, ext, pg_temp;")
}

/// See [`Database::reader`].
#[derive(Debug)]
pub struct Reader(Option<(PoolConnection<Postgres>, Option<Arc<Held>>)>);

impl Reader {
    /// The connection, for SQL.
    ///
    /// # Panics
    /// Never: only dropping takes the connection away.
    pub fn conn(&mut self) -> &mut PgConnection {
        let (connection, _) = self.0.as_mut().expect("a reader that is not dropped");
        connection
    }

    /// The same for reading so many rows: more than [`crate::MAX_QUICK_ROWS`] wait for a place among the long
    /// reads, without a connection.
    pub async fn for_rows(self, database: &Database, rows: i64) -> Result<Self, sqlx::Error> {
        if rows <= crate::MAX_QUICK_ROWS {
            return Ok(self);
        }
        drop(self);
        database.long_reader().await
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some((connection, Some(place))) = self.0.take() {
            fair::give_back(connection, place);
        }
    }
}

/// A transaction. Dropped without [`Tx::commit`], it rolls back, together with the jobs that it enqueued.
#[derive(Debug)]
pub struct Tx {
    /// Taken only by [`Tx::commit`] and by dropping.
    inner: Option<Transaction<'static, Postgres>>,
    database: Database,
    workspace: Option<Uuid>,
    after: AfterCommit,
    /// Place in its workspace's share.
    place: Option<Arc<Held>>,
    /// Whether the audit log has an entry of it, or needs none.
    is_noted: bool,
}

/// Messages to send after a commit.
#[derive(Debug, Default)]
struct AfterCommit {
    wakes: BTreeSet<Pool>,
    /// Whether to wake all pools: the execution of jobs has changed.
    wakes_all: bool,
    events: Vec<Event>,
    asked: Vec<Asked>,
    /// Workers that are to check their rows.
    looks: Vec<Uuid>,
}

impl Tx {
    fn new(database: &Database, inner: Transaction<'static, Postgres>) -> Self {
        Self {
            inner: Some(inner),
            database: database.clone(),
            workspace: None,
            after: AfterCommit::default(),
            place: None,
            is_noted: false,
        }
    }

    /// Takes a workspace's role, and sees its schema only. From here on statements can reach nothing else.
    pub async fn enter_workspace(&mut self, workspace: Uuid) -> Result<(), sqlx::Error> {
        let reset = if self.workspace.is_some() { "reset role; " } else { "" };
        let setup = format!("{reset}{}", role_of(workspace));
        sqlx::raw_sql(AssertSqlSafe(setup)).execute(self.conn()).await?;
        self.workspace = Some(workspace);
        Ok(())
    }

    /// Returns to Millrace's own role and the shared schemas.
    pub async fn leave_workspace(&mut self) -> Result<(), sqlx::Error> {
        let reset = format!("reset role; set local search_path = {SHARED_PATH};");
        sqlx::raw_sql(AssertSqlSafe(reset)).execute(self.conn()).await?;
        self.workspace = None;
        Ok(())
    }

    /// The connection, for SQL.
    ///
    /// # Panics
    /// Never: only committing and dropping take the transaction away, and both take the `Tx`.
    pub fn conn(&mut self) -> &mut PgConnection {
        self.inner.as_mut().expect("a transaction that is neither committed nor dropped")
    }

    /// The workspace whose role this transaction has, if any.
    #[must_use]
    pub fn workspace(&self) -> Option<Uuid> {
        self.workspace
    }

    /// The handle this transaction began on.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Whether the audit log has an entry of this transaction, or needs none.
    #[must_use]
    pub fn is_noted(&self) -> bool {
        self.is_noted
    }

    /// Records that the audit log has an entry of this transaction. Also for one that needs none: it changes no
    /// resource, or another transaction of the same change adds the entry.
    pub fn mark_noted(&mut self) {
        self.is_noted = true;
    }

    /// Wakes the dispatcher for that pool after the commit.
    pub(crate) fn wake_after_commit(&mut self, pool: Pool) {
        self.after.wakes.insert(pool);
    }

    /// Wakes the dispatcher for all pools after the commit.
    pub(crate) fn wake_all_after_commit(&mut self) {
        self.after.wakes_all = true;
    }

    /// Notifies a worker after the commit to check its row.
    pub(crate) fn look_after_commit(&mut self, worker: Uuid) {
        self.after.looks.push(worker);
    }

    /// Publishes a job's event after the commit.
    pub(crate) fn publish_after_commit(&mut self, event: Event) {
        self.after.events.push(event);
    }

    /// Notifies a running job's worker and watchers after the commit that it is to stop.
    pub(crate) fn announce_after_commit(&mut self, asked: Asked) {
        self.after.asked.push(asked);
    }

    /// Commits, then sends the wake-ups and events, for at most [`MAX_AFTER_COMMIT`] and without a connection or a place.
    /// Unsent events never fail the request: the pollers of the ledger find them.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.commit_within(MAX_AFTER_COMMIT).await.map(|_| ())
    }

    /// The same with another limit; returns the remaining time.
    pub(crate) async fn commit_within(mut self, limit: Duration) -> Result<Duration, sqlx::Error> {
        let Some(inner) = self.inner.take() else { return Ok(limit) };
        let after = std::mem::take(&mut self.after);
        inner.commit().await?;
        drop(self.place.take());
        let deadline = Instant::now() + limit;
        if !after.send(&self.database, deadline).await {
            metrics::counter!("millrace_bus_lost_total", "what" => "after_commit").increment(1);
            tracing::warn!(
                "the bus did not take what a commit sends in time; the ledger's pollers will find it"
            );
        }
        Ok(deadline.saturating_duration_since(Instant::now()))
    }
}

impl AfterCommit {
    /// Whether all events were sent in time.
    async fn send(self, database: &Database, deadline: Instant) -> bool {
        let bus = &database.bus;
        let published = timeout_at(deadline, publish::after_commit(bus, &self.events)).await;
        // After the events, so that a job's start comes behind them. A wake-up waits for no answer.
        for pool in self.wakes {
            bus.wake(Some(pool));
        }
        if self.wakes_all {
            bus.wake(None);
        }
        let announced = timeout_at(deadline, async {
            stream::iter(self.asked)
                .for_each_concurrent(TOLD_AT_ONCE, |asked| control::announce(database, asked))
                .await;
            for worker in self.looks {
                roster::tell_to_look(bus, worker).await;
            }
        });
        let announced = announced.await;
        published.is_ok() && announced.is_ok()
    }
}

impl Drop for Tx {
    // An uncommitted transaction is rolled back.
    fn drop(&mut self) {
        if let (Some(inner), Some(place)) = (self.inner.take(), self.place.take()) {
            fair::give_back(inner, place);
        }
    }
}
