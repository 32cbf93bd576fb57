//! The database handle and the one transaction type of Millrace.
//!
//! [`Tx`] is what makes "a job exists if and only if the change that asked for it committed" true:
//! jobs are inserted through it, and its commit sends the wake-ups afterwards.

use std::{collections::BTreeSet, str::FromStr, time::Duration};

use sqlx::{
    PgConnection, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use uuid::Uuid;

use crate::{Bus, PayloadKeys, Pool, watch::Event, watch::publish};

/// The schemas of a transaction that belongs to no workspace.
pub(crate) const SHARED_PATH: &str = "control,shard,shard_api,ext";

/// A server that a process needs is out of reach.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// PostgreSQL.
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
    /// Redis.
    #[error("Redis: {0}")]
    Bus(#[from] redis::RedisError),
}

/// A cheap handle on PostgreSQL and the bus, shared by everything in a process.
#[derive(Clone, Debug)]
pub struct Database {
    /// Connections as Millrace's own login, `search_path` on the shared schemas.
    pub pool: PgPool,
    /// Wake-ups and live events.
    pub bus: Bus,
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
    /// In front of every name in Redis.
    pub redis_prefix: &'a str,
    /// Connections to PostgreSQL at the most.
    pub connections: u32,
    /// A transaction that does nothing for this long is ended by the server: below the lease, so that a
    /// worker cut off from the network doesn't hold up the next holder of its job.
    pub idle_in_transaction: Duration,
}

impl Database {
    /// Connects to both servers.
    ///
    /// # Errors
    /// When a URL is malformed or a server doesn't answer.
    pub async fn connect(to: &Connect<'_>) -> Result<Self, ConnectError> {
        let milliseconds = to.idle_in_transaction.as_millis().to_string();
        let options = PgConnectOptions::from_str(to.database_url)?.application_name("millrace").options([
            ("search_path", SHARED_PATH),
            ("idle_in_transaction_session_timeout", milliseconds.as_str()),
            ("tcp_user_timeout", milliseconds.as_str()),
            ("timezone", "UTC"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(to.connections)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options)
            .await?;
        Ok(Self {
            pool,
            bus: Bus::connect(to.redis_url, to.redis_prefix).await?,
            keys: PayloadKeys::default(),
        })
    }

    /// The same handle, with the keys of secrets in payloads. Without them no job that has any can be
    /// enqueued or run.
    #[must_use]
    pub fn with_keys(self, keys: PayloadKeys) -> Self {
        Self { keys, ..self }
    }

    /// Begins a transaction on the shared schemas.
    pub async fn begin(&self) -> Result<Tx, sqlx::Error> {
        Ok(Tx {
            inner: self.pool.begin().await?,
            database: self.clone(),
            workspace: None,
            wakes: BTreeSet::new(),
            events: Vec::new(),
        })
    }

    /// Begins a transaction whose statements run as a workspace's role, seeing its schema only.
    /// `set local` ends with the transaction, so the pooled connection goes back clean.
    pub async fn begin_as_workspace(&self, workspace: Uuid, read_only: bool) -> Result<Tx, sqlx::Error> {
        let mut tx = self.begin().await?;
        let schema = workspace_schema(workspace);
        // Identifiers made of hex digits: nothing here comes from a client. One round trip.
        let mode = if read_only { "set transaction read only;" } else { "" };
        let setup = format!(
            "{mode} set local role {schema}; set local search_path = {schema}, shard_api, ext, pg_temp;"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(setup)).execute(&mut *tx.inner).await?;
        tx.workspace = Some(workspace);
        Ok(tx)
    }
}

/// The schema, and the role, of a workspace.
#[must_use]
pub fn workspace_schema(workspace: Uuid) -> String {
    format!("ws_{}", workspace.simple())
}

/// A transaction. Dropped without [`Tx::commit`], it rolls back, and the jobs it enqueued never were.
#[derive(Debug)]
pub struct Tx {
    inner: Transaction<'static, Postgres>,
    database: Database,
    workspace: Option<Uuid>,
    wakes: BTreeSet<Pool>,
    events: Vec<Event>,
}

impl Tx {
    /// The connection, for SQL.
    pub fn conn(&mut self) -> &mut PgConnection {
        &mut self.inner
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
        self.wakes.insert(pool);
    }

    /// Publishes a job's event after the commit.
    pub(crate) fn publish_after_commit(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Commits, then sends the wake-ups and events. A failed wake never fails the request: the
    /// dispatcher's poll of the ledger finds the job.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.inner.commit().await?;
        if !self.wakes.is_empty() || !self.events.is_empty() {
            publish::after_commit(&self.database.bus, &self.wakes, &self.events).await;
        }
        Ok(())
    }
}
