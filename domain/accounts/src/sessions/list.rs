//! A person's sessions: where they are signed in, and ending those that they don't know.

use chrono::{DateTime, Utc};
use domain::{
    Actor, SessionId, UserId,
    audit::{self, Entry},
};
use jobs::Tx;
use poem_openapi::Object;
use serde_json::json;
use sqlx::PgPool;

use super::{Ended, SessionError, device::device, end_all, note_ended};

/// A sign-in that is still good.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct Session {
    /// The session.
    pub id: SessionId,
    /// What it was opened with, for people: a browser and a system, as far as the client has said.
    pub device: String,
    /// What the client said it was.
    pub user_agent: Option<String>,
    /// The address that it was opened from.
    pub ip: Option<String>,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// When its tokens were refreshed last.
    pub last_used_at: DateTime<Utc>,
    /// Whether the request came in this one.
    pub current: bool,
    /// Whether a member of staff opened it, to act as this person.
    pub impersonated: bool,
}

/// The sessions of a person that have not ended and can still be refreshed, the newest first; the one that asks
/// is among them, and those in which staff act as the person.
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

/// Ends one of a person's sessions.
///
/// # Errors
/// [`SessionError::NotFound`] when it isn't theirs, or has ended.
pub async fn revoke(
    tx: &mut Tx,
    user: UserId,
    session: SessionId,
    actor: &Actor,
) -> Result<(), SessionError> {
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
        return Err(SessionError::NotFound);
    }
    Ok(note_ended(tx, actor, session, Ended::Revoked).await?)
}

/// Ends all of a person's sessions but the current one; answers how many those were.
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
