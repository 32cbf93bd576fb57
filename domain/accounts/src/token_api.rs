//! Who is behind a credential, and which workspaces it opens: what the owner of a token asks first.

use chrono::{DateTime, Utc};
use domain::{
    DomainError, PageOf, PageRequest, Refusal, UserId, WorkspaceId,
    access::{Role, Scope},
    callers::{Authority, Principal},
};
use sqlx::PgConnection;
use uuid::Uuid;

/// A key or token, as its bearer may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// Its id.
    pub id: Uuid,
    /// What it is called.
    pub name: String,
    /// Its first characters.
    pub prefix: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The only workspace that it is good in.
    pub workspace: Option<WorkspaceId>,
    /// When it is over by itself.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub id: UserId,
    /// Their address.
    pub email: String,
    /// What they are called.
    pub name: String,
}

/// A workspace that a credential opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Book {
    /// The workspace.
    pub id: WorkspaceId,
    /// What it is called.
    pub name: String,
    /// Its name for URLs.
    pub slug: String,
    /// What the caller is there; of an API key, what the person is who answers for it.
    pub role: Role,
}

/// Why a credential tells nothing.
#[derive(Debug, thiserror::Error)]
pub enum TokenApiError {
    /// It has gone since the request came. 401.
    #[error("the token is not valid, or no longer")]
    Gone,
    /// It doesn't read. 403.
    #[error("this needs the scope read")]
    ReadsNothing,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl DomainError for TokenApiError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::Gone => Refusal::Unauthenticated,
            Self::ReadsNothing => Refusal::Forbidden,
            Self::Database(error) => error.refusal(),
        }
    }
}

/// The key or token that a caller came with, if it reads; none for a session, which does.
///
/// # Errors
/// [`TokenApiError::ReadsNothing`], [`TokenApiError::Gone`].
pub async fn reading(
    conn: &mut PgConnection,
    principal: &Principal,
) -> Result<Option<Bearer>, TokenApiError> {
    if matches!(principal, Principal::Session { .. }) {
        return Ok(None);
    }
    let bearer = bearer(conn, principal).await?.ok_or(TokenApiError::Gone)?;
    if Scope::Read.is_in(&bearer.scopes) { Ok(Some(bearer)) } else { Err(TokenApiError::ReadsNothing) }
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

/// The person, if there is one active.
pub async fn person(conn: &mut PgConnection, user: UserId) -> Result<Option<Person>, sqlx::Error> {
    sqlx::query_as!(Person, "select id, email, name from users where id = $1 and is_active", user.0)
        .fetch_optional(conn)
        .await
}

/// A part of the workspaces that a caller may enter now, by name.
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
