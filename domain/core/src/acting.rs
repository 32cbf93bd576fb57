//! `Acting`: who acts in which workspace, and what they may do there, for what is decided by more than one
//! permission.

use crate::{Actor, Event, UserId, WorkspaceId, access::Held, callers::Authority};

/// Somebody who acts in a workspace, on the shared schemas.
#[derive(Debug, Clone, Copy)]
pub struct Acting<'a> {
    /// Where.
    pub workspace: WorkspaceId,
    /// Who.
    pub actor: &'a Actor,
    /// What they may do there.
    pub held: &'a Held,
    /// The person whose standing counts: for an API key, the one who answers for it.
    pub answerable: UserId,
}

impl<'a> Acting<'a> {
    /// Whoever has that authority, in one request.
    #[must_use]
    pub fn new(authority: &'a Authority, actor: &'a Actor) -> Self {
        Self {
            workspace: authority.workspace(),
            actor,
            held: authority.held(),
            answerable: authority.answerable(),
        }
    }

    /// Appends an event of the workspace, and with it an entry of its audit.
    pub async fn record(&self, tx: &mut jobs::Tx, event: Event) -> Result<(), sqlx::Error> {
        event.record(tx, self.workspace, self.actor).await
    }
}
