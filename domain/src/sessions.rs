//! Sessions: one per sign-in. A session's access tokens are checked against it on every request, so
//! that signing out ends them at once. Its refresh tokens rotate: each is good once, and one that
//! comes a second time, however soon, ends the session, because two parties hold it.

use chrono::{DateTime, Duration, Utc};
use jobs::{Database, Tx};
use sqlx::{PgExecutor, PgPool};

use crate::{
    DomainError, Refusal, SessionId, UserId, secret,
    users::{self, User},
};

/// How long a refresh token is good for. A session that is used now and then lives for ever.
const REFRESH_LIFETIME: Duration = Duration::days(30);

/// A session just opened or refreshed. The refresh token is shown here and nowhere else.
#[derive(Clone)]
pub struct Opened {
    /// The session.
    pub session: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// Good for one refresh.
    pub refresh_token: String,
}

/// Where a sign-in comes from, for the list of one's sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// What the client says it is.
    pub user_agent: Option<String>,
    /// Its address.
    pub ip: Option<String>,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Nobody active has that address and that password. It doesn't say which is wrong.
    #[error("the email or the password is wrong")]
    WrongCredentials,
    /// The refresh token is unknown, expired, used, or its session has ended.
    #[error("the refresh token is not valid, or no longer: sign in again")]
    NotRefreshable,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl DomainError for SessionError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::WrongCredentials | Self::NotRefreshable => Refusal::Unauthenticated,
            Self::Database(error) => error.refusal(),
        }
    }
}

/// Whether a session has not ended and its user is active.
pub async fn is_alive(database: impl PgExecutor<'_>, session: SessionId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from sessions s join users u on u.id = s.user_id
                           where s.id = $1 and s.revoked_at is null and u.is_active) as "alive!""#,
        session.0,
    )
    .fetch_one(database)
    .await
}

/// Signs a person in.
///
/// # Errors
/// [`SessionError::WrongCredentials`], after the same time whatever is wrong.
pub async fn sign_in(
    database: &Database,
    email: &str,
    password: String,
    client: &Client,
) -> Result<(User, Opened), SessionError> {
    let user =
        users::authenticate(&database.pool, email, password).await?.ok_or(SessionError::WrongCredentials)?;
    let mut tx = database.begin().await?;
    let opened = open(&mut tx, UserId(user.id), client).await?;
    tx.commit().await?;
    Ok((user, opened))
}

/// Opens a session for someone who has shown who they are.
pub async fn open(tx: &mut Tx, user: UserId, client: &Client) -> Result<Opened, sqlx::Error> {
    let session = SessionId::new();
    sqlx::query!(
        "insert into sessions (id, user_id, user_agent, ip) values ($1, $2, $3, $4)",
        session.0,
        user.0,
        client.user_agent,
        client.ip,
    )
    .execute(tx.conn())
    .await?;
    let refresh_token = issue(tx, session).await?;
    Ok(Opened { session, user, refresh_token })
}

/// Another refresh token for a session, beside those it has.
pub async fn issue(tx: &mut Tx, session: SessionId) -> Result<String, sqlx::Error> {
    let token = secret::generate();
    store(tx, session, &token).await?;
    Ok(token)
}

async fn store(tx: &mut Tx, session: SessionId, token: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into refresh_tokens (hash, session_id, expires_at) values ($1, $2, $3)",
        secret::hash(token),
        session.0,
        expiry(),
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

fn expiry() -> DateTime<Utc> {
    jobs::clock::now() + REFRESH_LIFETIME
}

/// Trades a refresh token for the next one.
///
/// # Errors
/// [`SessionError::NotRefreshable`]; if the token had been used before, its session has now ended.
pub async fn refresh(database: &Database, token: &str) -> Result<Opened, SessionError> {
    let hash = secret::hash(token);
    let next = secret::generate();
    let mut tx = database.begin().await?;
    let traded = sqlx::query!(
        r#"update refresh_tokens t
              set used_at = now(), replaced_by = $2
             from sessions s join users u on u.id = s.user_id
            where t.hash = $1 and t.used_at is null and t.expires_at > now()
              and s.id = t.session_id and s.revoked_at is null and u.is_active
        returning s.id, s.user_id"#,
        hash,
        secret::hash(&next),
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(traded) = traded else {
        end_reused(&mut tx, &hash).await?;
        tx.commit().await?;
        return Err(SessionError::NotRefreshable);
    };
    let (session, user) = (SessionId(traded.id), UserId(traded.user_id));
    store(&mut tx, session, &next).await?;
    sqlx::query!("update sessions set last_used_at = now() where id = $1", session.0)
        .execute(tx.conn())
        .await?;
    tx.commit().await?;
    Ok(Opened { session, user, refresh_token: next })
}

/// Ends the session whose token came a second time.
async fn end_reused(tx: &mut Tx, hash: &[u8]) -> Result<(), sqlx::Error> {
    let ended = sqlx::query_scalar!(
        "update sessions s
            set revoked_at = now(), revoked_for = 'token_reuse'
           from refresh_tokens t
          where t.hash = $1 and t.used_at is not null and s.id = t.session_id and s.revoked_at is null
         returning s.id",
        hash,
    )
    .fetch_optional(tx.conn())
    .await?;
    if let Some(session) = ended {
        tracing::warn!(%session, "a refresh token was presented twice; its session has been ended");
    }
    Ok(())
}

/// Ends a session. Its access tokens, refresh tokens and tickets are worthless from now on.
pub async fn end(pool: &PgPool, session: SessionId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update sessions set revoked_at = now(), revoked_for = 'logout' where id = $1 and revoked_at is null",
        session.0,
    )
    .execute(pool)
    .await?;
    Ok(())
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("session", &self.session)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
