//! The user who answers for an invitation. It is valid while that user may still invite, and could
//! still grant that role; it becomes valid again with them.

use domain::{
    access::Role,
    standing::{self, Overrides},
};

/// The row of the view `invitation_backing` for an invitation; all null if the user is not in the workspace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backing {
    /// Role of the user there.
    pub(crate) role: Option<Role>,
    /// The workspace's changes to that role.
    pub(crate) overrides: Option<Overrides>,
    /// The workspace's changes to the offered role.
    pub(crate) offered_overrides: Option<Overrides>,
}

impl Backing {
    /// Whether the user could still send that invitation.
    pub(crate) fn holds(&self, offered: Role) -> bool {
        let Some(role) = self.role else { return false };
        let held = standing::held(role, self.overrides.as_ref());
        let gives = held.covers(&standing::held(offered, self.offered_overrides.as_ref()));
        role >= offered && held.may("members:invite") && gives
    }
}
