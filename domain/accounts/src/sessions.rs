//! Sessions: one per sign-in. A session's access tokens are checked against it on every request, so
//! that signing out ends them at once. Its refresh tokens rotate: each is good once. Within a few seconds
//! the same one answers the same successor, for two tabs that refresh at once and for a lost answer; one
//! that comes after that ends the session, because two parties hold it.

mod device;
mod list;

use chrono::{DateTime, Duration, Utc};
use domain::{
    Actor, DomainError, Refusal, SessionId, UserId,
    audit::{self, Entry},
    secret,
    throttle::{self, Device, Subjects, Target, Verdict},
};
use jobs::{Database, Tx};
use serde_json::json;
use sqlx::{PgExecutor, PgPool};

pub use list::{Session, list, revoke, revoke_others};

use crate::users::{Account, HashError};

/// How long a refresh token is good for. A session that is used now and then lives for ever.
const REFRESH_LIFETIME: Duration = Duration::days(30);
/// How long after its use a refresh token answers the same successor again.
const SAME_SUCCESSOR: &str = "10 seconds";

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

impl Client {
    /// Where somebody acts from.
    #[must_use]
    pub fn of(actor: &Actor) -> Self {
        Self { user_agent: actor.user_agent.clone(), ip: actor.ip.clone() }
    }
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its person signed out.
    Logout,
    /// A refresh token of it came twice.
    TokenReuse,
    /// Its person ended it from elsewhere.
    Revoked,
    /// A new password was chosen.
    PasswordChanged,
    /// Its person may not sign in any more.
    Deactivated,
    /// Its person signs in with another address now.
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

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Nobody active has that address and that password. It doesn't say which is wrong.
    #[error("the email or the password is wrong")]
    WrongCredentials,
    /// The refresh token is unknown, expired, used, or its session has ended.
    #[error("the refresh token is not valid, or no longer: sign in again")]
    NotRefreshable,
    /// Too many failed attempts at that address from the client's network, or from many, whether or not somebody has
    /// it; or at many from there.
    #[error("too many failed attempts: try again in {0} s")]
    Throttled(u64),
    /// There is no such session of this person.
    #[error("there is no such session")]
    NotFound,
    /// The password could not be compared.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl DomainError for SessionError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::WrongCredentials => Refusal::WrongCredentials,
            Self::NotRefreshable => Refusal::Unauthenticated,
            Self::Throttled(seconds) => Refusal::TooMany("sign_in_locked", *seconds),
            Self::NotFound => Refusal::NotFound,
            Self::Hash(error) => error.refusal(),
            Self::Database(error) => error.refusal(),
        }
    }
}

/// Whether a session lets its person in.
pub async fn is_alive(database: impl PgExecutor<'_>, session: SessionId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"select exists (select from live_sessions where id = $1) as "alive!""#, session.0,)
        .fetch_one(database)
        .await
}

/// Signs a person in. A device that they have signed in with before is counted apart from all others.
///
/// # Errors
/// [`SessionError::WrongCredentials`], after the same time whatever is wrong; [`SessionError::Throttled`], also
/// for the right password.
pub async fn sign_in(
    database: &Database,
    email: &str,
    password: String,
    device: Option<Device>,
    actor: &Actor,
) -> Result<Opened, SessionError> {
    let account = Account::of_address(&database.pool, email).await?;
    let user = account.as_ref().map(|account| account.id);
    let target = user.map_or(Target::Nobody(email), Target::Account);
    let subjects = Subjects::of(target, actor.ip.as_deref(), device);
    if let Verdict::Locked(seconds) = throttle::look(&database.pool, &subjects).await? {
        return Err(SessionError::Throttled(seconds));
    }
    let is_right = Account::has_password(account, password).await?;
    let mut tx = database.begin().await?;
    let Some(user) = user.filter(|_| is_right) else {
        let verdict = count_failure(&mut tx, &subjects, user, actor).await?;
        tx.commit().await?;
        return Err(match verdict {
            Verdict::Locked(seconds) => SessionError::Throttled(seconds),
            Verdict::Open | Verdict::NowLocked => SessionError::WrongCredentials,
        });
    };
    if let Verdict::Locked(seconds) = throttle::succeeded(&mut tx, &subjects).await? {
        return Err(SessionError::Throttled(seconds));
    }
    let actor = Actor { user_id: Some(user), ..actor.clone() };
    let opened = open(&mut tx, user, &Client::of(&actor)).await?;
    note_opened(&mut tx, &actor, opened.session, "password").await?;
    tx.commit().await?;
    Ok(opened)
}

/// Counts a failed attempt to show that one is somebody, and notes the one that locked them out. The same
/// statements run whether or not anybody has the address.
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

/// Notes that a session was opened, and by what.
pub(crate) async fn note_opened(
    tx: &mut Tx,
    actor: &Actor,
    opened: SessionId,
    by: &str,
) -> Result<(), sqlx::Error> {
    audit::record(tx, None, actor, Entry::new("session", "opened", opened.0, json!({ "by": by }))).await
}

/// Opens a session for someone who has shown who they are.
pub async fn open(tx: &mut Tx, user: UserId, client: &Client) -> Result<Opened, sqlx::Error> {
    sqlx::query!("update users set last_login_at = now() where id = $1", user.0).execute(tx.conn()).await?;
    let session = open_as(tx, user, None, client).await?;
    let refresh_token = secret::generate();
    store(tx, session, &refresh_token).await?;
    Ok(Opened { session, user, refresh_token })
}

/// Opens a session in which a member of staff acts as somebody, or a person as themselves. It has no refresh token.
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

/// Opens a session of that id, which begins with that refresh token; answers when.
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

/// When a session that is alive was opened, if a refresh token of it has not been used.
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

/// Whether in that session somebody acts as somebody else.
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

/// Trades a refresh token for the next one. Within ten seconds of its use the same token is answered the same
/// next one: the tabs of one browser share a token, and an answer may be lost.
///
/// # Errors
/// [`SessionError::NotRefreshable`]; if the token had been used longer ago, its session has now ended.
pub async fn refresh(database: &Database, token: &str) -> Result<Opened, SessionError> {
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
        return Err(SessionError::NotRefreshable);
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

/// What a token was traded for a moment ago. Whoever traded it has committed: this waited for their row.
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

/// Ends the session whose token came a second time.
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

/// Signs out: the session's access tokens, refresh tokens and tickets are worthless from now on.
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

/// Ends all of a person's sessions, but the one given; answers how many those were. Whoever calls notes why.
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

/// Ends the sessions in which a member of staff acts as others.
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
