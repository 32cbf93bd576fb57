//! The end of a sign-up, given to whoever holds its token.

use chrono::{DateTime, Duration, Utc};
use domain::{SessionId, WorkspaceId, secret};
use jobs::Database;

use super::{Door, SignupError};
use crate::sessions::{self, Client, Opened};

/// How long after its end a sign-up still delivers tokens.
const DELIVERABLE: Duration = Duration::minutes(15);

/// What the end of a sign-up gives to whoever holds its token.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// By which door.
    pub door: Door,
    /// The session, with the same refresh token at each delivery; none once it is too late, when that token has
    /// been used, or when the session has ended since: sign in instead. None ever by a door that makes no account:
    /// whoever waits there is somebody already, or is not the owner.
    pub session: Option<Opened>,
    /// When the session was opened: its first tokens are as of then.
    pub opened_at: DateTime<Utc>,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// What it is called.
    pub workspace_name: String,
    /// Where to pay, when that is still to be done.
    pub checkout_url: Option<String>,
}

/// Delivers the end of a completed sign-up. The first delivery opens the session; later ones give the same
/// refresh token again, as long as nobody has used it.
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
    let user = signup.user_id;
    let session = if !signup.in_time || !signup.door.makes_account() {
        None
    } else if let Some(session) = signup.session_id {
        let refresh_token = refresh_token(token, session);
        let opened_at = sessions::unused_since(tx.conn(), session, &refresh_token).await?;
        opened_at.map(|at| (Opened { session, user, refresh_token }, at))
    } else {
        let client = Client { user_agent: signup.user_agent, ip: signup.ip };
        let session = SessionId::new();
        let refresh_token = refresh_token(token, session);
        let at = sessions::open_with(&mut tx, user, session, &refresh_token, &client).await?;
        sqlx::query!("update signups set session_id = $2 where id = $1", signup.id.0, session.0)
            .execute(tx.conn())
            .await?;
        Some((Opened { session, user, refresh_token }, at))
    };
    tx.commit().await?;
    let (session, opened_at) = session.unzip();
    Ok(Delivered {
        door: signup.door,
        session,
        opened_at: opened_at.unwrap_or_else(jobs::clock::now),
        workspace_id: signup.workspace_id,
        workspace_name: signup.company_name,
        checkout_url: signup.checkout_url,
    })
}

/// The refresh token that a sign-up's session begins with: made of the sign-up's own token, so that it is the same
/// at each delivery and stored nowhere. That token is as long a secret.
fn refresh_token(token: &str, session: SessionId) -> String {
    secret::derive(token, &format!("refresh token of session {}", session.0))
}
