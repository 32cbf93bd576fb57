//! Users: people who can sign in. What they are in a workspace is their membership and their member.

mod email;
mod password;

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use sqlx::PgPool;
use uuid::Uuid;

pub use email::Email;
pub use password::Password;

use crate::UserId;

/// A person who can sign in.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct User {
    /// Their id.
    pub id: Uuid,
    /// Their address, as they wrote it.
    pub email: String,
    /// What they are called.
    pub name: String,
    /// Since when they have the account.
    pub created_at: DateTime<Utc>,
}

/// The active user of that id.
pub async fn find(pool: &PgPool, id: UserId) -> Result<Option<User>, sqlx::Error> {
    sqlx::query_as!(User, "select id, email, name, created_at from users where id = $1 and is_active", id.0,)
        .fetch_optional(pool)
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
pub async fn authenticate(pool: &PgPool, email: &str, password: String) -> Result<Option<User>, sqlx::Error> {
    let found = sqlx::query!(
        "select id, email, name, created_at, password_hash
           from users where lower(email) = lower($1) and is_active",
        email.trim(),
    )
    .fetch_optional(pool)
    .await?;
    let (user, hash) = match found {
        Some(row) => {
            let user = User { id: row.id, email: row.email, name: row.name, created_at: row.created_at };
            (Some(user), row.password_hash)
        }
        None => (None, None),
    };
    // Takes as long for an address that nobody has, so that its time tells nothing.
    let matches = password::verify(hash, password).await;
    Ok(user.filter(|_| matches))
}
