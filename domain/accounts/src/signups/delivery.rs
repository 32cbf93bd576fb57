//! The end of a sign-up, delivered to the holder of its token.

use chrono::{DateTime, Duration, Utc};
use domain::{Error, SessionId, WorkspaceId, secret};
use jobs::Database;

use super::Door;
use crate::sessions::{self, Client, Opened};

/// Time after its end in which a sign-up still delivers tokens.
const DELIVERABLE: Duration = Duration::minutes(15);

/// The result of a sign-up for the holder of its token.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// Flow.
    pub door: Door,
    /// Session, with the same refresh token at each delivery; none after the delivery period, when that token has
    /// been used, or when the session has ended: sign in instead. Always none for a flow that creates no account:
    /// its caller is signed in already, or is not the owner.
    pub session: Option<Opened>,
    /// Opening time of the session: its first tokens are as of then.
    pub opened_at: DateTime<Utc>,
    /// Workspace id.
    pub workspace_id: WorkspaceId,
    /// Workspace name.
    pub workspace_name: String,
    /// URL of the payment page, if the payment is still to be made.
    pub checkout_url: Option<String>,
}

/// Delivers the end of a completed sign-up. The first delivery opens the session; later ones answer the same
/// refresh token again, until it is used.
///
/// # Errors
/// `record_not_found` if there is no completed sign-up with that token.
pub async fn deliver(database: &Database, token: &str) -> Result<Delivered, Error> {
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
    .ok_or_else(Error::not_found)?;
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

/// The first refresh token of a sign-up's session: derived from the sign-up's own token, so that it is the same
/// at each delivery and stored nowhere. That token is an equally long secret.
fn refresh_token(token: &str, session: SessionId) -> String {
    secret::derive(token, &format!("refresh token of session {}", session.0))
}
