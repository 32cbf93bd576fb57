//! Roles, permissions and scopes: the access of each caller in a workspace.
//!
//! A permission is named where its route is declared. Members have the permissions of their role by default, as
//! changed by their workspace; keys and tokens have no more than their scopes allow. Nothing here
//! reads the database: [`Grants`] is made of the result of one query.

mod catalogue;
mod of_jobs;

use std::{collections::BTreeMap, fmt, str::FromStr};

use poem_openapi::Enum;
use serde::{Deserialize, Serialize};

pub use catalogue::{Listed, catalogue, find, is_listed};
pub use of_jobs::{Denied, IN_PERSON};

/// Role of a member in a workspace. Each role has all permissions of the roles before it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Enum, sqlx::Type,
)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Works with the existing structures.
    Member,
    /// Manages structures and members.
    Admin,
    /// Responsible for the workspace.
    Owner,
}

impl Role {
    /// All roles, the lowest first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Member, Self::Admin, Self::Owner];

    /// Whether this role has a permission by default.
    ///
    /// ```
    /// use domain::access::Role;
    /// assert!(Role::Viewer.may("records:view"));
    /// assert!(!Role::Viewer.may("records:create"));
    /// assert!(!Role::Owner.may("records:invent"));
    /// ```
    #[must_use]
    pub fn may(self, permission: &str) -> bool {
        find(permission).is_some_and(|listed| self >= listed.least)
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

/// Scope of a key or token. Each stands for itself: `write` without `read` allows writing and not reading.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Enum, sqlx::Type,
)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Scope {
    /// Reading data.
    Read,
    /// Changing data.
    Write,
    /// Changing the structure of data and the setup of the workspace.
    Schema,
    /// Imports and exports of files.
    Files,
    /// Members, keys and permissions.
    Auth,
    /// Features that use a language model.
    Ai,
    /// All scopes.
    #[serde(rename = "*")]
    #[oai(rename = "*")]
    #[sqlx(rename = "*")]
    All,
}

impl Scope {
    /// All scopes.
    pub const EACH: [Self; 7] =
        [Self::Read, Self::Write, Self::Schema, Self::Files, Self::Auth, Self::Ai, Self::All];

    /// The name in the database and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Schema => "schema",
            Self::Files => "files",
            Self::Auth => "auth",
            Self::Ai => "ai",
            Self::All => "*",
        }
    }

    /// Whether these scopes cover this one.
    #[must_use]
    pub fn is_in(self, scopes: &[Self]) -> bool {
        scopes.iter().any(|&scope| scope == self || scope == Self::All)
    }
}

/// Reach of a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All resources.
    All,
    /// The caller's own resources: the caller has the `_own` variant only.
    Own,
}

/// A permission that a workspace has granted or denied to a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Name of the permission.
    pub permission: String,
    /// Whether the role has it.
    pub granted: bool,
}

/// The permissions of a caller in a workspace: those of the role, as changed by the workspace, within the scopes
/// of the credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    role: Role,
    overrides: Vec<Override>,
    scopes: Option<Vec<Scope>>,
    is_acting: bool,
}

/// The reason for a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenialReason {
    /// The role lacks the permission.
    Permission,
    /// The key or token lacks the scope.
    Scope(Scope),
    /// The caller is staff acting as another user, and the effect would outlast the session.
    InPerson,
}

impl Grants {
    /// The permissions of a role with a workspace's overrides. The owner's can't be changed.
    #[must_use]
    pub fn of_role(role: Role, overrides: Vec<Override>) -> Self {
        let overrides = if role == Role::Owner { Vec::new() } else { overrides };
        Self { role, overrides, scopes: None, is_acting: false }
    }

    /// The same, with the overrides in the form of a row.
    #[must_use]
    pub fn with(role: Role, overrides: BTreeMap<String, bool>) -> Self {
        let overrides = overrides.into_iter();
        let overrides = overrides.map(|(permission, granted)| Override { permission, granted }).collect();
        Self::of_role(role, overrides)
    }

    /// Limits the permissions to those scopes.
    #[must_use]
    pub fn within(self, scopes: Vec<Scope>) -> Self {
        Self { scopes: Some(scopes), ..self }
    }

    /// The permissions of staff acting as the user: without those whose effect outlasts the session
    /// ([`Listed::outlasts`]).
    #[must_use]
    pub fn acted_for(self) -> Self {
        Self { is_acting: true, ..self }
    }

    /// The role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The reach of a permission for this caller.
    ///
    /// # Errors
    /// [`DenialReason`], if the caller lacks it.
    pub fn reach(&self, permission: &str) -> Result<Reach, DenialReason> {
        let listed = find(permission).ok_or(DenialReason::Permission)?;
        if self.is_acting && listed.outlasts() {
            return Err(DenialReason::InPerson);
        }
        if let Some(scopes) = &self.scopes
            && !listed.scope.is_in(scopes)
        {
            return Err(DenialReason::Scope(listed.scope));
        }
        if self.role_holds(listed) {
            return Ok(Reach::All);
        }
        match catalogue::own_variant(permission) {
            Some(own) if self.role_holds(own) => Ok(Reach::Own),
            _ => Err(DenialReason::Permission),
        }
    }

    /// Whether the caller has a permission, for all resources.
    #[must_use]
    pub fn may(&self, permission: &str) -> bool {
        self.reach(permission) == Ok(Reach::All)
    }

    /// Whether the caller may grant a scope to a key: only with all permissions that an admin has in that scope, so that
    /// no caller gains by a key what they lack.
    #[must_use]
    pub fn may_give(&self, scope: Scope) -> bool {
        let is_covered = !self.is_acting && self.scopes.as_ref().is_none_or(|scopes| scope.is_in(scopes));
        let mut of_keys =
            catalogue().iter().filter(|listed| Role::Admin >= listed.least && listed.scope.is_in(&[scope]));
        is_covered && of_keys.all(|listed| self.role_holds(listed))
    }

    /// Whether all permissions of another are included: a caller who grants a role must have all its permissions.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let holds = |listed: &Listed| {
            let wider = listed.name.strip_suffix("_own");
            self.may(listed.name) || wider.is_some_and(|wider| self.may(wider))
        };
        other.permissions().all(holds)
    }

    /// All permissions, in the catalogue's order.
    pub fn permissions(&self) -> impl Iterator<Item = &'static Listed> {
        catalogue().iter().filter(|listed| {
            self.role_holds(listed)
                && self.scopes.as_ref().is_none_or(|scopes| listed.scope.is_in(scopes))
                && !(self.is_acting && listed.outlasts())
        })
    }

    fn role_holds(&self, listed: &Listed) -> bool {
        let changed = self.overrides.iter().find(|changed| changed.permission == listed.name);
        changed.map_or(self.role >= listed.least, |changed| changed.granted)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is no role or scope.
#[derive(Debug, thiserror::Error)]
#[error("unknown role or scope")]
pub struct UnknownName;

impl FromStr for Role {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|role| role.name() == name).ok_or(UnknownName)
    }
}

impl FromStr for Scope {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::EACH.into_iter().find(|scope| scope.name() == name).ok_or(UnknownName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(permission: &str, granted: bool) -> Override {
        Override { permission: permission.to_owned(), granted }
    }

    #[test]
    fn a_workspace_changes_what_a_role_may_but_never_the_owners() {
        let changes = vec![granted("records:create", false), granted("recordsets:delete", true)];
        let member = Grants::of_role(Role::Member, changes.clone());
        assert!(!member.may("records:create") && member.may("recordsets:delete"));
        assert!(Grants::of_role(Role::Owner, changes).may("records:create"));
    }

    #[test]
    fn without_the_permission_its_own_variant_reaches_what_one_has_made() {
        let member = Grants::of_role(Role::Member, vec![granted("records:edit", false)]);
        assert_eq!(member.reach("records:edit"), Ok(Reach::Own));
        assert!(!member.may("records:edit"));
        assert_eq!(
            Grants::of_role(Role::Viewer, vec![]).reach("records:edit"),
            Err(DenialReason::Permission)
        );
    }

    #[test]
    fn a_scope_narrows_and_never_widens() {
        let reader = Grants::of_role(Role::Admin, vec![]).within(vec![Scope::Read]);
        assert!(reader.may("records:view"));
        assert_eq!(reader.reach("records:create"), Err(DenialReason::Scope(Scope::Write)));
        let all = Grants::of_role(Role::Viewer, vec![]).within(vec![Scope::All]);
        assert_eq!(all.reach("records:create"), Err(DenialReason::Permission));
    }

    #[test]
    fn who_acts_as_a_person_holds_nothing_that_outlasts_it() {
        let acting = Grants::of_role(Role::Owner, vec![]).acted_for();
        assert!(acting.may("records:create") && acting.may("members:view"));
        for permission in ["members:edit_own", "api_keys:manage", "governance:manage", "schedules:manage"] {
            assert_eq!(acting.reach(permission), Err(DenialReason::InPerson), "{permission}");
            assert!(acting.permissions().all(|listed| listed.name != permission), "{permission}");
        }
        assert!(!Scope::EACH.into_iter().any(|scope| acting.may_give(scope)));
    }

    #[test]
    fn a_caller_cannot_give_a_key_a_scope_beyond_their_permissions() {
        let admin = || Grants::of_role(Role::Admin, vec![]);
        assert!(Scope::EACH.into_iter().all(|scope| admin().may_give(scope)));
        let member = Grants::of_role(Role::Member, vec![granted("api_keys:manage", true)]);
        assert!(
            member.may_give(Scope::Read) && !member.may_give(Scope::Write) && !member.may_give(Scope::All)
        );
        let restricted = Grants::of_role(Role::Admin, vec![granted("records:delete", false)]);
        assert!(!restricted.may_give(Scope::Write) && !restricted.may_give(Scope::All));
        assert!(restricted.may_give(Scope::Auth));
        let key = admin().within(vec![Scope::Read, Scope::Auth]);
        assert!(key.may_give(Scope::Read) && !key.may_give(Scope::Write) && !key.may_give(Scope::All));
    }

    #[test]
    fn who_gives_a_role_holds_all_that_it_does() {
        let of = |role| Grants::of_role(role, vec![]);
        assert!(of(Role::Admin).covers(&of(Role::Member)) && !of(Role::Admin).covers(&of(Role::Owner)));
        let key = |scopes: &[Scope]| of(Role::Owner).within(scopes.to_vec());
        assert!(key(&[Scope::All]).covers(&of(Role::Owner)));
        assert!(!key(&[Scope::Auth]).covers(&of(Role::Viewer)));
        assert!(key(&[Scope::Auth, Scope::Read]).covers(&of(Role::Viewer)));
        let raised = Grants::of_role(Role::Member, vec![granted("recordsets:delete", true)]);
        let lowered = Grants::of_role(Role::Admin, vec![granted("recordsets:delete", false)]);
        assert!(!lowered.covers(&raised));
    }

    #[test]
    fn names_are_listed_once_and_an_own_variant_has_its_permission() {
        for (i, listed) in catalogue().iter().enumerate() {
            assert!(!catalogue()[..i].iter().any(|before| before.name == listed.name), "{}", listed.name);
            if let Some(wider) = listed.name.strip_suffix("_own") {
                assert!(find(wider).is_some(), "{}", listed.name);
            }
        }
    }
}
