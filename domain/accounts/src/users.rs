//! Users: people who can sign in. What they are in a workspace is their membership and their member.

pub mod activation;
pub mod addresses;
pub mod clerk;
pub mod impersonation;
pub mod letters;
pub mod passwords;
pub mod peers;
pub mod profile;
pub mod staff;

mod password;

use chrono::{DateTime, Utc};
use domain::{DomainError, Email, FieldErrors, Refusal, UserId, mail::PostError};
use poem_openapi::Object;
use sqlx::{PgExecutor, PgPool};

pub use password::{HashError, Password};

use crate::account_tokens::TokenError;

/// A person who can sign in.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// Their address, as they wrote it.
    pub email: String,
    /// Whether a link that was mailed to the address has been used. Until then, invitations, new members and Clerk
    /// are not matched with the account by it.
    pub email_verified: bool,
    /// The address that is to replace it, once the link that was mailed there is used; null if none waits, and for
    /// callers other than the person unless the workspace manages the account.
    pub pending_email: Option<String>,
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
    /// A mail that belongs to it can't be sent now.
    #[error(transparent)]
    Mail(#[from] PostError),
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
            Self::Throttled(seconds) => Refusal::TooMany("sign_in_locked", *seconds),
            Self::Mail(error) => error.refusal(),
            Self::Token(error) => error.refusal(),
            Self::Hash(error) => error.refusal(),
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
                  email_verified_at is not null as "email_verified!",
                  case when exists (select from account_tokens t
                         where t.user_id = users.id and t.purpose = 'email_change' and t.used_at is null
                           and t.expires_at > now())
                       then pending_email end as pending_email,
                  coalesce('avatar:' || avatar_key, avatar_url) as avatar_url
             from users where id = $1 and is_active"#,
        id.0,
    )
    .fetch_optional(database)
    .await
}

/// Whether that is an active user who looks after the installation.
pub async fn is_staff(pool: &PgPool, id: UserId) -> Result<bool, sqlx::Error> {
    let is_staff = sqlx::query_scalar!("select is_staff from users where id = $1 and is_active", id.0)
        .fetch_optional(pool)
        .await?;
    Ok(is_staff.unwrap_or(false))
}

/// An active account, and what its password is checked against.
pub(crate) struct Account {
    /// Whose.
    pub id: UserId,
    hash: Option<String>,
}

impl Account {
    /// The active account of an address.
    pub(crate) async fn of_address(pool: &PgPool, email: &str) -> Result<Option<Self>, sqlx::Error> {
        let found = sqlx::query!(
            "select id, password_hash from users where email_key = $1 and is_active",
            Email::key_of(email),
        )
        .fetch_optional(pool)
        .await?;
        Ok(found.map(|row| Self { id: row.id, hash: row.password_hash }))
    }

    /// The active account of that id.
    pub(crate) async fn of_user(pool: &PgPool, id: UserId) -> Result<Option<Self>, sqlx::Error> {
        let hash = sqlx::query_scalar!("select password_hash from users where id = $1 and is_active", id.0);
        Ok(hash.fetch_optional(pool).await?.map(|hash| Self { id, hash }))
    }

    /// Whether there is the account and that is its password. Takes as long where there is none, so that its time
    /// tells nothing.
    pub(crate) async fn has_password(account: Option<Self>, password: String) -> Result<bool, HashError> {
        password::verify(account.and_then(|account| account.hash), password).await
    }
}
