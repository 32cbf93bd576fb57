//! The catalogue: all permissions, the lowest role that has each by default, and the
//! scope that a key or token needs for it. A route with a permission that isn't listed doesn't compile.

use super::{Role, Scope};

/// A permission in the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// `resource:verb`; with `_own` behind the verb, for the caller's own resources.
    pub name: &'static str,
    /// Lowest role that has it by default.
    pub least: Role,
    /// Scope that a key or token needs.
    pub scope: Scope,
    /// Description, for settings screens.
    pub about: &'static str,
}

impl Listed {
    /// Resource type: the part before the colon.
    #[must_use]
    pub fn resource(&self) -> &'static str {
        self.name.split_once(':').map_or(self.name, |(resource, _)| resource)
    }

    /// Whether its effect outlasts the session, or acts in the user's name later: credentials, access and
    /// permissions of members, work that starts later by itself. Staff acting as another user don't have these.
    #[must_use]
    pub fn outlasts(&self) -> bool {
        matches!(self.scope, Scope::Auth) || self.name == "schedules:manage"
    }

    /// Action: the part after the colon.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        self.name.split_once(':').map_or("", |(_, verb)| verb)
    }
}

const fn listed(name: &'static str, least: Role, scope: Scope, about: &'static str) -> Listed {
    Listed { name, least, scope, about }
}

/// By resource; within one, from looking to deleting.
pub(super) const CATALOGUE: &[Listed] = &[
    listed("workspace:view", Role::Viewer, Scope::Read, "See the workspace and its state"),
    listed(
        "workspace:edit",
        Role::Admin,
        Scope::Schema,
        "Change the workspace's name, slug, description and branding",
    ),
    listed("workspace:migrate", Role::Member, Scope::Schema, "Migrate the workspace's tables"),
    listed("members:view", Role::Viewer, Scope::Read, "See the members"),
    listed("members:invite", Role::Admin, Scope::Auth, "Invite members, and withdraw invitations"),
    listed("members:edit", Role::Admin, Scope::Auth, "Change any member's profile and role"),
    listed("members:edit_own", Role::Viewer, Scope::Auth, "Change the caller's own profile"),
    listed("members:reassign", Role::Admin, Scope::Auth, "Reassign a member's items to another member"),
    listed("members:delete", Role::Admin, Scope::Auth, "Remove members"),
    listed("members:reset_password", Role::Admin, Scope::Auth, "Reset a member's password"),
    listed("teams:view", Role::Viewer, Scope::Read, "See teams and their members"),
    listed("teams:create", Role::Admin, Scope::Auth, "Create teams"),
    listed("teams:edit", Role::Admin, Scope::Auth, "Change any team and its members"),
    listed("teams:edit_own", Role::Member, Scope::Auth, "Change own teams, as their lead"),
    listed("teams:delete", Role::Admin, Scope::Auth, "Delete teams"),
    listed("permissions:view", Role::Viewer, Scope::Read, "See the permissions of each role"),
    listed("permissions:manage", Role::Admin, Scope::Auth, "Change the permissions of each role"),
    listed("api_keys:view", Role::Member, Scope::Auth, "See the workspace's API keys"),
    listed("api_keys:manage", Role::Admin, Scope::Auth, "Issue, change and revoke API keys"),
    listed("modules:view", Role::Viewer, Scope::Read, "See the modules"),
    listed("modules:manage", Role::Admin, Scope::Schema, "Set modules up, and switch them on and off"),
    listed("audit:view", Role::Admin, Scope::Auth, "Read the audit log"),
    listed("governance:view", Role::Admin, Scope::Auth, "See the workspace's security settings"),
    listed("governance:manage", Role::Owner, Scope::Auth, "Change the workspace's security settings"),
    listed("usage:view", Role::Member, Scope::Read, "See the plan, its limits and the usage"),
    listed("recordsets:view", Role::Viewer, Scope::Read, "See recordsets and their fields"),
    listed("recordsets:create", Role::Member, Scope::Schema, "Create recordsets"),
    listed("recordsets:edit", Role::Member, Scope::Schema, "Change recordsets and their fields"),
    listed("recordsets:delete", Role::Admin, Scope::Schema, "Delete recordsets with their records"),
    listed("records:view", Role::Viewer, Scope::Read, "Read records"),
    listed("records:create", Role::Member, Scope::Write, "Create records"),
    listed("records:edit", Role::Member, Scope::Write, "Change any record"),
    listed("records:edit_own", Role::Member, Scope::Write, "Change own records"),
    listed("records:delete", Role::Member, Scope::Write, "Delete any record"),
    listed("records:delete_own", Role::Member, Scope::Write, "Delete own records"),
    listed("imports:view", Role::Viewer, Scope::Read, "See imports and their reports"),
    listed("imports:create", Role::Member, Scope::Files, "Upload files and import them"),
    listed("imports:cancel", Role::Member, Scope::Files, "Cancel imports"),
    listed("imports:delete", Role::Admin, Scope::Files, "Delete imports from the history"),
    listed("exports:view", Role::Viewer, Scope::Read, "See exports and download them"),
    listed("exports:create", Role::Member, Scope::Files, "Export records to files"),
    listed("exports:cancel", Role::Member, Scope::Files, "Cancel exports"),
    listed("exports:delete", Role::Admin, Scope::Files, "Delete exports"),
    listed("jobs:view", Role::Viewer, Scope::Read, "Watch jobs"),
    listed("jobs:cancel", Role::Member, Scope::Write, "Cancel any job"),
    listed("jobs:retry", Role::Member, Scope::Write, "Retry failed jobs"),
    listed("jobs:edit", Role::Member, Scope::Write, "Change waiting jobs' priority"),
    listed("jobs:delete", Role::Admin, Scope::Write, "Delete finished jobs from the history"),
    listed("schedules:view", Role::Viewer, Scope::Read, "See scheduled jobs and their runs"),
    listed("schedules:manage", Role::Admin, Scope::Schema, "Create, change and delete scheduled jobs"),
    listed("dead_letters:view", Role::Member, Scope::Read, "See jobs that have failed finally"),
    listed("dead_letters:discard", Role::Admin, Scope::Write, "Discard jobs that have failed finally"),
];

/// All permissions.
#[must_use]
pub const fn catalogue() -> &'static [Listed] {
    CATALOGUE
}

/// A permission by its name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Listed> {
    CATALOGUE.iter().find(|listed| listed.name == name)
}

/// The variant of the permission for own resources, if there is one.
pub(super) fn own_variant(name: &str) -> Option<&'static Listed> {
    CATALOGUE.iter().find(|listed| listed.name.strip_suffix("_own") == Some(name))
}

/// Whether the catalogue lists a permission, at compile time.
#[must_use]
pub const fn is_listed(permission: &str) -> bool {
    let mut i = 0;
    while i < CATALOGUE.len() {
        if same(CATALOGUE[i].name.as_bytes(), permission.as_bytes()) {
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
