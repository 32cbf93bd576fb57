//! What stands behind an invitation: the person who answers for it. It is good while they may still invite, and could
//! still give that role; it comes back with them.

use domain::{
    access::Role,
    standing::{self, Overrides},
};

/// What the view `invitation_backing` has of an invitation; all null, where the person is not in the workspace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backing {
    /// What the person is there.
    pub(crate) role: Option<Role>,
    /// What the workspace has changed of their role.
    pub(crate) overrides: Option<Overrides>,
    /// What it has changed of the role that they offer.
    pub(crate) offered_overrides: Option<Overrides>,
}

impl Backing {
    /// Whether the person could still make that invitation.
    pub(crate) fn holds(&self, offered: Role) -> bool {
        let Some(role) = self.role else { return false };
        let held = standing::held(role, self.overrides.as_ref());
        let gives = held.covers(&standing::held(offered, self.offered_overrides.as_ref()));
        role >= offered && held.may("members:invite") && gives
    }
}
