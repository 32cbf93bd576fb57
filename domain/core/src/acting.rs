//! `Acting`: an actor in a workspace with its permissions there, for decisions that depend on more than one
//! permission.

use crate::{Actor, Event, UserId, WorkspaceId, access::Held, callers::Authority};

/// An actor in a workspace, on the shared schemas.
#[derive(Debug, Clone, Copy)]
pub struct Acting<'a> {
    /// Workspace.
    pub workspace: WorkspaceId,
    /// Actor.
    pub actor: &'a Actor,
    /// Permissions of the actor there.
    pub held: &'a Held,
    /// User whose membership counts: for an API key, the one who answers for it.
    pub answerable: UserId,
}

impl<'a> Acting<'a> {
    /// The holder of that authority, in one request.
    #[must_use]
    pub fn new(authority: &'a Authority, actor: &'a Actor) -> Self {
        Self {
            workspace: authority.workspace(),
            actor,
            held: authority.held(),
            answerable: authority.answerable(),
        }
    }

    /// Appends an event of the workspace, and with it an audit entry.
    pub async fn record(&self, tx: &mut jobs::Tx, event: Event) -> Result<(), sqlx::Error> {
        event.record(tx, self.workspace, self.actor).await
    }
}
