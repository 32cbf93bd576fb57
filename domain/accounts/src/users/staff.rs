//! Accounts as an operator sees them: who there is, who is staff, who may sign in at all.

use chrono::{DateTime, Utc};
use domain::{
    Actor, Email, UserId,
    audit::{self, Entry},
    makers, standing,
};
use jobs::Tx;
use poem_openapi::Object;
use serde_json::json;
use sqlx::PgPool;

use super::UserError;
use crate::{
    account_tokens::{self, Purpose},
    sessions::{self, Ended},
};

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
#[oai(rename = "Account")]
pub struct Account {
    /// The person.
    pub id: UserId,
    /// Their address.
    pub email: String,
    /// What they are called.
    pub name: String,
    /// Whether they may sign in.
    pub is_active: bool,
    /// Whether they are staff, who may act as others.
    pub is_staff: bool,
    /// When they chose their first password.
    pub activated_at: Option<DateTime<Utc>>,
    /// When they signed in last.
    pub last_login_at: Option<DateTime<Utc>>,
    /// Since when there is the account.
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

/// Makes somebody staff or not, active or not; what is absent stays as it is. Who is deactivated is out at
/// once, and no link lets them in again. The sessions in which a member of staff acts as others end when the person is no
/// staff any more, or inactive, and stay ended when that is taken back.
///
/// # Errors
/// [`UserError::NotFound`].
pub async fn change(
    tx: &mut Tx,
    user: UserId,
    is_staff: Option<bool>,
    is_active: Option<bool>,
    actor: &Actor,
) -> Result<Account, UserError> {
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
    .ok_or(UserError::NotFound)?;
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
