//! `TenantScope`: a section in one workspace's schema, inside a transaction on the shared ones, for changes of
//! both at once, such as a membership and its member.
//!
//! Inside, statements run as the workspace's role and see only its schema, as in a
//! [`WorkspaceDb`](crate::WorkspaceDb). A scope that isn't left, because of an error in it, keeps the
//! transaction there: what follows fails too, and reaches no shared table by mistake.

use jobs::Tx;
use sqlx::PgConnection;

use crate::{Actor, Event, WorkspaceId};

/// A transaction that is in a workspace's schema until [`TenantScope::leave`].
#[derive(Debug)]
#[must_use = "a transaction has to leave the workspace before it continues with the shared schemas"]
pub struct TenantScope<'a> {
    tx: &'a mut Tx,
}

impl<'a> TenantScope<'a> {
    /// Enters the scope, under the workspace's role.
    pub async fn enter(tx: &'a mut Tx, workspace: WorkspaceId) -> Result<Self, sqlx::Error> {
        tx.enter_workspace(workspace.0).await?;
        Ok(Self { tx })
    }

    /// The connection, for SQL.
    pub fn conn(&mut self) -> &mut PgConnection {
        self.tx.conn()
    }

    /// Appends an event of the workspace, which is the transaction's audit entry, too.
    pub async fn record(
        &mut self,
        event: Event,
        workspace: WorkspaceId,
        actor: &Actor,
    ) -> Result<(), sqlx::Error> {
        event.record(self.tx, workspace, actor).await
    }

    /// Returns to the shared schemas, under our own role.
    pub async fn leave(self) -> Result<(), sqlx::Error> {
        self.tx.leave_workspace().await
    }
}
