//! `Acting`: who acts in which workspace, and what they may do there, for what is decided by more than one
//! permission.

use crate::{Actor, Event, WorkspaceId, access::Held};

/// Somebody who acts in a workspace, on the shared schemas.
#[derive(Debug, Clone, Copy)]
pub struct Acting<'a> {
    /// Where.
    pub workspace: WorkspaceId,
    /// Who.
    pub actor: &'a Actor,
    /// What they may do there.
    pub held: &'a Held,
}

impl Acting<'_> {
    /// Appends an event of the workspace, and with it an entry of its audit.
    pub(crate) async fn record(&self, tx: &mut jobs::Tx, event: Event) -> Result<(), sqlx::Error> {
        event.append(tx.conn(), self.workspace, self.actor).await
    }
}
