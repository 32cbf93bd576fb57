//! Links that let somebody in once: to activate an account, or to choose a new password. Of a token only its
//! hash is stored; a new one voids those of the same person and purpose before it; and it is used by one
//! atomic statement, so that of any number of tries at once one succeeds.

use chrono::Duration;
use domain::{
    DomainError, Refusal, UserId, WorkspaceId,
    access::Role,
    secret,
    standing::{self, Overrides},
};
use jobs::Tx;
use sqlx::{PgConnection, PgPool};

/// How long a link to choose a new password is good that was mailed.
pub const MAILED_RESET: Duration = Duration::hours(1);
/// How long one is good that an admin hands over.
pub const HANDED_OVER_RESET: Duration = Duration::hours(24);
/// How long a link that confirms another address is good.
pub const EMAIL_CHANGE: Duration = Duration::hours(24);
/// How long a link to activate an account is good.
pub const ACTIVATION: Duration = Duration::days(7);

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To activate an account.
    Activation,
    /// To choose a new password.
    PasswordReset,
    /// To sign in with another address.
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
    /// Whom it lets in.
    pub user: UserId,
    /// For what.
    pub purpose: Purpose,
    /// The workspace it leads to, if any.
    pub workspace: Option<WorkspaceId>,
    /// Who asked for it, if that isn't the person.
    pub created_by: Option<UserId>,
    /// How long it is good.
    pub lifetime: Duration,
    /// Whether it is mailed, and shown to nobody else: then whoever uses it reads mail to the address.
    pub is_mailed: bool,
}

/// Whom a token lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bearer {
    /// The person.
    pub user: UserId,
    /// The workspace that it leads to.
    pub workspace: Option<WorkspaceId>,
    /// Whether it was mailed, and shown to nobody else.
    pub is_mailed: bool,
}

/// A token that isn't good.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It is unknown, was used, has expired, or a newer one took its place; or its maker could not hand it over any
    /// more. It doesn't say which.
    #[error("the link is not valid, or no longer: ask for a new one")]
    NotGood,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl DomainError for TokenError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::NotGood => Refusal::Unauthenticated,
            Self::Database(error) => error.refusal(),
        }
    }
}

/// Issues a token in place of those before it from the same source: what an admin asks for leaves the link as good as
/// it is that the person has asked for. It is shown here and nowhere else.
pub async fn issue(tx: &mut Tx, new: NewToken) -> Result<String, sqlx::Error> {
    // One after the other, so that of two at once the second voids the first.
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

/// Makes a person's tokens of a purpose worthless.
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

/// Whom a token would let in; it stays as good as it is.
///
/// # Errors
/// [`TokenError::NotGood`].
pub async fn look(pool: &PgPool, token: &str, purpose: Purpose) -> Result<Bearer, TokenError> {
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
    .ok_or(TokenError::NotGood)?;
    found.bearer(&mut conn, purpose).await
}

/// Uses a token up: nobody else can from now on, if this transaction commits.
///
/// # Errors
/// [`TokenError::NotGood`].
pub async fn redeem(tx: &mut Tx, token: &str, purpose: Purpose) -> Result<Bearer, TokenError> {
    let hash = secret::hash(token);
    // A change that takes the account out of a workspace's hands meanwhile comes before this, or after it.
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
    .ok_or(TokenError::NotGood)?;
    found.bearer(tx.conn(), purpose).await
}

/// A token that has not expired and was not used.
struct Found {
    user_id: UserId,
    workspace_id: Option<WorkspaceId>,
    created_by: Option<UserId>,
    is_mailed: bool,
}

impl Found {
    /// Whom it lets in. One that was mailed is in the hands of the mailbox's reader. One that was handed over is
    /// in its maker's, and no better than they are now.
    async fn bearer(self, conn: &mut PgConnection, purpose: Purpose) -> Result<Bearer, TokenError> {
        let is_handed_over = purpose == Purpose::PasswordReset && !self.is_mailed;
        if is_handed_over && !self.has_entitled_maker(conn).await? {
            return Err(TokenError::NotGood);
        }
        Ok(Bearer { user: self.user_id, workspace: self.workspace_id, is_mailed: self.is_mailed })
    }

    /// Whether its maker could hand it over now: the workspace manages the account, and they may let its members choose
    /// a new password, in a role that equals or outranks that of the account's owner.
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
