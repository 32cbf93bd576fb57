//! The database handle and the one transaction type of Millrace.
//!
//! [`Tx`] is what makes "a job exists if and only if the change that asked for it committed" true:
//! jobs are inserted through it, and its commit sends the wake-ups afterwards.

use std::{collections::BTreeSet, io, time::Duration};

use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool, Postgres, Transaction,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
};
use uuid::Uuid;

use crate::{
    Bus, PayloadError, PayloadKeys, Pool, Reach,
    bus::RedisError,
    control::{self, Asked},
    reach, server, tcp,
    unit::{Parked, Part, Unit},
    watch::Event,
    watch::publish,
};

/// The schemas of a transaction that belongs to no workspace.
pub(crate) const SHARED_PATH: &str = "control,shard,shard_api,ext";

/// A connection that has been idle no longer than this is used without asking first whether it still
/// works, which costs a round trip. Should the server be gone and back within it, whoever takes the
/// connection sees the error that those who were using theirs saw.
const PRESUMED_ALIVE: Duration = Duration::from_millis(200);

/// A server that a process needs is out of reach.
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
    /// Whether PostgreSQL is in reach.
    pub reach: Reach,
    /// What secrets in payloads are sealed with.
    pub(crate) keys: PayloadKeys,
}

/// How a process connects.
#[derive(Debug, Clone)]
pub struct Connect<'a> {
    /// PostgreSQL, as Millrace's own login.
    pub database_url: &'a str,
    /// Redis.
    pub redis_url: &'a str,
    /// The certificates that Redis' own is checked with (PEM), in place of the system's.
    pub redis_ca: Option<&'a [u8]>,
    /// In front of every name in Redis.
    pub redis_prefix: &'a str,
    /// Connections to PostgreSQL at the most.
    pub connections: u32,
    /// How long either end of a connection may be silent. A transaction that does nothing for this long is
    /// ended by the server: below the lease, so that a worker cut off from the network doesn't hold up the
    /// next holder of its job. A server that acknowledges nothing for this long is given up.
    pub silence: Duration,
}

impl Database {
    /// Connects to both servers.
    ///
    /// # Errors
    /// When a URL is malformed or a server doesn't answer.
    pub async fn connect(to: &Connect<'_>) -> Result<Self, ConnectError> {
        let milliseconds = to.silence.as_millis().to_string();
        let limits = limits(to.silence);
        let settings = server::settings(
            [("search_path", SHARED_PATH), ("idle_in_transaction_session_timeout", milliseconds.as_str())]
                .into_iter()
                .chain(limits.iter().map(|(name, value)| (*name, value.as_str()))),
        );
        let options = server::options(to.database_url, "millrace")?;
        let plain = options.clone();
        let (port, silence) = (options.get_port(), to.silence);
        let pool = PgPoolOptions::new()
            .max_connections(to.connections)
            .acquire_timeout(Duration::from_secs(10))
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
                let settings = settings.clone();
                Box::pin(async move {
                    limit_silence(port, silence).await;
                    server::apply(connection, &settings).await?;
                    if reach::is_standby(connection).await? {
                        return Err(sqlx::Error::Io(io::Error::other(reach::STANDBY)));
                    }
                    Ok(())
                })
            })
            .connect_with(options)
            .await?;
        tell_of_clear_text(&plain, &pool).await?;
        Ok(Self {
            pool,
            bus: Bus::connect(to.redis_url, to.redis_ca, to.redis_prefix, to.silence).await?,
            reach: Reach::start(plain),
            keys: PayloadKeys::default(),
        })
    }

    /// The same handle, with the keys of secrets in payloads. Without them no job that has any can be
    /// enqueued or run.
    #[must_use]
    pub fn with_keys(self, keys: PayloadKeys) -> Self {
        Self { keys, ..self }
    }

    /// Seals something secret that is to lie in the database, for one place.
    ///
    /// # Errors
    /// When this process was started without keys.
    pub fn seal(&self, plain: &[u8], place: &str) -> Result<String, PayloadError> {
        self.keys.seal(plain, place)
    }

    /// Opens what was sealed for that place.
    ///
    /// # Errors
    /// When the key is not known here, or it isn't as it was written.
    pub fn unseal(&self, sealed: &str, place: &str) -> Result<Vec<u8>, PayloadError> {
        self.keys.open(sealed, place)
    }

    /// Begins a transaction on the shared schemas.
    pub async fn begin(&self) -> Result<Tx, sqlx::Error> {
        match Unit::part() {
            Part::GoesOn(parked) => Tx::going_on(self, parked).await,
            Part::First(unit) => {
                let mut tx = Tx::new(self, self.pool.begin().await?);
                if unit.begin(tx.conn()).await? {
                    tx.unit = Some(InUnit { unit, holds_others_work: false, is_read: false });
                } else {
                    unit.forget();
                }
                Ok(tx)
            }
            Part::Apart => Ok(Tx::new(self, self.pool.begin().await?)),
        }
    }

    /// A connection for reading the shared schemas: any, or inside a [`Unit`] that has written something
    /// the one that sees it. Outside of transactions, for readers that one statement serves.
    pub async fn reader(&self) -> Result<Reader, sqlx::Error> {
        let Some(parked) = Unit::parked() else {
            return Ok(Reader(Source::Pool(self.pool.acquire().await?)));
        };
        let mut tx = Tx::going_on(self, parked).await?;
        if let Some(part) = &mut tx.unit {
            part.is_read = true;
        }
        Ok(Reader(Source::Unit(Box::new(tx))))
    }

    /// Begins a transaction whose statements run as a workspace's role, seeing its schema only.
    /// `set local` ends with the transaction, so the pooled connection goes back clean.
    pub async fn begin_as_workspace(&self, workspace: Uuid, read_only: bool) -> Result<Tx, sqlx::Error> {
        // A reader goes on with a unit's transaction, whose work it must see, but begins none.
        let mut tx = match read_only.then(Unit::parked) {
            Some(Some(parked)) => {
                let mut tx = Tx::going_on(self, parked).await?;
                if let Some(part) = &mut tx.unit {
                    part.is_read = true;
                }
                tx
            }
            None if Unit::is_open() => self.begin().await?,
            Some(None) | None => {
                let mode = if read_only { " read only" } else { "" };
                // One round trip.
                let begin = format!("begin{mode}; {}", role_of(workspace));
                let mut tx = Tx::new(self, self.pool.begin_with(AssertSqlSafe(begin)).await?);
                tx.workspace = Some(workspace);
                return Ok(tx);
            }
        };
        tx.enter_workspace(workspace).await?;
        Ok(tx)
    }
}

/// The settings by which the server gives up a client that acknowledges nothing for so long.
pub(crate) fn limits(silence: Duration) -> [(&'static str, String); 3] {
    let (first, pause) = tcp::probes(silence);
    [
        ("tcp_user_timeout", silence.as_millis().to_string()),
        ("tcp_keepalives_idle", first.as_secs().to_string()),
        ("tcp_keepalives_interval", pause.as_secs().to_string()),
    ]
}

/// The same from this end, for connections to that port.
pub(crate) async fn limit_silence(port: u16, silence: Duration) {
    let limited = tokio::task::spawn_blocking(move || tcp::limit_silence(port, silence)).await;
    if let Ok(Err(error)) = limited {
        tracing::warn!(%error, "connections to PostgreSQL have no limit on their server's silence");
    }
}

/// Says so where `sslmode=prefer`, which is also what holds without any, got no encryption.
async fn tell_of_clear_text(options: &PgConnectOptions, pool: &PgPool) -> Result<(), sqlx::Error> {
    if options.get_socket().is_some()
        || !matches!(options.get_ssl_mode(), PgSslMode::Prefer | PgSslMode::Allow)
    {
        return Ok(());
    }
    let encrypted =
        sqlx::query_scalar!(r#"select ssl as "ssl!" from pg_stat_ssl where pid = pg_backend_pid()"#)
            .fetch_optional(pool)
            .await?;
    if encrypted != Some(true) {
        tracing::warn!(
            host = options.get_host(),
            "the connection to PostgreSQL is not encrypted; DATABASE_URL can require it by sslmode=verify-full, \
             or confirm that it is meant by sslmode=disable"
        );
    }
    Ok(())
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
pub struct Reader(Source);

#[derive(Debug)]
enum Source {
    Pool(PoolConnection<Postgres>),
    Unit(Box<Tx>),
}

impl Reader {
    /// The connection, for SQL.
    pub fn conn(&mut self) -> &mut PgConnection {
        match &mut self.0 {
            Source::Pool(connection) => connection,
            Source::Unit(tx) => tx.conn(),
        }
    }
}

/// A transaction. Dropped without [`Tx::commit`], it rolls back, and the jobs it enqueued never were.
/// Inside a [`Unit`], committing leaves it to the unit.
#[derive(Debug)]
pub struct Tx {
    /// Taken only by [`Tx::commit`] and by dropping.
    inner: Option<Transaction<'static, Postgres>>,
    database: Database,
    workspace: Option<Uuid>,
    after: Aftermath,
    unit: Option<InUnit>,
}

/// What goes out after a commit.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    wakes: BTreeSet<Pool>,
    events: Vec<Event>,
    asked: Vec<Asked>,
}

/// A transaction's part in a unit of work.
#[derive(Debug)]
struct InUnit {
    unit: Unit,
    /// Others have committed into it before.
    holds_others_work: bool,
    /// It was begun for reading, and is never committed.
    is_read: bool,
}

impl Tx {
    fn new(database: &Database, inner: Transaction<'static, Postgres>) -> Self {
        Self {
            inner: Some(inner),
            database: database.clone(),
            workspace: None,
            after: Aftermath::default(),
            unit: None,
        }
    }

    /// Goes on with a unit's transaction, on the shared schemas.
    pub(crate) async fn going_on(database: &Database, parked: Parked) -> Result<Self, sqlx::Error> {
        let mut tx = Self::new(database, parked.transaction);
        tx.after = parked.after;
        tx.unit = Unit::current().map(|unit| InUnit { unit, holds_others_work: true, is_read: false });
        tx.leave_workspace().await?;
        Ok(tx)
    }

    /// Takes a workspace's role, and sees its schema only. From here on statements can reach nothing else.
    pub async fn enter_workspace(&mut self, workspace: Uuid) -> Result<(), sqlx::Error> {
        let reset = if self.workspace.is_some() { "reset role; " } else { "" };
        let setup = format!("{reset}{}", role_of(workspace));
        sqlx::raw_sql(AssertSqlSafe(setup)).execute(self.conn()).await?;
        self.workspace = Some(workspace);
        Ok(())
    }

    /// Goes back to Millrace's own role and the shared schemas.
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

    /// Wakes the dispatcher for that pool after the commit.
    pub(crate) fn wake_after_commit(&mut self, pool: Pool) {
        self.after.wakes.insert(pool);
    }

    /// Publishes a job's event after the commit.
    pub(crate) fn publish_after_commit(&mut self, event: Event) {
        self.after.events.push(event);
    }

    /// Tells a running job's worker and watchers after the commit that it is to stop.
    pub(crate) fn announce_after_commit(&mut self, asked: Asked) {
        self.after.asked.push(asked);
    }

    /// Commits, then sends the wake-ups and events. A failed wake never fails the request: the
    /// dispatcher's poll of the ledger finds the job.
    pub async fn commit(mut self) -> Result<(), sqlx::Error> {
        let Some(inner) = self.inner.take() else { return Ok(()) };
        let after = std::mem::take(&mut self.after);
        if let Some(InUnit { unit, .. }) = self.unit.take() {
            unit.park(Parked { transaction: inner, after });
            return Ok(());
        }
        inner.commit().await?;
        publish::after_commit(&self.database.bus, &after.events).await;
        for pool in after.wakes {
            self.database.bus.wake(Some(pool));
        }
        for asked in after.asked {
            control::announce(&self.database, asked).await;
        }
        Ok(())
    }

    /// Takes the transaction out of its unit: [`Tx::commit`] commits it.
    pub(crate) fn leave_unit(&mut self) {
        self.unit = None;
    }
}

impl Drop for Tx {
    /// What a reader has seen stays in its unit; what a writer hasn't committed is rolled back.
    fn drop(&mut self) {
        let (Some(inner), Some(part)) = (self.inner.take(), self.unit.take()) else { return };
        if part.is_read {
            part.unit.park(Parked { transaction: inner, after: std::mem::take(&mut self.after) });
        } else if part.holds_others_work {
            part.unit.lose();
        } else {
            part.unit.forget();
        }
    }
}
