//! One-time links: to activate an account, to reset a password, or to confirm an email address. Of a token only its
//! hash is stored; a new one invalidates earlier ones of the same user and purpose; and it is redeemed by one
//! atomic statement, so that of any number of concurrent tries one succeeds.

use chrono::Duration;
use domain::{
    Error, UserId, WorkspaceId,
    access::Role,
    secret,
    standing::{self, Overrides},
};
use jobs::Tx;
use sqlx::{PgConnection, PgPool};

/// Lifetime of an emailed link to reset a password.
pub const MAILED_RESET: Duration = Duration::hours(1);
/// Lifetime of a link to reset a password that an admin hands over.
pub const HANDED_OVER_RESET: Duration = Duration::hours(24);
/// Lifetime of a link that confirms an email address.
pub const EMAIL_CHANGE: Duration = Duration::hours(24);
/// Lifetime of a link to activate an account.
pub const ACTIVATION: Duration = Duration::days(7);

/// Purpose of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Activating an account.
    Activation,
    /// Resetting a password.
    PasswordReset,
    /// Confirming a new email address.
    EmailChange,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::Activation => "activation",
            Self::PasswordReset => "password_reset",
            Self::EmailChange => "email_change",
        }
    }
}

/// A token to issue.
#[derive(Debug, Clone, Copy)]
pub struct NewToken {
    /// Account that it gives access to.
    pub user: UserId,
    /// Purpose.
    pub purpose: Purpose,
    /// Workspace that it leads to, if any.
    pub workspace: Option<WorkspaceId>,
    /// Issuer, if that isn't the account's owner.
    pub created_by: Option<UserId>,
    /// Lifetime.
    pub lifetime: Duration,
    /// Whether it is sent by email only, which proves that its user reads the mailbox of the address.
    pub is_mailed: bool,
}

/// The account that a token gives access to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bearer {
    /// Account.
    pub user: UserId,
    /// Workspace that it leads to.
    pub workspace: Option<WorkspaceId>,
    /// Whether it was sent by email only.
    pub is_mailed: bool,
}

/// The refusal of a token that is unknown, was used, has expired, or was replaced by a newer one; or its maker could not
/// hand it over any more. The message does not reveal which.
#[must_use]
pub fn not_good() -> Error {
    Error::unauthenticated("the link is invalid or has expired: request a new one")
}

/// Issues a token in place of earlier ones from the same source: a token issued by an admin leaves one that the owner
/// has requested valid. The token is answered here and stored nowhere.
pub async fn issue(tx: &mut Tx, new: NewToken) -> Result<String, sqlx::Error> {
    // One after the other, so that of two concurrent calls the second invalidates the first's token.
    sqlx::query!("select id from users where id = $1 for no key update", new.user.0)
        .fetch_one(tx.conn())
        .await?;
    match new.purpose {
        Purpose::Activation | Purpose::EmailChange => void(tx, new.user, new.purpose).await?,
        Purpose::PasswordReset => {
            sqlx::query!(
                "delete from account_tokens
                  where user_id = $1 and purpose = $2 and used_at is null and workspace_id is not distinct from $3",
                new.user.0,
                new.purpose.name(),
                new.workspace.map(|id| id.0),
            )
            .execute(tx.conn())
            .await?;
        }
    }
    let token = secret::generate();
    sqlx::query!(
        "insert into account_tokens (hash, user_id, purpose, workspace_id, created_by, expires_at, is_mailed)
         values ($1, $2, $3, $4, $5, $6, $7)",
        secret::hash(&token),
        new.user.0,
        new.purpose.name(),
        new.workspace.map(|id| id.0),
        new.created_by.map(|id| id.0),
        jobs::clock::now() + new.lifetime,
        new.is_mailed,
    )
    .execute(tx.conn())
    .await?;
    Ok(token)
}

/// Invalidates a user's tokens of a purpose.
pub async fn void(tx: &mut Tx, user: UserId, purpose: Purpose) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from account_tokens where user_id = $1 and purpose = $2 and used_at is null",
        user.0,
        purpose.name(),
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// The account that a token gives access to, without redeeming it.
///
/// # Errors
/// `token_invalid`.
pub async fn look(pool: &PgPool, token: &str, purpose: Purpose) -> Result<Bearer, Error> {
    let hash = secret::hash(token);
    let mut conn = pool.acquire().await?;
    let found = sqlx::query_as!(
        Found,
        "select t.user_id, t.workspace_id, t.created_by, t.is_mailed
           from account_tokens t join users u on u.id = t.user_id and u.is_active
          where t.hash = $1 and t.purpose = $2 and t.used_at is null and t.expires_at > now()",
        hash,
        purpose.name(),
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or_else(not_good)?;
    found.bearer(&mut conn, purpose).await
}

/// Redeems a token: it is invalid from now on, if this transaction commits.
///
/// # Errors
/// `token_invalid`.
pub async fn redeem(tx: &mut Tx, token: &str, purpose: Purpose) -> Result<Bearer, Error> {
    let hash = secret::hash(token);
    // A change that ends the management of the account by a workspace comes before this, or after it.
    sqlx::query!(
        "select id from users where id = (select user_id from account_tokens where hash = $1) for no key update",
        hash,
    )
    .fetch_optional(tx.conn())
    .await?;
    let found = sqlx::query_as!(
        Found,
        "update account_tokens t set used_at = now()
           from users u
          where t.hash = $1 and t.purpose = $2 and t.used_at is null and t.expires_at > now()
            and u.id = t.user_id and u.is_active
      returning t.user_id, t.workspace_id, t.created_by, t.is_mailed",
        hash,
        purpose.name(),
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or_else(not_good)?;
    found.bearer(tx.conn(), purpose).await
}

/// A token that has neither expired nor been redeemed.
struct Found {
    user_id: UserId,
    workspace_id: Option<WorkspaceId>,
    created_by: Option<UserId>,
    is_mailed: bool,
}

impl Found {
    /// The account that it gives access to. An emailed token is in the hands of the mailbox's reader. A
    /// handed-over one is in its maker's, and only as valid as the maker's present permissions.
    async fn bearer(self, conn: &mut PgConnection, purpose: Purpose) -> Result<Bearer, Error> {
        let is_handed_over = purpose == Purpose::PasswordReset && !self.is_mailed;
        if is_handed_over && !self.has_entitled_maker(conn).await? {
            return Err(not_good());
        }
        Ok(Bearer { user: self.user_id, workspace: self.workspace_id, is_mailed: self.is_mailed })
    }

    /// Whether its maker could hand it over now: the workspace manages the account, and the maker may reset its
    /// members' passwords, in a role that equals or outranks that of the account's owner.
    async fn has_entitled_maker(&self, conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let found = sqlx::query!(
            r#"select own.role as "own!: Role", maker.role as "maker!: Role",
                      maker.overrides as "overrides?: Overrides"
                 from users u
                 join live_memberships own on own.user_id = u.id and own.workspace_id = u.managed_by
                 join live_memberships maker on maker.user_id = $3 and maker.workspace_id = u.managed_by
                where u.id = $1 and u.managed_by = $2 and not u.is_staff"#,
            self.user_id.0,
            self.workspace_id.map(|id| id.0),
            self.created_by.map(|id| id.0),
        )
        .fetch_optional(conn)
        .await?;
        Ok(found.is_some_and(|found| {
            found.maker >= found.own
                && standing::held(found.maker, found.overrides.as_ref()).may("members:reset_password")
        }))
    }
}
