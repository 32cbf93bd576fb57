//! Callers, by their credentials: a session's access token, an API key or a personal token. One query
//! per request finds the credential together with its holder's access to the workspace in question, and one
//! function judges that: there is no other source of an [`Authority`].

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

/// Prefix of API keys.
pub const API_KEY_PREFIX: &str = "mrk_";
/// Prefix of personal tokens.
pub const PERSONAL_TOKEN_PREFIX: &str = "mrp_";

/// A credential of a request, unchecked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Brought {
    /// User and session of an access token with a valid signature.
    Session(UserId, SessionId),
    /// An API key or a personal token, distinguished by its prefix.
    Secret(String),
}

/// Identity of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A signed-in user, or staff acting as one.
    Session {
        /// Session id.
        session: SessionId,
        /// User id.
        user: UserId,
        /// Staff account acting as the user.
        impersonator: Option<UserId>,
    },
    /// A program of a workspace.
    ApiKey {
        /// Key id.
        key: ApiKeyId,
        /// Workspace of the key.
        workspace: WorkspaceId,
    },
    /// A program of a user.
    PersonalToken {
        /// Token id.
        token: PersonalTokenId,
        /// User id.
        user: UserId,
        /// Whether the token may do more than read.
        writes: bool,
    },
}

/// The credential on whose validity tickets and links depend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Credential {
    /// A session.
    #[serde(rename = "sid")]
    Session(SessionId),
    /// An API key.
    #[serde(rename = "key")]
    ApiKey(ApiKeyId),
    /// A personal token.
    #[serde(rename = "pat")]
    PersonalToken(PersonalTokenId),
}

/// A valid credential, as found by [`find`]. The permissions of its holder result from [`Found::checked`].
#[derive(Debug, Clone)]
pub struct Found {
    /// Identity of the caller.
    pub principal: Principal,
    /// Workspace of the request, if the holder belongs to it: its limits count.
    pub workspace: Option<WorkspaceId>,
    /// Plan with the caller's limits, of an API key's workspace.
    pub plan: String,
    /// The key's own limit of requests per minute.
    pub rate_per_minute: Option<u32>,
    /// Time of the last recorded use, where that is recorded.
    pub last_used_at: Option<DateTime<Utc>>,
    refused: bool,
    entry: Entry,
}

/// A credential that was admitted to a workspace from an address, to be checked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// Credential.
    pub credential: Credential,
    /// Workspace that it was admitted to.
    pub workspace: WorkspaceId,
    /// Client address.
    pub from: Option<IpAddr>,
}

impl Principal {
    /// The user, if the caller is one.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        match self {
            Self::Session { user, .. } | Self::PersonalToken { user, .. } => Some(*user),
            Self::ApiKey { .. } => None,
        }
    }

    /// The credential on which the caller's tickets depend.
    #[must_use]
    pub fn credential(&self) -> Credential {
        match *self {
            Self::Session { session, .. } => Credential::Session(session),
            Self::ApiKey { key, .. } => Credential::ApiKey(key),
            Self::PersonalToken { token, .. } => Credential::PersonalToken(token),
        }
    }

    /// Adds the caller to an actor.
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
    /// Id of the session, key or token.
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

    /// The identity of the caller, and its access to the workspace in question. An address that the credential's own
    /// allowlist refuses is refused everywhere.
    #[must_use]
    pub fn checked(self) -> (Principal, Entry) {
        (self.principal, if self.refused { Entry::FromElsewhere } else { self.entry })
    }
}

/// Finds a credential and its holder's access, from an address, to a workspace: the given one, or
/// else the only one that the key or token is valid in. None if the credential is invalid or has expired.
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

/// A caller's access to a workspace, for routes whose workspace is known only from the body.
pub async fn enter(
    pool: &PgPool,
    credential: Credential,
    workspace: WorkspaceId,
    from: Option<IpAddr>,
) -> Result<Entry, sqlx::Error> {
    let entries = still_admitted(pool, &[Admitted { credential, workspace, from }]).await?;
    Ok(entries.into_iter().next().unwrap_or(Entry::Gone))
}

/// The present access of credentials that were admitted before, in that order: for answers that outlast a
/// request. One query for each kind of credential.
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

/// A caller's access to each of the workspaces of the credential, including those that are being set up.
pub async fn entries(
    pool: &PgPool,
    credential: Credential,
    from: Option<IpAddr>,
) -> Result<Vec<(WorkspaceId, Entry)>, sqlx::Error> {
    let tried = lookup::by_id(pool, &[(credential, Place::Each, from)]).await?;
    let found = tried.into_iter().map(Found::of);
    Ok(found.filter_map(|found| found.workspace.map(|workspace| (workspace, found.checked().1))).collect())
}

/// The caller's authority in each of the workspaces that the caller may enter now: with that credential, from that
/// address.
pub async fn authorities(
    pool: &PgPool,
    credential: Credential,
    from: Option<IpAddr>,
) -> Result<Vec<Authority>, sqlx::Error> {
    let entries = entries(pool, credential, from).await?;
    Ok(entries.into_iter().filter_map(|(_, entry)| entry.open()).collect())
}

/// Whether a credential is valid at all, independent of a workspace.
pub async fn is_alive(pool: &PgPool, credential: Credential) -> Result<bool, sqlx::Error> {
    let tried = lookup::by_id(pool, &[(credential, Place::One(None), None)]).await?;
    Ok(!tried.is_empty())
}

/// Records the use of a key or token, for its owner.
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

/// The workspace that a user has last switched to, whether or not the user may enter it.
pub async fn switched_to(pool: &PgPool, user: UserId) -> Result<Option<WorkspaceId>, sqlx::Error> {
    let current = sqlx::query_scalar!("select current_workspace_id from users where id = $1", user.0)
        .fetch_optional(pool)
        .await?;
    Ok(current.flatten())
}
