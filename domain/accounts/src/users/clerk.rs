//! Users who signed in with Clerk: whether they have an account here, and a session for those who do.

use domain::{
    Actor, Email, Error,
    audit::{self, Entry},
};
use jobs::Database;
use serde_json::json;

use crate::sessions::{self, Client, Opened};

/// A session for the account with that Clerk id or, the first time, with that address, whose ownership Clerk
/// has verified; the id is stored then. None without an account: this never creates one. An account whose
/// address was not verified here is matched only while it has no sign-in: otherwise a person who typed the
/// address first would keep their password to the owner's account.
///
/// # Errors
/// `account_deactivated` for a deactivated account.
pub async fn sign_in(
    database: &Database,
    clerk_id: &str,
    email: Option<&str>,
    actor: &Actor,
) -> Result<Option<Opened>, Error> {
    let email =
        email.map(str::parse::<Email>).transpose().map_err(|reason| Error::invalid("email", reason))?;
    let mut tx = database.begin().await?;
    // An account of another Clerk user must not be matched by having the same address.
    let found = sqlx::query!(
        r#"select id, is_active, clerk_id is null as "is_new!"
             from users
            where clerk_id = $1 or (clerk_id is null and email_key = $2
                                      and (email_verified_at is not null or password_hash is null))
            order by clerk_id is null limit 1 for update"#,
        clerk_id,
        email.as_ref().map(Email::key),
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(found) = found else { return Ok(None) };
    if !found.is_active {
        return Err(Error::conflict("account_deactivated", "this account was deactivated"));
    }
    let user = found.id;
    let actor = Actor { user_id: Some(user), ..actor.clone() };
    if found.is_new {
        sqlx::query!(
            "update users set clerk_id = $2, activated_at = coalesce(activated_at, now()),
                    email_verified_at = coalesce(email_verified_at, now()), updated_at = now()
              where id = $1",
            user.0,
            clerk_id,
        )
        .execute(tx.conn())
        .await?;
        audit::record(&mut tx, None, &actor, Entry::new("user", "linked", user.0, json!({ "to": "clerk" })))
            .await?;
    }
    let opened = sessions::open(&mut tx, user, &Client::of(&actor)).await?;
    sessions::note_opened(&mut tx, &actor, opened.session, "clerk").await?;
    tx.commit().await?;
    Ok(Some(opened))
}
