//! `Authority`: a caller's permissions in a workspace. Only [`judge`] creates one, from the result of one query
//! about a credential; every function that acts on a workspace's behalf takes one, so that there is no second
//! way in.

use std::{collections::BTreeMap, net::IpAddr};

use chrono::{DateTime, Duration, Utc};

use super::Principal;
use crate::{
    UserId, WorkspaceId,
    access::{Held, Reach, Role, Scope},
    networks,
};

/// A caller's permissions in one workspace, at one moment: the membership is active, the address is allowed,
/// the sign-in is recent enough, the workspace is available, and the user whom the credential depends on still
/// has access.
///
/// It is valid for the request in which it was found. Answers that outlast a request check again, by
/// [`still_admitted`](super::still_admitted).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    workspace: WorkspaceId,
    principal: Principal,
    answerable: UserId,
    held: Held,
}

impl Authority {
    /// Workspace.
    #[must_use]
    pub fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    /// Identity of the caller.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The acting user; none for an API key.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        self.principal.user()
    }

    /// The user whose membership this is: for an API key, the one who created it or took it over.
    #[must_use]
    pub fn answerable(&self) -> UserId {
        self.answerable
    }

    /// All permissions of the caller.
    #[must_use]
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Role of the user whose membership this is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.held.role()
    }

    /// Whether the caller has a permission, for all resources.
    #[must_use]
    pub fn may(&self, permission: &str) -> bool {
        self.held.may(permission)
    }
}

/// A credential's access to a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The request concerns no workspace.
    Nowhere,
    /// The credential is invalid or has expired.
    Gone,
    /// The holder is no member of the workspace.
    Outside,
    /// The address is not on the workspace's allowlist.
    FromElsewhere,
    /// The workspace requires a more recent sign-in.
    SignedInTooLongAgo,
    /// The workspace is being set up.
    NotReady,
    /// The workspace's tables are older than this release: few routes are available before their migration.
    Behind(Authority),
    /// The holder has access.
    Open(Authority),
}

impl Entry {
    /// The authority in an available workspace.
    #[must_use]
    pub fn open(self) -> Option<Authority> {
        match self {
            Self::Open(authority) => Some(authority),
            _ => None,
        }
    }

    /// All permissions of the holder there, for routes that are also available while the workspace's tables are
    /// behind.
    #[must_use]
    pub fn held(&self) -> Option<&Held> {
        match self {
            Self::Open(authority) | Self::Behind(authority) => Some(&authority.held),
            _ => None,
        }
    }

    /// Whether the holder has access and a permission, for routes that are also available while the workspace's
    /// tables are behind.
    #[must_use]
    pub fn admits(&self, permission: &str) -> bool {
        self.held().is_some_and(|held| held.reach(permission) == Ok(Reach::All))
    }
}

/// An active membership, with the requirements of its workspace.
pub(super) struct Standing {
    pub(super) workspace: WorkspaceId,
    pub(super) role: Role,
    pub(super) overrides: BTreeMap<String, bool>,
    pub(super) state: String,
    pub(super) migrations: Vec<i64>,
    pub(super) session_duration_secs: Option<i32>,
    pub(super) ip_allowlist: Vec<String>,
}

/// A valid credential.
pub(super) struct Holder {
    pub(super) principal: Principal,
    /// User whose membership counts.
    pub(super) answerable: UserId,
    /// Scopes that limit the credential.
    pub(super) scopes: Option<Vec<Scope>>,
    /// Time of the sign-in, for a session.
    pub(super) signed_in_at: Option<DateTime<Utc>>,
}

/// A holder's access to a workspace, from an address.
pub(super) fn judge(holder: &Holder, standing: Standing, from: Option<IpAddr>) -> Entry {
    // Checked first: a session that is too old is so from every address.
    let longest = standing.session_duration_secs.map(|seconds| Duration::seconds(seconds.into()));
    if let (Some(longest), Some(at)) = (longest, holder.signed_in_at)
        && at + longest < jobs::clock::now()
    {
        return Entry::SignedInTooLongAgo;
    }
    if !networks::let_in(&standing.ip_allowlist, from) {
        return Entry::FromElsewhere;
    }
    if standing.state != "ready" {
        return Entry::NotReady;
    }
    let held = Held::with(standing.role, standing.overrides);
    let is_impersonation = matches!(holder.principal, Principal::Session { impersonator: Some(_), .. });
    let held = match &holder.scopes {
        Some(scopes) => held.within(scopes.clone()),
        None if is_impersonation => held.acted_for(),
        None => held,
    };
    let authority = Authority {
        workspace: standing.workspace,
        principal: holder.principal.clone(),
        answerable: holder.answerable,
        held,
    };
    if crate::migrations::are_complete(&standing.migrations) {
        Entry::Open(authority)
    } else {
        Entry::Behind(authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SessionId;

    fn person(impersonator: Option<UserId>) -> Holder {
        let user = UserId::new();
        Holder {
            principal: Principal::Session { session: SessionId::new(), user, impersonator },
            answerable: user,
            scopes: None,
            signed_in_at: Some(jobs::clock::now() - Duration::seconds(400)),
        }
    }

    fn standing() -> Standing {
        Standing {
            workspace: WorkspaceId::new(),
            role: Role::Owner,
            overrides: BTreeMap::new(),
            state: "ready".to_owned(),
            migrations: crate::migrations::workspace_versions().to_vec(),
            session_duration_secs: None,
            ip_allowlist: Vec::new(),
        }
    }

    #[test]
    fn an_allowlist_lets_in_its_networks_and_an_empty_one_everybody() {
        let from = |list: &[&str], ip: &str| {
            let list = list.iter().map(|&network| network.to_owned()).collect();
            let standing = Standing { ip_allowlist: list, ..standing() };
            judge(&person(None), standing, ip.parse().ok()) != Entry::FromElsewhere
        };
        assert!(from(&[], "10.1.2.3") && from(&[], "unknown"));
        assert!(from(&["10.0.0.0/8"], "10.1.2.3") && from(&["10.0.0.0/8"], "::ffff:10.9.9.9"));
        assert!(!from(&["10.0.0.0/8"], "11.0.0.1") && !from(&["10.0.0.0/8"], "unknown"));
    }

    #[test]
    fn a_sign_in_is_as_recent_as_the_workspace_asks() {
        let within = |seconds| {
            let standing = Standing { session_duration_secs: seconds, ..standing() };
            judge(&person(None), standing, None).open().is_some()
        };
        assert!(within(None) && within(Some(500)) && !within(Some(300)));
    }

    #[test]
    fn a_workspace_that_does_not_serve_gives_no_authority() {
        let state = Standing { state: "provisioning".to_owned(), ..standing() };
        assert_eq!(judge(&person(None), state, None), Entry::NotReady);
        let all = standing().migrations;
        for lacking in 0..all.len() {
            let mut migrations = all.clone();
            migrations.remove(lacking);
            let behind = judge(&person(None), Standing { migrations, ..standing() }, None);
            assert!(
                matches!(behind, Entry::Behind(_)) && behind.admits("jobs:view") && behind.open().is_none()
            );
        }
        let newer = Standing { migrations: [all, vec![i64::MAX]].concat(), ..standing() };
        assert!(judge(&person(None), newer, None).open().is_some(), "a newer release has migrated it");
    }

    #[test]
    fn staff_who_act_as_somebody_leave_nothing_behind_that_outlasts_it() {
        let authority = judge(&person(Some(UserId::new())), standing(), None).open().unwrap();
        assert!(authority.may("records:create") && authority.may("members:view"));
        for permission in ["members:edit", "members:invite", "api_keys:manage", "schedules:manage"] {
            assert!(!authority.may(permission), "{permission}");
        }
    }
}
