//! The database handle and the one transaction type of Millrace.
//!
//! [`Tx`] is what makes "a job exists if and only if the change that asked for it committed" true:
//! jobs are inserted through it, and its commit sends the wake-ups afterwards.

use std::collections::BTreeSet;

use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use crate::{Bus, Pool, watch::Event, watch::publish};

/// A cheap handle on PostgreSQL and the bus, shared by everything in a process.
#[derive(Clone, Debug)]
pub struct Database {
    /// Connections as Millrace's own login, `search_path` on the shared schemas.
    pub pool: PgPool,
    /// Wake-ups and live events.
    pub bus: Bus,
}

impl Database {
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
        let mode = if read_only {
            "set transaction read only;"
        } else {
            ""
        };
        let setup = format!(
            "{mode} set local role {schema}; set local search_path = {schema}, shard_api, ext, pg_temp;"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(setup))
            .execute(&mut *tx.inner)
            .await?;
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
