//! Impersonation: an operator issues a short-lived token, valid once, for a session of a staff account
//! as another user, which records the staff account.

use chrono::Duration;
use domain::{
    Actor, Error, SessionId, UserId,
    audit::{self, Entry},
    impersonation::Impersonation,
    mail::{self, Letter},
};
use jobs::{Database, Tx};
use serde_json::json;
use sqlx::PgExecutor;

use super::passwords::{self, Owner};
use crate::{
    account_tokens,
    sessions::{self, Client},
};

/// Checks that a staff account may act as a user, and records the permission.
///
/// # Errors
/// `record_not_found` without an active user; `record_invalid` of `staff` if it is no staff account.
pub async fn allow(tx: &mut Tx, asked: &Impersonation, actor: &Actor) -> Result<(), Error> {
    check(tx.conn(), asked).await?;
    let entry = Entry::new("impersonation", "allowed", asked.user.0, json!({ "staff_id": asked.staff }));
    Ok(audit::record(tx, None, actor, entry).await?)
}

async fn check(database: impl PgExecutor<'_>, asked: &Impersonation) -> Result<(), Error> {
    let found = sqlx::query!(
        r#"select exists (select from users where id = $1 and is_active) as "user!",
                  exists (select from users where id = $2 and is_active and is_staff) as "staff!""#,
        asked.user.0,
        asked.staff.0,
    )
    .fetch_one(database)
    .await?;
    if !found.user {
        return Err(Error::not_found());
    }
    if !found.staff {
        return Err(Error::invalid("staff", "must be an active staff account"));
    }
    Ok(())
}

/// Lifetime of the session, counted from the exchange, as in the view `live_sessions`. It can't be refreshed.
pub const LIFETIME: Duration = Duration::hours(1);

/// Exchanges a token for a session, of which the user is notified by email. Of any number of concurrent tries one
/// succeeds.
///
/// # Errors
/// `token_invalid` if it was used, or either of the two accounts has changed.
pub async fn exchange(database: &Database, token: &Impersonation, actor: &Actor) -> Result<SessionId, Error> {
    match check(&database.pool, token).await {
        Err(error) if !error.is_failure() => return Err(account_tokens::not_good()),
        checked => checked?,
    }
    let mut tx = database.begin().await?;
    let used = sqlx::query!(
        "insert into used_impersonations (id, expires_at) values ($1, $2) on conflict do nothing",
        token.id,
        token.expires,
    )
    .execute(tx.conn())
    .await?;
    if used.rows_affected() == 0 {
        return Err(account_tokens::not_good());
    }
    let actor = Actor { user_id: Some(token.user), impersonator_id: Some(token.staff), ..actor.clone() };
    let session = sessions::open_as(&mut tx, token.user, Some(token.staff), &Client::of(&actor)).await?;
    sessions::note_opened(&mut tx, &actor, session, "impersonation").await?;
    tell(&mut tx, token.user, &actor).await?;
    tx.commit().await?;
    Ok(session)
}

/// Notifies the user that staff act as them, until when, and how to end it.
async fn tell(tx: &mut Tx, user: UserId, actor: &Actor) -> Result<(), Error> {
    let Owner { email, name } = passwords::owner(tx.conn(), user).await?;
    let until = (jobs::clock::now() + LIFETIME).format("%H:%M UTC on %e %B %Y");
    let letter = Letter {
        to: email,
        name,
        subject: "Support staff signed in to your account".to_owned(),
        lines: vec![format!(
            "A member of the support staff of this installation signed in as you. The session ends at {until} at the \
             latest. It can't change your password, your address, or who has access to your workspaces."
        )],
        action: None,
        after: vec![
            "To end it now, open the list of your sessions and end the one that is marked as support."
                .to_owned(),
        ],
    };
    Ok(mail::notify(tx, letter, actor).await?)
}
