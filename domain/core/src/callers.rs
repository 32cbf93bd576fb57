//! Who calls, by what they bring: a session's access token, an API key or a personal token. One query
//! per request finds the credential together with how its holder stands in the workspace in question, and one
//! function judges that: an [`Authority`] comes from nowhere else.

mod authority;
mod lookup;

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

pub use authority::{Authority, Entry};

use crate::{Actor, ApiKeyId, CredentialType, PersonalTokenId, SessionId, UserId, WorkspaceId, secret};
use lookup::{Details, Key, Place, Tried, Try};

/// What an API key begins with.
pub const API_KEY_PREFIX: &str = "mrk_";
/// What a personal token begins with.
pub const PERSONAL_TOKEN_PREFIX: &str = "mrp_";

/// A credential that a request brings, unchecked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Brought {
    /// The user and the session that an access token names; its signature is good.
    Session(UserId, SessionId),
    /// An API key, or a personal token: what it is shows at its beginning.
    Secret(String),
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A person who has signed in, or a member of staff in their place.
    Session {
        /// The sign-in.
        session: SessionId,
        /// The person.
        user: UserId,
        /// The member of staff.
        impersonator: Option<UserId>,
    },
    /// A program of a workspace.
    ApiKey {
        /// The key.
        key: ApiKeyId,
        /// Its workspace.
        workspace: WorkspaceId,
    },
    /// A program of a person.
    PersonalToken {
        /// The token.
        token: PersonalTokenId,
        /// The person.
        user: UserId,
        /// Whether it may do more than read.
        writes: bool,
    },
}

/// What a credential lives and dies with: what tickets and links are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Credential {
    /// A sign-in.
    #[serde(rename = "sid")]
    Session(SessionId),
    /// An API key.
    #[serde(rename = "key")]
    ApiKey(ApiKeyId),
    /// A personal token.
    #[serde(rename = "pat")]
    PersonalToken(PersonalTokenId),
}

/// A good credential, as [`find`] has found it. What its holder may do shows in [`Found::checked`].
#[derive(Debug, Clone)]
pub struct Found {
    /// Who calls.
    pub principal: Principal,
    /// The workspace that the request is about, if its holder is in it: whose limits count.
    pub workspace: Option<WorkspaceId>,
    /// The plan that limits them, of an API key's workspace.
    pub plan: String,
    /// The key's own limit of requests a minute.
    pub rate_per_minute: Option<u32>,
    /// When the credential was last noted to be used, where that is noted.
    pub last_used_at: Option<DateTime<Utc>>,
    refused: bool,
    entry: Entry,
}

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

impl Principal {
    /// The person, if one calls.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        match self {
            Self::Session { user, .. } | Self::PersonalToken { user, .. } => Some(*user),
            Self::ApiKey { .. } => None,
        }
    }

    /// What their tickets live and die with.
    #[must_use]
    pub fn credential(&self) -> Credential {
        match *self {
            Self::Session { session, .. } => Credential::Session(session),
            Self::ApiKey { key, .. } => Credential::ApiKey(key),
            Self::PersonalToken { token, .. } => Credential::PersonalToken(token),
        }
    }

    /// Puts them into an actor.
    #[must_use]
    pub fn acting(&self, actor: Actor) -> Actor {
        let (kind, id) = match *self {
            Self::Session { session, .. } => (CredentialType::Session, session.0),
            Self::ApiKey { key, .. } => (CredentialType::ApiKey, key.0),
            Self::PersonalToken { token, .. } => (CredentialType::PersonalToken, token.0),
        };
        let impersonator_id = match *self {
            Self::Session { impersonator, .. } => impersonator,
            _ => None,
        };
        Actor {
            user_id: self.user(),
            credential_type: Some(kind),
            credential_id: Some(id),
            impersonator_id,
            ..actor
        }
    }
}

impl Credential {
    /// The session, key or token.
    #[must_use]
    pub fn id(self) -> Uuid {
        match self {
            Self::Session(id) => id.0,
            Self::ApiKey(id) => id.0,
            Self::PersonalToken(id) => id.0,
        }
    }
}

impl Found {
    fn of(tried: Tried) -> Self {
        let Tried { principal, workspace, entry, details, .. } = tried;
        let Details { plan, rate_per_minute, last_used_at, refused } = details;
        Self { principal, workspace, plan, rate_per_minute, last_used_at, refused, entry }
    }

    /// Who calls, and how they stand in the workspace in question. An address that the credential's own allowlist
    /// refuses is refused everywhere.
    #[must_use]
    pub fn checked(self) -> (Principal, Entry) {
        (self.principal, if self.refused { Entry::FromElsewhere } else { self.entry })
    }
}

/// Looks a credential up, and how its holder stands, from an address, in a workspace: the one that is named, or
/// else the only one that the key or token is good in. None when the credential is not good, or no longer.
pub async fn find(
    pool: &PgPool,
    brought: &Brought,
    workspace: Option<WorkspaceId>,
    from: Option<IpAddr>,
) -> Result<Option<Found>, sqlx::Error> {
    let place = Place::One(workspace);
    let hashed = |secret: &str| [Try { key: Key::Hash(secret::hash(secret)), place, from }];
    let found = match brought {
        Brought::Session(user, session) => {
            let mut found = lookup::sessions(pool, &[Try { key: Key::Id(session.0), place, from }]).await?;
            found.retain(|tried| tried.principal.user() == Some(*user));
            found
        }
        Brought::Secret(secret) if secret.starts_with(API_KEY_PREFIX) => {
            lookup::api_keys(pool, &hashed(secret)).await?
        }
        Brought::Secret(secret) => lookup::personal_tokens(pool, &hashed(secret)).await?,
    };
    Ok(found.into_iter().next().map(Found::of))
}

/// How a caller stands in a workspace, for routes that learn which one it is only from a body.
pub async fn enter(
    pool: &PgPool,
    credential: Credential,
    workspace: WorkspaceId,
    from: Option<IpAddr>,
) -> Result<Entry, sqlx::Error> {
    let entries = still_admitted(pool, &[Admitted { credential, workspace, from }]).await?;
    Ok(entries.into_iter().next().unwrap_or(Entry::Gone))
}

/// How credentials stand now that were let in before, in that order: for what lasts longer than a request. One
/// query for each kind of credential.
pub async fn still_admitted(pool: &PgPool, asked: &[Admitted]) -> Result<Vec<Entry>, sqlx::Error> {
    let tries: Vec<_> =
        asked.iter().map(|asked| (asked.credential, Place::One(Some(asked.workspace)), asked.from)).collect();
    let mut entries = vec![Entry::Gone; asked.len()];
    for tried in lookup::by_id(pool, &tries).await? {
        let index = tried.index;
        entries[index] = Found::of(tried).checked().1;
    }
    Ok(entries)
}

/// How a caller stands in each of the workspaces that the credential opens; those that are being set up are among
/// them.
pub async fn entries(
    pool: &PgPool,
    credential: Credential,
    from: Option<IpAddr>,
) -> Result<Vec<(WorkspaceId, Entry)>, sqlx::Error> {
    let tried = lookup::by_id(pool, &[(credential, Place::Each, from)]).await?;
    let found = tried.into_iter().map(Found::of);
    Ok(found.filter_map(|found| found.workspace.map(|workspace| (workspace, found.checked().1))).collect())
}

/// The caller's authority in each of the workspaces that they may enter now: with that credential, from that
/// address.
pub async fn authorities(
    pool: &PgPool,
    credential: Credential,
    from: Option<IpAddr>,
) -> Result<Vec<Authority>, sqlx::Error> {
    let entries = entries(pool, credential, from).await?;
    Ok(entries.into_iter().filter_map(|(_, entry)| entry.open()).collect())
}

/// Whether a credential is good at all, wherever: for what hangs on it and on no workspace.
pub async fn is_alive(pool: &PgPool, credential: Credential) -> Result<bool, sqlx::Error> {
    let tried = lookup::by_id(pool, &[(credential, Place::One(None), None)]).await?;
    Ok(!tried.is_empty())
}

/// Notes that a key or token is in use: for its owner, who sees when it last was.
pub async fn note_use(pool: &PgPool, credential: Credential) -> Result<(), sqlx::Error> {
    match credential {
        Credential::Session(_) => {}
        Credential::ApiKey(key) => {
            sqlx::query!("update api_keys set last_used_at = now() where id = $1", key.0)
                .execute(pool)
                .await?;
        }
        Credential::PersonalToken(token) => {
            sqlx::query!("update personal_tokens set last_used_at = now() where id = $1", token.0)
                .execute(pool)
                .await?;
        }
    }
    Ok(())
}

/// The workspace that a person has switched to, whether or not they may enter it.
pub async fn switched_to(pool: &PgPool, user: UserId) -> Result<Option<WorkspaceId>, sqlx::Error> {
    let current = sqlx::query_scalar!("select current_workspace_id from users where id = $1", user.0)
        .fetch_optional(pool)
        .await?;
    Ok(current.flatten())
}
