//! A user's sessions: listing them, and ending unknown ones.

use chrono::{DateTime, Utc};
use domain::{
    Actor, Error, SessionId, UserId,
    audit::{self, Entry},
};
use jobs::Tx;
use poem_openapi::Object;
use serde_json::json;
use sqlx::PgPool;

use super::{Ended, device::device, end_all, note_ended};

/// A valid session.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct Session {
    /// Session id.
    pub id: SessionId,
    /// Description of the client, for display: browser and system, as far as its `User-Agent` names them.
    pub device: String,
    /// `User-Agent` of the client; null if none was sent.
    pub user_agent: Option<String>,
    /// IP address that the session was opened from; null if not known.
    pub ip: Option<String>,
    /// Opening time.
    pub created_at: DateTime<Utc>,
    /// Time of the latest refresh of its tokens.
    pub last_used_at: DateTime<Utc>,
    /// Whether this is the session of the request.
    pub current: bool,
    /// Whether staff opened it, to act as this user.
    pub impersonated: bool,
}

/// The valid sessions of a user that can still be refreshed, the newest first; including the current one,
/// and those in which staff act as the user.
pub async fn list(pool: &PgPool, user: UserId, current: SessionId) -> Result<Vec<Session>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select s.id, s.user_agent, s.ip, s.created_at, s.last_used_at,
                  s.impersonator_id is not null as "impersonated!"
             from sessions s join live_sessions l on l.id = s.id
            where s.user_id = $1
              and (s.id = $2 or s.impersonator_id is not null or exists (select from refresh_tokens t
                     where t.session_id = s.id and t.used_at is null and t.expires_at > now()))
            order by s.last_used_at desc, s.id desc limit 200"#,
        user.0,
        current.0,
    );
    let rows = rows.fetch_all(pool).await?.into_iter().map(|row| Session {
        id: row.id,
        device: device(row.user_agent.as_deref()),
        user_agent: row.user_agent,
        ip: row.ip,
        created_at: row.created_at,
        last_used_at: row.last_used_at,
        current: row.id == current,
        impersonated: row.impersonated,
    });
    Ok(rows.collect())
}

/// Ends one of a user's sessions.
///
/// # Errors
/// `record_not_found` if it isn't the user's, or has ended.
pub async fn revoke(tx: &mut Tx, user: UserId, session: SessionId, actor: &Actor) -> Result<(), Error> {
    let ended = sqlx::query!(
        "update sessions set revoked_at = now(), revoked_for = $3
          where id = $1 and user_id = $2 and revoked_at is null",
        session.0,
        user.0,
        Ended::Revoked.name(),
    )
    .execute(tx.conn())
    .await?;
    if ended.rows_affected() == 0 {
        return Err(Error::not_found());
    }
    Ok(note_ended(tx, actor, session, Ended::Revoked).await?)
}

/// Ends all of a user's sessions except the current one; answers their number.
pub async fn revoke_others(
    tx: &mut Tx,
    user: UserId,
    current: SessionId,
    actor: &Actor,
) -> Result<u64, sqlx::Error> {
    let ended = end_all(tx, user, Some(current), Ended::Revoked).await?;
    let entry = Entry::new("session", "others_ended", current.0, json!({ "sessions": ended }));
    audit::record(tx, None, actor, entry).await?;
    Ok(ended)
}
