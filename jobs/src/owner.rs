//! Owners of jobs.

use uuid::Uuid;

/// Owner of a job. To an owner, the jobs of another one do not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A workspace, by its id.
    Workspace(Uuid),
    /// The installation itself.
    Installation,
}

impl Owner {
    /// The owner that a row of the ledger names.
    pub(crate) fn of_row(workspace_id: Option<Uuid>) -> Self {
        workspace_id.map_or(Self::Installation, Self::Workspace)
    }

    /// The workspace; none for the installation, for which the column is null.
    #[must_use]
    pub fn workspace(self) -> Option<Uuid> {
        match self {
            Self::Workspace(id) => Some(id),
            Self::Installation => None,
        }
    }

    /// The owner of that name, of which all zeros is the installation's.
    #[must_use]
    pub fn of_tenant(tenant: Uuid) -> Self {
        if tenant.is_nil() { Self::Installation } else { Self::Workspace(tenant) }
    }

    /// Its id where the installation has one, too: the nil id.
    pub(crate) fn tenant(self) -> Uuid {
        self.workspace().unwrap_or_default()
    }
}
