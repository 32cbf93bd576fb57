//! How credentials that were let in before stand now, for what lasts longer than a request.

use std::net::IpAddr;

use sqlx::PgPool;

use super::{Credential, Found, Place, WorkspaceState, by_api_key, by_personal_token, by_session};
use crate::{UserId, WorkspaceId, access::Held};

/// What still has to be good: a credential that was let into a workspace from an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// With what somebody came.
    pub credential: Credential,
    /// Where they were let in.
    pub workspace: WorkspaceId,
    /// From where.
    pub from: Option<IpAddr>,
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
    /// The workspace's tables are older than this release.
    Behind(Held),
    /// The holder is in.
    Open(Held),
}

impl Entry {
    /// Whether the holder is in and holds a permission.
    #[must_use]
    pub fn admits(&self, permission: &str) -> bool {
        match self {
            Self::Open(held) | Self::Behind(held) => held.reach(permission).is_ok(),
            _ => false,
        }
    }

    fn of(found: Option<Found>, from: Option<IpAddr>) -> Self {
        let Some(found) = found else { return Self::Gone };
        if !found.may_come_from(from) {
            return Self::FromElsewhere;
        }
        match found.place {
            None => Self::Outside,
            Some(Place { state: WorkspaceState::Ready, held, .. }) => Self::Open(held),
            Some(Place { state: WorkspaceState::Behind, held, .. }) => Self::Behind(held),
            Some(Place { state: WorkspaceState::Provisioning, .. }) => Self::NotReady,
        }
    }
}

/// How credentials stand now that were let in before, in that order.
pub async fn still_admitted(pool: &PgPool, asked: &[Admitted]) -> Result<Vec<Entry>, sqlx::Error> {
    let mut entries = Vec::with_capacity(asked.len());
    for asked in asked {
        let found = find_by_id(pool, asked.credential, asked.workspace).await?;
        entries.push(Entry::of(found, asked.from));
    }
    Ok(entries)
}

async fn find_by_id(
    pool: &PgPool,
    credential: Credential,
    workspace: WorkspaceId,
) -> Result<Option<Found>, sqlx::Error> {
    match credential {
        Credential::Session(session) => {
            let user = sqlx::query_scalar!("select user_id from sessions where id = $1", session.0);
            let Some(user) = user.fetch_optional(pool).await? else { return Ok(None) };
            by_session(pool, UserId(user), session, Some(workspace)).await
        }
        Credential::ApiKey(key) => {
            let hash = sqlx::query_scalar!("select hash from api_keys where id = $1", key);
            let Some(hash) = hash.fetch_optional(pool).await? else { return Ok(None) };
            by_api_key(pool, &hash, Some(workspace)).await
        }
        Credential::PersonalToken(token) => {
            let hash = sqlx::query_scalar!("select hash from personal_tokens where id = $1", token);
            let Some(hash) = hash.fetch_optional(pool).await? else { return Ok(None) };
            by_personal_token(pool, &hash, Some(workspace)).await
        }
    }
}
