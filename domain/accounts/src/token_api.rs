//! The owner of a credential, and the workspaces that it gives access to.

use chrono::{DateTime, Utc};
use domain::{
    Error, PageOf, PageRequest, UserId, WorkspaceId,
    access::{Role, Scope},
    callers::{Authority, Principal},
};
use sqlx::PgConnection;
use uuid::Uuid;

/// A key or token, as its bearer may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// Key or token id.
    pub id: Uuid,
    /// Name.
    pub name: String,
    /// First characters.
    pub prefix: String,
    /// Granted scopes.
    pub scopes: Vec<Scope>,
    /// Only workspace that it is valid in.
    pub workspace: Option<WorkspaceId>,
    /// Expiry time.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Account id.
    pub id: UserId,
    /// Email address.
    pub email: String,
    /// Full name.
    pub name: String,
}

/// A workspace that a credential gives access to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Book {
    /// Workspace id.
    pub id: WorkspaceId,
    /// Name.
    pub name: String,
    /// Slug.
    pub slug: String,
    /// Role of the caller there; of an API key, that of the user who answers for it.
    pub role: Role,
}

/// The key or token of a caller, if it may read; none for a session, which may.
///
/// # Errors
/// `forbidden` for one that doesn't read; `token_invalid` for one that has gone since the request came.
pub async fn reading(conn: &mut PgConnection, principal: &Principal) -> Result<Option<Bearer>, Error> {
    if matches!(principal, Principal::Session { .. }) {
        return Ok(None);
    }
    let gone = || Error::unauthenticated("the token is invalid or has expired");
    let bearer = bearer(conn, principal).await?.ok_or_else(gone)?;
    if !Scope::Read.is_in(&bearer.scopes) {
        return Err(Error::forbidden("the scope read is required"));
    }
    Ok(Some(bearer))
}

async fn bearer(conn: &mut PgConnection, principal: &Principal) -> Result<Option<Bearer>, sqlx::Error> {
    let (key, token) = match *principal {
        Principal::Session { .. } => return Ok(None),
        Principal::ApiKey { key, .. } => (Some(key), None),
        Principal::PersonalToken { token, .. } => (None, Some(token)),
    };
    let found = sqlx::query!(
        r#"select id as "id!", name as "name!", prefix as "prefix!", scopes as "scopes!: Vec<Scope>", workspace_id, expires_at
             from api_keys where id = $1
            union all
           select id, name, prefix, scopes, workspace_id, expires_at from personal_tokens where id = $2"#,
        key.map(|id| id.0),
        token.map(|id| id.0),
    )
    .fetch_optional(conn)
    .await?;
    Ok(found.map(|row| Bearer {
        id: row.id,
        name: row.name,
        prefix: row.prefix,
        scopes: row.scopes,
        workspace: row.workspace_id.map(WorkspaceId),
        expires_at: row.expires_at,
    }))
}

/// The user, if active.
pub async fn person(conn: &mut PgConnection, user: UserId) -> Result<Option<Person>, sqlx::Error> {
    sqlx::query_as!(Person, "select id, email, name from users where id = $1 and is_active", user.0)
        .fetch_optional(conn)
        .await
}

/// A part of the workspaces that a caller may enter now, sorted by name.
pub async fn books(
    conn: &mut PgConnection,
    entered: &[Authority],
    part: PageRequest,
) -> Result<PageOf<Book>, sqlx::Error> {
    let ids: Vec<_> = entered.iter().map(|authority| authority.workspace().0).collect();
    let rows = sqlx::query!(
        "select id, name, slug from workspaces where id = any($1) order by name, id limit $2 offset $3",
        &ids,
        part.limit,
        part.offset,
    )
    .fetch_all(conn)
    .await?;
    let items = rows.into_iter().filter_map(|row| {
        let authority = entered.iter().find(|authority| authority.workspace() == row.id)?;
        Some(Book { id: row.id, name: row.name, slug: row.slug, role: authority.role() })
    });
    Ok(PageOf { items: items.collect(), total: ids.len().try_into().unwrap_or(i64::MAX) })
}
