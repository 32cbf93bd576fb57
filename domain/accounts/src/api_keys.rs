//! API keys: the credentials of a workspace's programs. A key is shown once and stored as its hash; afterwards only
//! its first characters are shown. Revoking is permanent, pausing is not; rotating replaces a key by a successor.
//!
//! A key has the permissions of its scopes, as far as the user who answers for it (`created_by`) has them: its
//! issuer, or the member to whom it was reassigned under a new secret. It becomes invalid when that user
//! leaves. A caller grants a key no more than the caller has
//! ([`Held::may_give`](domain::access::Held::may_give)), and changes none of which the caller lacks a scope,
//! since its secret, its allowlist and its lifetime give the power of its holder.

mod change;
mod issue;

use chrono::{DateTime, Utc};
use domain::{ApiKeyId, Error, PageRequest, UserId, WorkspaceId, access::Scope};
use poem_openapi::Object;
use sqlx::PgConnection;

pub use change::{KeyChanges, change, delete, revoke, toggle};
pub use issue::{Issued, NewKey, Rotation, issue, rotate};

/// An API key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct ApiKey {
    /// API key id.
    pub id: ApiKeyId,
    /// Name.
    pub name: String,
    /// Description; null if none is set.
    pub description: Option<String>,
    /// First characters of the key, for telling keys apart.
    pub prefix: String,
    /// Scopes that are granted to the key.
    pub scopes: Vec<Scope>,
    /// Networks that the key may be used from; empty for any address.
    pub ip_allowlist: Vec<String>,
    /// Maximum number of requests per minute; null for the plan's limit.
    pub rate_per_minute: Option<i32>,
    /// Whether the key is active: neither paused nor revoked.
    pub is_active: bool,
    /// Whether the key is revoked.
    pub is_revoked: bool,
    /// Expiry time; null if the key does not expire.
    pub expires_at: Option<DateTime<Utc>>,
    /// Time of the last use, to the minute; null if the key has not been used.
    pub last_used_at: Option<DateTime<Utc>>,
    /// Id of the user that it acts for: its issuer, or the member to whom it was reassigned.
    pub created_by: Option<UserId>,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// Time of the last change of the settings.
    pub updated_at: DateTime<Utc>,
    /// Revocation time; null if the key is not revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Id of the user who revoked it; null if it is not revoked.
    pub revoked_by: Option<UserId>,
    /// Id of the key that replaced this one; null if there is none.
    pub replaced_by: Option<ApiKeyId>,
}

/// Filter of a list of keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filter {
    /// Activity filter.
    pub is_active: Option<bool>,
    /// Revocation filter.
    pub is_revoked: Option<bool>,
}

/// A revoked key stays revoked.
fn revoked() -> Error {
    Error::conflict("key_revoked", "the key has been revoked: create another one")
}

/// The names of the active keys that a user has issued, in all workspaces.
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
) -> Result<Vec<ApiKey>, Error> {
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

/// The number of those keys.
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
pub async fn get(conn: &mut PgConnection, workspace: WorkspaceId, id: ApiKeyId) -> Result<ApiKey, Error> {
    let found = find(conn, workspace, Some(id), Filter::default(), PageRequest::ONE).await?;
    found.into_iter().next().ok_or_else(Error::not_found)
}

/// One key, locked until this transaction ends.
async fn locked(conn: &mut PgConnection, workspace: WorkspaceId, id: ApiKeyId) -> Result<ApiKey, Error> {
    sqlx::query_scalar!(
        "select id from api_keys where workspace_id = $1 and id = $2 for update",
        workspace.0,
        id.0
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or_else(Error::not_found)?;
    get(conn, workspace, id).await
}
