//! `Accounts`: the part of a workspace's transaction that also sees the shared schemas, for statements over a workspace's members
//! and their accounts, with one commit.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Actor, WorkspaceDb};
use crate::{Event, WorkspaceId};

/// A workspace's transaction under Millrace's own login, with the shared schemas behind the workspace's own: reachable
/// within [`WorkspaceDb::with_accounts`] only. Its statements select this workspace's rows of the shared tables.
#[derive(Debug)]
pub struct Accounts<'a> {
    db: &'a mut WorkspaceDb,
}

impl WorkspaceDb {
    /// Runs `work` under Millrace's own login, with the shared schemas visible. Afterwards, also after an error, the
    /// transaction has the workspace's role and sees its schema only. `script/spans` lists each caller.
    ///
    /// ```ignore
    /// db.with_accounts(async |accounts| find(accounts, &filter).await).await
    /// ```
    pub async fn with_accounts<T, E: From<sqlx::Error>>(
        &mut self,
        work: impl AsyncFnOnce(&mut Accounts<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let schema = jobs::workspace_schema(self.workspace.0);
        // An identifier made of hex digits.
        let setup = format!(
            "set local role none; set local search_path = {schema}, control, shard, shard_api, ext, pg_temp;"
        );
        self.sees_accounts = true;
        let done = match sqlx::raw_sql(sqlx::AssertSqlSafe(setup)).execute(self.tx.conn()).await {
            Ok(_) => work(&mut Accounts { db: self }).await,
            Err(error) => Err(error.into()),
        };
        let confined = self.tx.enter_workspace(self.workspace.0).await;
        // Where a statement has failed, PostgreSQL refuses this one as it does all others until the rollback: nothing is
        // reached, and the first error is returned.
        self.sees_accounts = false;
        let done = done?;
        confined?;
        Ok(done)
    }

    /// # Panics
    /// When a call of [`WorkspaceDb::with_accounts`] was dropped half-way, which has left the transaction with more than
    /// the workspace's role: it can only be dropped, too.
    pub(super) fn assert_confined(&self) {
        assert!(!self.sees_accounts, "a transaction goes on after with_accounts was dropped half-way");
    }
}

impl Accounts<'_> {
    /// The connection, for SQL.
    pub fn conn(&mut self) -> &mut PgConnection {
        self.db.tx.conn()
    }

    /// The workspace.
    #[must_use]
    pub fn workspace(&self) -> WorkspaceId {
        self.db.workspace
    }

    /// The actor.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.db.actor
    }

    /// The acting user's id, for `created_by` and similar columns.
    #[must_use]
    pub fn user_id(&self) -> Option<Uuid> {
        self.db.user_id()
    }

    /// Appends an event, as [`WorkspaceDb::record`] does.
    pub async fn record(&mut self, event: Event) -> Result<(), sqlx::Error> {
        event.record(&mut self.db.tx, self.db.workspace, &self.db.actor).await
    }
}
