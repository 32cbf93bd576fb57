//! `Authority`: what a caller may do in a workspace. Only [`judge`] makes one, of what one query has found about a
//! credential; whoever acts on a workspace's behalf takes one, so that there is no second way in.

use std::{collections::BTreeMap, net::IpAddr};

use chrono::{DateTime, Duration, Utc};

use super::Principal;
use crate::{
    UserId, WorkspaceId,
    access::{Held, Reach, Role, Scope},
    networks,
};

/// What a caller may do in one workspace, at one moment: the membership is active, the address is allowed, the
/// sign-in is recent enough, the workspace serves, and whoever the credential hangs on still holds it.
///
/// It is good for the request in which it was found. What lasts longer asks again, by
/// [`still_admitted`](super::still_admitted).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    workspace: WorkspaceId,
    principal: Principal,
    answerable: UserId,
    held: Held,
}

impl Authority {
    /// Where.
    #[must_use]
    pub fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    /// Who.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The person who acts; none for an API key.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        self.principal.user()
    }

    /// The person whose standing this is: for an API key, the one who made it or was handed it.
    #[must_use]
    pub fn answerable(&self) -> UserId {
        self.answerable
    }

    /// All that the caller may do.
    #[must_use]
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// The role of the person whose standing this is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.held.role()
    }

    /// Whether a permission is held, to everything.
    #[must_use]
    pub fn may(&self, permission: &str) -> bool {
        self.held.may(permission)
    }
}

/// How a credential stands in a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// No workspace is in question.
    Nowhere,
    /// The credential is not good, or no longer.
    Gone,
    /// Its holder is not in the workspace.
    Outside,
    /// The address is not on the workspace's allowlist.
    FromElsewhere,
    /// The workspace wants people to have signed in more recently.
    SignedInTooLongAgo,
    /// The workspace is being set up.
    NotReady,
    /// The workspace's tables are older than this release: little is served before they are migrated.
    Behind(Authority),
    /// The holder is in.
    Open(Authority),
}

impl Entry {
    /// The authority in a workspace that serves.
    #[must_use]
    pub fn open(self) -> Option<Authority> {
        match self {
            Self::Open(authority) => Some(authority),
            _ => None,
        }
    }

    /// All that the holder may do there, for what is also served while the workspace's tables are behind.
    #[must_use]
    pub fn held(&self) -> Option<&Held> {
        match self {
            Self::Open(authority) | Self::Behind(authority) => Some(&authority.held),
            _ => None,
        }
    }

    /// Whether the holder is in and holds a permission, for what is also served while the workspace's tables are
    /// behind.
    #[must_use]
    pub fn admits(&self, permission: &str) -> bool {
        self.held().is_some_and(|held| held.reach(permission) == Ok(Reach::All))
    }
}

/// A membership that is live, and what its workspace asks for.
pub(super) struct Standing {
    pub(super) workspace: WorkspaceId,
    pub(super) role: Role,
    pub(super) overrides: BTreeMap<String, bool>,
    pub(super) state: String,
    pub(super) migrations: Vec<i64>,
    pub(super) session_duration_secs: Option<i32>,
    pub(super) ip_allowlist: Vec<String>,
}

/// A credential that is good.
pub(super) struct Holder {
    pub(super) principal: Principal,
    /// Whose standing counts.
    pub(super) answerable: UserId,
    /// What the credential is limited to.
    pub(super) scopes: Option<Vec<Scope>>,
    /// When the person signed in, if they did.
    pub(super) signed_in_at: Option<DateTime<Utc>>,
}

/// How a holder stands in a workspace, from an address.
pub(super) fn judge(holder: &Holder, standing: Standing, from: Option<IpAddr>) -> Entry {
    // Asked first: what a session is too old for, it is from every address.
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
