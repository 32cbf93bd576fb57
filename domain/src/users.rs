//! Users: people who can sign in. What they are in a workspace is their membership and their member.

pub mod activation;
pub mod clerk;
pub mod impersonation;
pub mod letters;
pub mod passwords;
pub mod peers;
pub mod profile;
pub mod staff;

mod email;
mod password;

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

pub use email::Email;
pub use password::{HashError, Password};

use crate::{DomainError, FieldErrors, Refusal, UserId, WorkspaceId, account_tokens::TokenError};

/// A person who can sign in.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct User {
    /// Their id.
    pub id: Uuid,
    /// Their address, as they wrote it.
    pub email: String,
    /// What they are called.
    pub name: String,
    /// What they do.
    pub title: Option<String>,
    /// Their telephone.
    pub phone: Option<String>,
    /// A few words about them.
    pub bio: Option<String>,
    /// Their picture: a link that is good for a day or two, if it is one of ours.
    pub avatar_url: Option<String>,
    /// Since when they have the account.
    pub created_at: DateTime<Utc>,
}

/// Why something about an account didn't happen.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// There is no such person, or the caller has nothing to do with them.
    #[error("there is no such person")]
    NotFound,
    /// Values that break a rule, by field.
    #[error("some values are not valid")]
    Invalid(FieldErrors),
    /// Values that are needed.
    #[error("some values are missing")]
    Missing(Vec<String>),
    /// Somebody has that address.
    #[error("there is an account with this email address already")]
    EmailTaken,
    /// The caller may not do this to that person; says why.
    #[error("{0}")]
    Forbidden(&'static str),
    /// Their account doesn't let anybody in any more.
    #[error("this account was deactivated")]
    Deactivated,
    /// A workspace needs an owner.
    #[error("a workspace needs an owner: make somebody else one first")]
    LastOwner,
    /// Too many failed attempts, for so many seconds.
    #[error("too many failed attempts: try again in {0} s")]
    Throttled(u64),
    /// A link isn't good.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A password could not be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The database failed.
    #[error(transparent)]
    Database(sqlx::Error),
}

impl From<sqlx::Error> for UserError {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error().and_then(|error| error.constraint()) {
            Some("users_email_key") => Self::EmailTaken,
            _ => Self::Database(error),
        }
    }
}

impl DomainError for UserError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::NotFound => Refusal::NotFound,
            Self::Invalid(fields) => Refusal::Invalid(fields.clone()),
            Self::Missing(names) => Refusal::Missing(names.clone()),
            Self::EmailTaken => Refusal::Conflict("email_taken".into()),
            Self::Forbidden(_) => Refusal::Forbidden,
            Self::Deactivated => Refusal::Conflict("account_deactivated".into()),
            Self::LastOwner => Refusal::Conflict("last_owner".into()),
            Self::Throttled(seconds) => Refusal::RateLimited(*seconds),
            Self::Token(error) => error.refusal(),
            Self::Hash(_) => Refusal::Internal,
            Self::Database(error) => error.refusal(),
        }
    }
}

impl UserError {
    /// One field, one reason.
    pub(crate) fn invalid(field: &str, reason: impl Into<String>) -> Self {
        Self::Invalid(FieldErrors::from([(field.to_owned(), vec![reason.into()])]))
    }
}

/// The active user of that id. Their picture is a reference; see [`crate::avatars`].
pub async fn find(database: impl PgExecutor<'_>, id: UserId) -> Result<Option<User>, sqlx::Error> {
    sqlx::query_as!(
        User,
        r#"select id, email, name, title, phone, bio, created_at,
                  coalesce('avatar:' || avatar_key, avatar_url) as avatar_url
             from users where id = $1 and is_active"#,
        id.0,
    )
    .fetch_optional(database)
    .await
}

/// Whether a workspace manages an account: it was made by accepting the workspace's invitation, and its person is in
/// no other one since. Accounts of staff are managed by nobody.
pub async fn is_managed(
    database: impl PgExecutor<'_>,
    user: UserId,
    workspace: WorkspaceId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from users where id = $1 and managed_by = $2 and not is_staff) as "managed!""#,
        user.0,
        workspace.0,
    )
    .fetch_one(database)
    .await
}

/// Whether that is an active user who looks after the installation.
pub async fn is_staff(pool: &PgPool, id: UserId) -> Result<bool, sqlx::Error> {
    let is_staff = sqlx::query_scalar!("select is_staff from users where id = $1 and is_active", id.0)
        .fetch_optional(pool)
        .await?;
    Ok(is_staff.unwrap_or(false))
}

/// The active user who has that address and that password.
pub async fn authenticate(
    pool: &PgPool,
    email: &str,
    password: String,
) -> Result<Option<UserId>, sqlx::Error> {
    let found = sqlx::query!(
        "select id, password_hash from users where email_key = $1 and is_active",
        Email::key_of(email),
    )
    .fetch_optional(pool)
    .await?;
    let (id, hash) = found.map_or((None, None), |row| (Some(UserId(row.id)), row.password_hash));
    // Takes as long for an address that nobody has, so that its time tells nothing.
    let matches = password::verify(hash, password).await;
    Ok(id.filter(|_| matches))
}
