//! Accounts as the operator sees them: staff status, activity.

use chrono::{DateTime, Utc};
use domain::{
    Actor, Email, Error, UserId,
    audit::{self, Entry},
    makers, standing,
};
use jobs::Tx;
use poem_openapi::Object;
use serde_json::json;
use sqlx::PgPool;

use crate::{
    account_tokens::{self, Purpose},
    sessions::{self, Ended},
};

/// A user account.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
#[oai(rename = "Account")]
pub struct Account {
    /// Account id.
    pub id: UserId,
    /// Email address.
    pub email: String,
    /// Full name.
    pub name: String,
    /// Whether the account may sign in.
    pub is_active: bool,
    /// Whether the account is staff, which may act as other users.
    pub is_staff: bool,
    /// Time of the first choice of a password; null if none was chosen.
    pub activated_at: Option<DateTime<Utc>>,
    /// Time of the last sign-in; null if there was none.
    pub last_login_at: Option<DateTime<Utc>>,
    /// Creation time.
    pub created_at: DateTime<Utc>,
}

/// The account of an address.
pub async fn by_email(pool: &PgPool, email: &str) -> Result<Option<Account>, sqlx::Error> {
    sqlx::query_as!(
        Account,
        "select id, email, name, is_active, is_staff, activated_at, last_login_at, created_at
           from users where email_key = $1",
        Email::key_of(email),
    )
    .fetch_optional(pool)
    .await
}

/// Changes an account's staff and activity status; absent fields stay unchanged. Deactivation ends its access at
/// once, and no link restores it. The sessions in which a staff account acts as others end when it is no longer
/// staff, or inactive, and stay ended when that is reverted.
///
/// # Errors
/// `record_not_found`.
pub async fn change(
    tx: &mut Tx,
    user: UserId,
    is_staff: Option<bool>,
    is_active: Option<bool>,
    actor: &Actor,
) -> Result<Account, Error> {
    let account = sqlx::query_as!(
        Account,
        "update users
            set is_staff = coalesce($2, is_staff), is_active = coalesce($3, is_active), updated_at = now()
          where id = $1
      returning id, email, name, is_active, is_staff, activated_at, last_login_at, created_at",
        user.0,
        is_staff,
        is_active,
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or_else(Error::not_found)?;
    if !account.is_active {
        sessions::end_all(tx, user, None, Ended::Deactivated).await?;
        account_tokens::void(tx, user, Purpose::PasswordReset).await?;
        account_tokens::void(tx, user, Purpose::Activation).await?;
        for place in standing::keeping(tx.conn(), user).await? {
            makers::disable_refused(tx.conn(), place.workspace, actor).await?;
        }
    }
    if !(account.is_active && account.is_staff) {
        sessions::end_acting(tx, user, Ended::Revoked).await?;
    }
    let said = json!({ "is_staff": is_staff, "is_active": is_active });
    audit::record(tx, None, actor, Entry::new("user", "updated", user.0, said)).await?;
    Ok(account)
}
