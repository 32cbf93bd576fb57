//! The end of a sign-up, given to whoever holds its token.

use chrono::Duration;
use jobs::Database;
use uuid::Uuid;

use super::{Door, SignupError};
use crate::{
    SessionId, UserId, secret,
    sessions::{self, Client, Opened},
};

/// How long after its end a sign-up still delivers tokens.
const DELIVERABLE: Duration = Duration::minutes(15);

/// What the end of a sign-up gives to whoever holds its token.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// By which door.
    pub door: Door,
    /// The session; none once it is too late, or when the session has ended since: sign in instead. None
    /// ever by a door that makes no account: whoever waits there is somebody already, or is not the owner.
    pub session: Option<Opened>,
    /// The workspace.
    pub workspace_id: Uuid,
    /// What it is called.
    pub workspace_name: String,
    /// Where to pay, when that is still to be done.
    pub checkout_url: Option<String>,
}

/// Delivers the end of a completed sign-up. The first delivery opens the session, later ones within
/// the time give further refresh tokens for the same.
///
/// # Errors
/// [`SignupError::NotFound`] when there is no completed sign-up of that token.
pub async fn deliver(database: &Database, token: &str) -> Result<Delivered, SignupError> {
    let mut tx = database.begin().await?;
    let signup = sqlx::query!(
        r#"select s.id, s.door as "door: Door", s.checkout_url, s.user_id, s.workspace_id, s.company_name,
                  s.session_id, s.user_agent, s.ip,
                  f.finished_at > $2 as "in_time!"
             from signups s join finished_jobs f on f.id = s.job_id and f.state = 'completed'
            where s.token_hash = $1 and s.state = 'completed'
              for update of s"#,
        secret::hash(token),
        jobs::clock::now() - DELIVERABLE,
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or(SignupError::NotFound)?;
    let user = UserId(signup.user_id);
    let session = match signup.session_id.map(SessionId) {
        _ if !signup.in_time || !signup.door.makes_account() => None,
        None => {
            let client = Client { user_agent: signup.user_agent, ip: signup.ip };
            let opened = sessions::open(&mut tx, user, &client).await?;
            sqlx::query!("update signups set session_id = $2 where id = $1", signup.id, opened.session.0)
                .execute(tx.conn())
                .await?;
            Some(opened)
        }
        Some(session) if sessions::is_alive(tx.conn(), session).await? => {
            let refresh_token = sessions::issue(&mut tx, session).await?;
            Some(Opened { session, user, refresh_token })
        }
        Some(_) => None,
    };
    tx.commit().await?;
    Ok(Delivered {
        door: signup.door,
        session,
        workspace_id: signup.workspace_id,
        workspace_name: signup.company_name,
        checkout_url: signup.checkout_url,
    })
}
