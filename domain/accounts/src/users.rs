//! Users: accounts that can sign in. Their role in a workspace is in their membership and their member.

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
use domain::{Email, Error, UserId};
use poem_openapi::Object;
use sqlx::{PgExecutor, PgPool};

pub use password::Password;

/// A user account.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct User {
    /// Account id.
    pub id: UserId,
    /// Email address, as its owner wrote it.
    pub email: String,
    /// Whether a link sent to the address has been used. Until then, invitations, new members and Clerk
    /// are not matched with the account by it.
    pub email_verified: bool,
    /// Email address that will replace it, once the link sent there is used; null if there is none, and for
    /// callers other than the user unless the workspace manages the account.
    pub pending_email: Option<String>,
    /// Full name.
    pub name: String,
    /// Job title; null if none is set.
    pub title: Option<String>,
    /// Phone number; null if none is set.
    pub phone: Option<String>,
    /// Short biography; null if none is set.
    pub bio: Option<String>,
    /// URL of the avatar image; null if none is set. A link to an uploaded image is valid for one to two days.
    pub avatar_url: Option<String>,
    /// Creation time.
    pub created_at: DateTime<Utc>,
}

/// The active user of that id. Its avatar is a reference; see [`crate::avatars`].
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

/// Whether that is an active staff account.
pub async fn is_staff(pool: &PgPool, id: UserId) -> Result<bool, sqlx::Error> {
    let is_staff = sqlx::query_scalar!("select is_staff from users where id = $1 and is_active", id.0)
        .fetch_optional(pool)
        .await?;
    Ok(is_staff.unwrap_or(false))
}

/// An active account, and the hash of its password.
pub(crate) struct Account {
    /// Account id.
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

    /// Whether the account exists and has that password. Takes as long without an account, so that the time
    /// reveals nothing.
    pub(crate) async fn has_password(account: Option<Self>, password: String) -> Result<bool, Error> {
        password::verify(account.and_then(|account| account.hash), password).await
    }
}
