//! Sessions: one per sign-in. A session's access tokens are checked against it on every request, so
//! that signing out ends them at once. Its refresh tokens rotate: each is valid once. Within a few seconds
//! the same one answers the same successor, for two tabs that refresh concurrently and for a lost answer; a
//! later reuse ends the session, because two parties hold the token.

mod device;
mod list;

use chrono::{DateTime, Duration, Utc};
use domain::{
    Actor, Error, SessionId, UserId,
    audit::{self, Entry},
    secret,
    throttle::{self, Device, Subjects, Target, Verdict},
};
use jobs::{Database, Tx};
use serde_json::json;
use sqlx::{PgExecutor, PgPool};

pub use list::{Session, list, revoke, revoke_others};

use crate::users::Account;

/// Lifetime of a refresh token. A session that is used from time to time has no end.
const REFRESH_LIFETIME: Duration = Duration::days(30);
/// Time after its use in which a refresh token answers the same successor again.
const SAME_SUCCESSOR: &str = "10 seconds";

/// A newly opened or refreshed session. The refresh token is answered here and stored nowhere.
#[derive(Clone)]
pub struct Opened {
    /// The session.
    pub session: SessionId,
    /// Account.
    pub user: UserId,
    /// Refresh token, valid once.
    pub refresh_token: String,
}

/// The client of a sign-in, for the list of the user's sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// `User-Agent` of the client.
    pub user_agent: Option<String>,
    /// Client address.
    pub ip: Option<String>,
}

impl Client {
    /// The client of an actor.
    #[must_use]
    pub fn of(actor: &Actor) -> Self {
        Self { user_agent: actor.user_agent.clone(), ip: actor.ip.clone() }
    }
}

/// Reason for the end of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Sign-out.
    Logout,
    /// A refresh token was used twice.
    TokenReuse,
    /// Ended by the user from another session.
    Revoked,
    /// The password was changed.
    PasswordChanged,
    /// The account was deactivated.
    Deactivated,
    /// The email address was changed.
    EmailChanged,
}

impl Ended {
    const fn name(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::TokenReuse => "token_reuse",
            Self::Revoked => "revoked",
            Self::PasswordChanged => "password_changed",
            Self::Deactivated => "deactivated",
            Self::EmailChanged => "email_changed",
        }
    }
}

/// Whether a session is valid.
pub async fn is_alive(database: impl PgExecutor<'_>, session: SessionId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"select exists (select from live_sessions where id = $1) as "alive!""#, session.0,)
        .fetch_one(database)
        .await
}

/// Signs a user in. A device of an earlier sign-in is counted separately from all others.
///
/// # Errors
/// `credentials_invalid`, after the same time whatever is wrong; `sign_in_locked`, also
/// for the correct password.
pub async fn sign_in(
    database: &Database,
    email: &str,
    password: String,
    device: Option<Device>,
    actor: &Actor,
) -> Result<Opened, Error> {
    let account = Account::of_address(&database.pool, email).await?;
    let user = account.as_ref().map(|account| account.id);
    let target = user.map_or(Target::Nobody(email), Target::Account);
    let subjects = Subjects::of(target, actor.ip.as_deref(), device);
    if let Verdict::Locked(seconds) = throttle::look(&database.pool, &subjects).await? {
        return Err(Error::sign_in_locked(seconds));
    }
    let is_right = Account::has_password(account, password).await?;
    let mut tx = database.begin().await?;
    let Some(user) = user.filter(|_| is_right) else {
        let verdict = count_failure(&mut tx, &subjects, user, actor).await?;
        tx.commit().await?;
        return Err(match verdict {
            Verdict::Locked(seconds) => Error::sign_in_locked(seconds),
            Verdict::Open | Verdict::NowLocked => {
                Error::wrong_credentials("the email or the password is wrong")
            }
        });
    };
    if let Verdict::Locked(seconds) = throttle::succeeded(&mut tx, &subjects).await? {
        return Err(Error::sign_in_locked(seconds));
    }
    let actor = Actor { user_id: Some(user), ..actor.clone() };
    let opened = open(&mut tx, user, &Client::of(&actor)).await?;
    note_opened(&mut tx, &actor, opened.session, "password").await?;
    tx.commit().await?;
    Ok(opened)
}

/// Counts a failed proof of identity, and records the one that caused a lock. The same
/// statements run whether or not an account has the address.
pub(crate) async fn count_failure(
    tx: &mut Tx,
    subjects: &Subjects,
    user: Option<UserId>,
    actor: &Actor,
) -> Result<Verdict, sqlx::Error> {
    let verdict = throttle::failed(tx, subjects).await?;
    if verdict == Verdict::NowLocked {
        let user = user.map(|user| user.0);
        audit::record(tx, None, actor, Entry::new("sign_in", "locked", user, json!({}))).await?;
    }
    Ok(verdict)
}

/// Records the opening of a session.
pub(crate) async fn note_opened(
    tx: &mut Tx,
    actor: &Actor,
    opened: SessionId,
    by: &str,
) -> Result<(), sqlx::Error> {
    audit::record(tx, None, actor, Entry::new("session", "opened", opened.0, json!({ "by": by }))).await
}

/// Opens a session for an authenticated user.
pub async fn open(tx: &mut Tx, user: UserId, client: &Client) -> Result<Opened, sqlx::Error> {
    sqlx::query!("update users set last_login_at = now() where id = $1", user.0).execute(tx.conn()).await?;
    let session = open_as(tx, user, None, client).await?;
    let refresh_token = secret::generate();
    store(tx, session, &refresh_token).await?;
    Ok(Opened { session, user, refresh_token })
}

/// Opens a session for a user, or for staff acting as one, which has no refresh token.
pub(crate) async fn open_as(
    tx: &mut Tx,
    user: UserId,
    impersonator: Option<UserId>,
    client: &Client,
) -> Result<SessionId, sqlx::Error> {
    let session = SessionId::new();
    insert(tx, user, session, impersonator, client).await?;
    Ok(session)
}

/// Opens a session of that id with that refresh token; answers the time.
pub(crate) async fn open_with(
    tx: &mut Tx,
    user: UserId,
    session: SessionId,
    refresh_token: &str,
    client: &Client,
) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query!("update users set last_login_at = now() where id = $1", user.0).execute(tx.conn()).await?;
    let at = insert(tx, user, session, None, client).await?;
    store(tx, session, refresh_token).await?;
    Ok(at)
}

async fn insert(
    tx: &mut Tx,
    user: UserId,
    session: SessionId,
    impersonator: Option<UserId>,
    client: &Client,
) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar!(
        "insert into sessions (id, user_id, user_agent, ip, impersonator_id) values ($1, $2, $3, $4, $5)
         returning created_at",
        session.0,
        user.0,
        client.user_agent,
        client.ip,
        impersonator.map(|id| id.0),
    )
    .fetch_one(tx.conn())
    .await
}

/// The opening time of a valid session with an unused refresh token.
pub(crate) async fn unused_since(
    database: impl PgExecutor<'_>,
    session: SessionId,
    refresh_token: &str,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select s.created_at as "created_at!"
           from live_sessions s
           join refresh_tokens t on t.session_id = s.id and t.hash = $2 and t.used_at is null
          where s.id = $1"#,
        session.0,
        secret::hash(refresh_token),
    )
    .fetch_optional(database)
    .await
}

/// Whether in that session staff acts as another user.
pub(crate) async fn is_impersonation(pool: &PgPool, session: SessionId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from sessions where id = $1 and impersonator_id is not null) as "is!""#,
        session.0,
    )
    .fetch_one(pool)
    .await
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

/// Exchanges a refresh token for the next one. Within ten seconds of its use the same token is answered the same
/// next one: the tabs of one browser share a token, and an answer may be lost.
///
/// # Errors
/// `token_invalid`; if the token had been used longer ago, its session has now ended.
pub async fn refresh(database: &Database, token: &str) -> Result<Opened, Error> {
    let hash = secret::hash(token);
    let salt = secret::salt();
    let next = secret::successor(token, &salt);
    let mut tx = database.begin().await?;
    let traded = sqlx::query!(
        r#"update refresh_tokens t
              set used_at = now(), replaced_by = $2, successor_salt = $3
             from live_sessions s
            where t.hash = $1 and t.used_at is null and t.expires_at > now()
              and s.id = t.session_id and s.impersonator_id is null
        returning s.id as "id!", s.user_id as "user_id!""#,
        hash,
        secret::hash(&next),
        &salt,
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(traded) = traded else {
        if let Some(opened) = same_successor(&mut tx, token, &hash).await? {
            return Ok(opened);
        }
        end_reused(&mut tx, &hash).await?;
        tx.commit().await?;
        return Err(Error::unauthenticated("the refresh token is invalid or has expired: sign in again"));
    };
    let (session, user) = (traded.id, traded.user_id);
    store(&mut tx, session, &next).await?;
    sqlx::query!("update sessions set last_used_at = now() where id = $1", session.0)
        .execute(tx.conn())
        .await?;
    // An old token must not lead along the chain to the present one.
    sqlx::query!(
        "update refresh_tokens set successor_salt = null
          where session_id = $1 and successor_salt is not null and used_at <= now() - $2::text::interval",
        session.0,
        SAME_SUCCESSOR,
    )
    .execute(tx.conn())
    .await?;
    tx.commit().await?;
    Ok(Opened { session, user, refresh_token: next })
}

/// The successor of a recently used token. The exchange has been committed: this waited for its row.
async fn same_successor(tx: &mut Tx, token: &str, hash: &[u8]) -> Result<Option<Opened>, sqlx::Error> {
    let traded = sqlx::query!(
        r#"select s.id as "id!", s.user_id as "user_id!", t.successor_salt as "salt!"
             from refresh_tokens t
             join live_sessions s on s.id = t.session_id
            where t.hash = $1 and t.successor_salt is not null
              and t.used_at > clock_timestamp() - $2::text::interval"#,
        hash,
        SAME_SUCCESSOR,
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(traded.map(|traded| Opened {
        session: traded.id,
        user: traded.user_id,
        refresh_token: secret::successor(token, &traded.salt),
    }))
}

/// Ends the session whose token was used a second time.
async fn end_reused(tx: &mut Tx, hash: &[u8]) -> Result<(), sqlx::Error> {
    let ended = sqlx::query!(
        "update sessions s
            set revoked_at = now(), revoked_for = $2
           from refresh_tokens t
          where t.hash = $1 and t.used_at is not null and s.id = t.session_id and s.revoked_at is null
         returning s.id, s.user_id",
        hash,
        Ended::TokenReuse.name(),
    )
    .fetch_optional(tx.conn())
    .await?;
    if let Some(ended) = ended {
        tracing::warn!(session = %ended.id, "a refresh token was presented twice; its session has been ended");
        let actor = Actor { user_id: Some(ended.user_id), ..Actor::default() };
        note_ended(tx, &actor, ended.id, Ended::TokenReuse).await?;
    }
    Ok(())
}

/// Signs out: the session's access tokens, refresh tokens and tickets are invalid from now on.
pub async fn end(tx: &mut Tx, session: SessionId, actor: &Actor) -> Result<(), sqlx::Error> {
    let ended = sqlx::query!(
        "update sessions set revoked_at = now(), revoked_for = $2 where id = $1 and revoked_at is null",
        session.0,
        Ended::Logout.name(),
    )
    .execute(tx.conn())
    .await?;
    if ended.rows_affected() > 0 { note_ended(tx, actor, session, Ended::Logout).await } else { Ok(()) }
}

/// Ends all of a user's sessions except the given one; answers their number. The caller records the reason.
pub(crate) async fn end_all(
    tx: &mut Tx,
    user: UserId,
    but: Option<SessionId>,
    why: Ended,
) -> Result<u64, sqlx::Error> {
    let ended = sqlx::query!(
        "update sessions set revoked_at = now(), revoked_for = $3
          where user_id = $1 and id is distinct from $2 and revoked_at is null",
        user.0,
        but.map(|id| id.0),
        why.name(),
    )
    .execute(tx.conn())
    .await?;
    Ok(ended.rows_affected())
}

/// Ends the sessions in which a staff account acts as other users.
pub(crate) async fn end_acting(tx: &mut Tx, staff: UserId, why: Ended) -> Result<u64, sqlx::Error> {
    let ended = sqlx::query!(
        "update sessions set revoked_at = now(), revoked_for = $2 where impersonator_id = $1 and revoked_at is null",
        staff.0,
        why.name(),
    )
    .execute(tx.conn())
    .await?;
    Ok(ended.rows_affected())
}

async fn note_ended(tx: &mut Tx, actor: &Actor, session: SessionId, why: Ended) -> Result<(), sqlx::Error> {
    audit::record(tx, None, actor, Entry::new("session", "ended", session.0, json!({ "for": why.name() })))
        .await
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("session", &self.session)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
