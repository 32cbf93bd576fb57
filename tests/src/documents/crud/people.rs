//! Who walks through the sections.

use domain::access::Role;

use super::Operation;
use crate::{Client, TestApp};

/// The members of a workspace, by role, the least first, and a person from elsewhere.
pub(super) struct People {
    pub by_role: Vec<(Role, Client)>,
    pub stranger: Client,
}

impl People {
    pub(super) async fn of(app: &TestApp) -> Self {
        let owner = app.owner().await;
        let mut by_role = Vec::new();
        for role in [Role::Viewer, Role::Member, Role::Admin] {
            by_role.push((role, app.join(&owner, role.name()).await));
        }
        by_role.push((Role::Owner, owner));
        Self { by_role, stranger: app.owner().await }
    }

    pub(super) fn owner(&self) -> &Client {
        &self.by_role.last().expect("the owner comes last").1
    }

    /// The person with the least role that an operation admits.
    pub(super) fn least(&self, operation: &Operation) -> &Client {
        let permission = operation.body["x-permission"].as_str().unwrap_or_default();
        let found = self.by_role.iter().find(|(role, _)| role.may(permission));
        &found.unwrap_or_else(|| panic!("{}: no role has {permission:?}", operation.id)).1
    }
}
