//! The catalogue: every permission that there is, the least role that holds it by default, and the
//! scope that a key or token needs for it. A route that asks for one which isn't listed doesn't compile.

use super::{Role, Scope};

/// A permission in the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// `resource:verb`; with `_own` behind the verb, for what one has made oneself.
    pub name: &'static str,
    /// The least role that holds it by default.
    pub least: Role,
    /// What a key or token needs.
    pub scope: Scope,
    /// What it lets people do, for settings screens.
    pub about: &'static str,
}

impl Listed {
    /// What it is about: the part before the colon.
    #[must_use]
    pub fn resource(&self) -> &'static str {
        self.name.split_once(':').map_or(self.name, |(resource, _)| resource)
    }

    /// Whether its effect outlasts the session that uses it, or goes on in the person's name: credentials, who gets in and what
    /// they may do, what runs later by itself. Staff who act as a person don't hold these.
    #[must_use]
    pub fn outlasts(&self) -> bool {
        matches!(self.scope, Scope::Auth) || self.name == "schedules:manage"
    }

    /// What may be done with it: the part after the colon.
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
    listed("workspace:view", Role::Viewer, Scope::Read, "See the workspace and how it is"),
    listed("workspace:edit", Role::Admin, Scope::Schema, "Change the workspace's name, branding and address"),
    listed("workspace:migrate", Role::Member, Scope::Schema, "Bring the workspace's tables up to date"),
    listed("members:view", Role::Viewer, Scope::Read, "See who works here"),
    listed("members:invite", Role::Admin, Scope::Auth, "Invite people, and withdraw invitations"),
    listed("members:edit", Role::Admin, Scope::Auth, "Change anybody's profile and role"),
    listed("members:edit_own", Role::Viewer, Scope::Auth, "Change one's own profile"),
    listed("members:reassign", Role::Admin, Scope::Auth, "Hand one member's work to another"),
    listed("members:delete", Role::Admin, Scope::Auth, "Take people out"),
    listed("members:reset_password", Role::Admin, Scope::Auth, "Let a member choose a new password"),
    listed("teams:view", Role::Viewer, Scope::Read, "See teams and who is in them"),
    listed("teams:create", Role::Admin, Scope::Auth, "Create teams"),
    listed("teams:edit", Role::Admin, Scope::Auth, "Change any team and who is in it"),
    listed("teams:edit_own", Role::Member, Scope::Auth, "Change the teams that one leads"),
    listed("teams:delete", Role::Admin, Scope::Auth, "Delete teams"),
    listed("permissions:view", Role::Viewer, Scope::Read, "See what each role may do"),
    listed("permissions:manage", Role::Admin, Scope::Auth, "Change what each role may do"),
    listed("api_keys:view", Role::Member, Scope::Auth, "See the workspace's API keys"),
    listed("api_keys:manage", Role::Admin, Scope::Auth, "Issue, change and revoke API keys"),
    listed("modules:view", Role::Viewer, Scope::Read, "See which modules are on"),
    listed("modules:manage", Role::Admin, Scope::Schema, "Switch modules on and off, and set them up"),
    listed("audit:view", Role::Admin, Scope::Auth, "Read who did what"),
    listed("governance:view", Role::Admin, Scope::Auth, "See the workspace's security rules"),
    listed("governance:manage", Role::Owner, Scope::Auth, "Change the workspace's security rules"),
    listed("usage:view", Role::Member, Scope::Read, "See the plan, its limits and what is used"),
    listed("recordsets:view", Role::Viewer, Scope::Read, "See recordsets and their fields"),
    listed("recordsets:create", Role::Member, Scope::Schema, "Create recordsets"),
    listed("recordsets:edit", Role::Member, Scope::Schema, "Change recordsets and their fields"),
    listed("recordsets:delete", Role::Admin, Scope::Schema, "Delete recordsets with all they hold"),
    listed("records:view", Role::Viewer, Scope::Read, "Read records"),
    listed("records:create", Role::Member, Scope::Write, "Create records"),
    listed("records:edit", Role::Member, Scope::Write, "Change any record"),
    listed("records:edit_own", Role::Member, Scope::Write, "Change records that one has created"),
    listed("records:delete", Role::Member, Scope::Write, "Delete any record"),
    listed("records:delete_own", Role::Member, Scope::Write, "Delete records that one has created"),
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
    listed("jobs:retry", Role::Member, Scope::Write, "Run failed jobs again"),
    listed("jobs:edit", Role::Member, Scope::Write, "Change waiting jobs' priority"),
    listed("jobs:delete", Role::Admin, Scope::Write, "Delete ended jobs from the history"),
    listed("schedules:view", Role::Viewer, Scope::Read, "See scheduled jobs and their runs"),
    listed("schedules:manage", Role::Admin, Scope::Schema, "Create, change and delete scheduled jobs"),
    listed("dead_letters:view", Role::Member, Scope::Read, "Look at jobs that have failed for good"),
    listed("dead_letters:discard", Role::Admin, Scope::Write, "Discard jobs that have failed for good"),
];

/// Every permission.
#[must_use]
pub const fn catalogue() -> &'static [Listed] {
    CATALOGUE
}

/// A permission by its name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Listed> {
    CATALOGUE.iter().find(|listed| listed.name == name)
}

/// The same permission, for what one has made oneself, where there is such a one.
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
