//! API keys: how programs of a workspace come in. A key is shown once and kept as its hash; what is seen of it
//! afterwards is its beginning. Revoking is for good, pausing isn't; rotating puts a successor in a key's place.
//!
//! A key may do what its scopes say, as far as the person may who answers for it (`created_by`): who made it, or was
//! handed it under a new secret. Once they are out, so is the key. Nobody gives a key more than they hold
//! ([`Held::may_give`](domain::access::Held::may_give)), and nobody touches one of which they lack a scope: its
//! secret, its allowlist and its life are its holder's power.

mod change;
mod issue;

use chrono::{DateTime, Utc};
use domain::{ApiKeyId, DomainError, FieldErrors, PageRequest, Refusal, UserId, WorkspaceId, access::Scope};
use poem_openapi::Object;
use sqlx::PgConnection;

pub use change::{KeyChanges, change, delete, revoke, toggle};
pub use issue::{Issued, NewKey, Rotation, issue, rotate};

/// A key, without the secret.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// What it is called.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Its first characters, by which people tell keys apart.
    pub prefix: String,
    /// What it is for, as far as permissions go.
    pub scopes: Vec<Scope>,
    /// Networks that it may be used from; empty: from anywhere.
    pub ip_allowlist: Vec<String>,
    /// Requests a minute, where they are fewer than the plan's.
    pub rate_per_minute: Option<i32>,
    /// Whether it is neither paused nor revoked.
    pub is_active: bool,
    /// Whether it is over for good.
    pub is_revoked: bool,
    /// When it is over by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// Person it acts for: its maker, or the member it was handed to.
    pub created_by: Option<UserId>,
    /// Since when there is this key.
    pub created_at: DateTime<Utc>,
    /// When its settings last changed.
    pub updated_at: DateTime<Utc>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// The person who revoked it.
    pub revoked_by: Option<UserId>,
    /// The key that took its place.
    pub replaced_by: Option<ApiKeyId>,
}

/// Which keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filter {
    /// Active ones, or the others.
    pub is_active: Option<bool>,
    /// Revoked ones, or the others.
    pub is_revoked: Option<bool>,
}

/// Why something about a key didn't happen.
#[derive(Debug, thiserror::Error)]
pub enum ApiKeyError {
    /// This workspace has no such key. 404.
    #[error("there is no such thing here")]
    NotFound,
    /// Values that break a rule, by field. 422.
    #[error("some values are not valid")]
    Invalid(FieldErrors),
    /// It is over for good. 409 `key_revoked`.
    #[error("the key is revoked, and stays so: issue another one")]
    Revoked,
    /// A successor would be over, too. 409 `key_expired`.
    #[error("the key has expired, and a successor would have, too: issue another one")]
    Expired,
    /// The workspace has as many as its plan allows. 402.
    #[error(
        "the plan allows {0} API keys that are neither revoked nor expired: revoke one, or choose a larger plan"
    )]
    TooMany(i64),
    /// The caller doesn't hold what the scope lets keys do. 403.
    #[error("a key with the scope {0} may do what you may not")]
    MoreThanHeld(Scope),
    /// The key acts for a person who holds more than the caller, and the change would let it do more. 403.
    #[error(
        "this change lets the key do more for its maker, who may do more here than the caller: rotate the key instead"
    )]
    OfMore,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl DomainError for ApiKeyError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::NotFound => Refusal::NotFound,
            Self::Invalid(errors) => Refusal::Invalid(errors.clone()),
            Self::Revoked => Refusal::Conflict("key_revoked".into()),
            Self::Expired => Refusal::Conflict("key_expired".into()),
            Self::TooMany(_) => Refusal::LimitExceeded,
            Self::MoreThanHeld(_) | Self::OfMore => Refusal::Forbidden,
            Self::Database(error) => error.refusal(),
        }
    }
}

/// What the live keys are called that a person has made, in whatever workspace.
pub(crate) async fn made_by(tx: &mut jobs::Tx, user: UserId) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "select name from api_keys
          where created_by = $1 and revoked_at is null and (expires_at is null or expires_at > now())
          order by id limit 100",
        user.0,
    )
    .fetch_all(tx.conn())
    .await
}

/// A part of a workspace's keys, the newest first.
pub async fn list(
    conn: &mut PgConnection,
    workspace: WorkspaceId,
    filter: Filter,
    part: PageRequest,
) -> Result<Vec<ApiKey>, ApiKeyError> {
    Ok(find(conn, workspace, None, filter, part).await?)
}

async fn find(
    conn: &mut PgConnection,
    workspace: WorkspaceId,
    id: Option<ApiKeyId>,
    filter: Filter,
    part: PageRequest,
) -> Result<Vec<ApiKey>, sqlx::Error> {
    sqlx::query_as!(
        ApiKey,
        r#"select id, name, description, prefix, scopes, ip_allowlist, rate_per_minute, is_active,
                  revoked_at is not null as "is_revoked!", expires_at, last_used_at, created_by, created_at,
                  updated_at, revoked_at, revoked_by, replaced_by
             from api_keys
            where workspace_id = $1
              and ($2::uuid is null or id = $2)
              and ($3::boolean is null or is_active = $3)
              and ($4::boolean is null or (revoked_at is not null) = $4)
            order by id desc limit $5 offset $6"#,
        workspace.0,
        id.map(|id| id.0),
        filter.is_active,
        filter.is_revoked,
        part.limit,
        part.offset,
    )
    .fetch_all(conn)
    .await
}

/// How many keys that are.
pub async fn count(
    conn: &mut PgConnection,
    workspace: WorkspaceId,
    filter: Filter,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from api_keys
            where workspace_id = $1
              and ($2::boolean is null or is_active = $2)
              and ($3::boolean is null or (revoked_at is not null) = $3)"#,
        workspace.0,
        filter.is_active,
        filter.is_revoked,
    )
    .fetch_one(conn)
    .await
}

/// One key.
pub async fn get(
    conn: &mut PgConnection,
    workspace: WorkspaceId,
    id: ApiKeyId,
) -> Result<ApiKey, ApiKeyError> {
    let found = find(conn, workspace, Some(id), Filter::default(), PageRequest::ONE).await?;
    found.into_iter().next().ok_or(ApiKeyError::NotFound)
}

/// One key, which nobody else changes before this transaction is over.
async fn locked(
    conn: &mut PgConnection,
    workspace: WorkspaceId,
    id: ApiKeyId,
) -> Result<ApiKey, ApiKeyError> {
    sqlx::query_scalar!(
        "select id from api_keys where workspace_id = $1 and id = $2 for update",
        workspace.0,
        id.0
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(ApiKeyError::NotFound)?;
    get(conn, workspace, id).await
}
