//! Roles, and what each of them may do.
//!
//! A permission is named where its route is declared; this table says from which role on it is held.
//! Today the table is the same for all workspaces; overrides will be rows that are read beside it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What someone is in a workspace. Each role may do all that the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Works with what is there.
    Member,
    /// Decides what is there and who works with it.
    Admin,
    /// Answers for the workspace.
    Owner,
}

/// Permissions by the least role that holds them, grouped by what they are about.
const CATALOGUE: &[(&str, Role)] = &[
    ("workspace:view", Role::Viewer),
    ("workspace:edit", Role::Admin),
    ("members:view", Role::Viewer),
    ("recordsets:view", Role::Viewer),
    ("recordsets:create", Role::Member),
    ("recordsets:edit", Role::Member),
    ("recordsets:delete", Role::Admin),
    ("records:view", Role::Viewer),
    ("records:create", Role::Member),
    ("records:edit", Role::Member),
    ("records:delete", Role::Member),
    ("imports:view", Role::Viewer),
    ("imports:create", Role::Member),
    ("imports:cancel", Role::Member),
    ("imports:delete", Role::Admin),
    ("exports:view", Role::Viewer),
    ("exports:create", Role::Member),
    ("exports:delete", Role::Admin),
    ("jobs:view", Role::Viewer),
    ("jobs:cancel", Role::Member),
    ("jobs:retry", Role::Member),
    ("jobs:edit", Role::Member),
    ("jobs:delete", Role::Admin),
    ("schedules:view", Role::Viewer),
    ("schedules:manage", Role::Admin),
    ("dead_letters:view", Role::Member),
    ("dead_letters:discard", Role::Admin),
];

impl Role {
    /// Whether this role holds a permission.
    ///
    /// ```
    /// use domain::access::Role;
    /// assert!(Role::Viewer.may("records:view"));
    /// assert!(!Role::Viewer.may("records:create"));
    /// assert!(!Role::Owner.may("records:invent"));
    /// ```
    #[must_use]
    pub fn may(self, permission: &str) -> bool {
        CATALOGUE.iter().any(|(name, least)| *name == permission && self >= *least)
    }

    /// The name in the database and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }
}

/// Whether the catalogue lists a permission, at compile time: a route that asks for one which nobody
/// can hold doesn't compile.
#[must_use]
pub const fn is_listed(permission: &str) -> bool {
    let mut i = 0;
    while i < CATALOGUE.len() {
        if same(CATALOGUE[i].0.as_bytes(), permission.as_bytes()) {
            return true;
        }
        i += 1;
    }
    false
}

/// Equality of bytes; `==` isn't const yet.
const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A role that doesn't exist.
#[derive(Debug, thiserror::Error)]
#[error("unknown role")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(name: &str) -> Result<Self, UnknownRole> {
        [Self::Viewer, Self::Member, Self::Admin, Self::Owner]
            .into_iter()
            .find(|role| role.name() == name)
            .ok_or(UnknownRole)
    }
}
