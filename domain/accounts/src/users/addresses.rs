//! Email addresses of accounts: their verification and change.
//!
//! An address is verified by a link that was sent there and is used: for activation, reset or invitation, or by
//! Clerk, which has verified it. Until then its owner need not own the account, so nothing that is meant for
//! the owner depends on it. A verification without the account's password makes its user the owner: the
//! previous password, sessions, personal tokens and Clerk identity end with that ("pre-hijacking", Sudhodanan
//! and Paverd, USENIX Security 2022).

use domain::{
    Actor, Email, Error, SessionId, UserId,
    audit::{self, Entry},
    mail::{self, Action, Brand, Cause, Letter},
};
use jobs::Tx;
use serde_json::json;
use url::Url;

use super::{User, find, letters::page, profile};
use crate::{
    account_tokens::{self, EMAIL_CHANGE, NewToken, Purpose},
    sessions::{self, Ended},
};

/// Records that an address is verified.
pub(crate) async fn verify(tx: &mut Tx, user: UserId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update users set email_verified_at = now(), updated_at = now()
          where id = $1 and email_verified_at is null",
        user.0,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// The same, without a proof of the account's password: a Clerk identity that was linked
/// before is removed.
pub(crate) async fn take_over(tx: &mut Tx, user: UserId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update users set email_verified_at = now(), clerk_id = null, updated_at = now()
          where id = $1 and email_verified_at is null",
        user.0,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Requests a new address: a link sent to it confirms it, and the old one is notified. Until then nothing changes.
///
/// # Errors
/// `email_taken`; `mail_limit_reached`.
pub(super) async fn ask(
    tx: &mut Tx,
    user: UserId,
    new: &Email,
    link: &str,
    actor: &Actor,
) -> Result<(), Error> {
    let is_taken = sqlx::query_scalar!(
        r#"select exists (select from users where email_key = $1 and id <> $2) as "is!""#,
        new.key(),
        user.0,
    );
    if is_taken.fetch_one(tx.conn()).await? {
        return Err(Error::email_taken());
    }
    let before = sqlx::query!(
        "update users set pending_email = $2, pending_email_key = $3, updated_at = now()
          where id = $1 and is_active returning email, name",
        user.0,
        new.as_str(),
        new.key(),
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or_else(Error::not_found)?;
    let token = account_tokens::issue(
        tx,
        NewToken {
            user,
            purpose: Purpose::EmailChange,
            workspace: None,
            created_by: actor.user_id,
            lifetime: EMAIL_CHANGE,
            is_mailed: true,
        },
    )
    .await?;
    let link: Url = link.parse().map_err(|_| sqlx::Error::Configuration("APP_URL makes no links".into()))?;
    mail::count_asker(tx, actor).await?;
    mail::post(
        tx,
        confirmation(new, page(link, "confirm-email", &[("token", &token)])),
        &Brand::default(),
        Cause::Asked,
        actor,
    )
    .await?;
    mail::notify(tx, announced(before.email, before.name, new), actor).await?;
    Ok(())
}

/// Cancels a pending change.
pub(super) async fn forget_change(tx: &mut Tx, user: UserId) -> Result<(), sqlx::Error> {
    sqlx::query!("update users set pending_email = null, pending_email_key = null where id = $1", user.0)
        .execute(tx.conn())
        .await?;
    account_tokens::void(tx, user, Purpose::EmailChange).await
}

/// Changes the address to the one that the link was sent to. The session of the request continues, all others
/// end, as do links that were sent to the old address, which is notified.
///
/// # Errors
/// `token_invalid`, also if the link is another user's; `email_taken` if another account has got the
/// address meanwhile.
pub async fn confirm(
    tx: &mut Tx,
    (user, session): (UserId, SessionId),
    token: &str,
    actor: &Actor,
) -> Result<User, Error> {
    let bearer = account_tokens::redeem(tx, token, Purpose::EmailChange).await?;
    if bearer.user != user {
        return Err(account_tokens::not_good());
    }
    let moved = sqlx::query!(
        "update users u
            set email = before.pending_email, email_key = before.pending_email_key, email_verified_at = now(),
                pending_email = null, pending_email_key = null, updated_at = now()
           from (select id, email, pending_email, pending_email_key from users where id = $1 for update) before
          where u.id = before.id and before.pending_email is not null
      returning before.email as email_before, u.email, u.name",
        user.0,
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or_else(account_tokens::not_good)?;
    sessions::end_all(tx, user, Some(session), Ended::EmailChanged).await?;
    account_tokens::void(tx, user, Purpose::PasswordReset).await?;
    account_tokens::void(tx, user, Purpose::Activation).await?;
    profile::copy_to_members(tx, user, profile::New::default(), actor).await?;
    audit::record(tx, None, actor, Entry::new("user", "email_changed", user.0, json!({}))).await?;
    mail::notify(tx, changed(moved.email_before, moved.name, &moved.email), actor).await?;
    find(tx.conn(), user).await?.ok_or_else(Error::not_found)
}

/// To the new address, whose owner is not known yet: so without a name.
fn confirmation(to: &Email, url: String) -> Letter {
    Letter {
        to: to.to_string(),
        name: String::new(),
        subject: "Confirm your new address".to_owned(),
        lines: vec!["This address was given as the new address of an account.".to_owned()],
        action: Some(Action { label: "Confirm the address".to_owned(), url }),
        after: vec![
            "This link can be used once, within 24 hours, in a browser that is signed in to the account."
                .to_owned(),
            "If you did not request this, ignore this email; nothing will change.".to_owned(),
        ],
    }
}

/// Notifies the old address of the requested change.
fn announced(to: String, name: String, new: &Email) -> Letter {
    Letter {
        to,
        name,
        subject: "Your address is about to change".to_owned(),
        lines: vec![format!(
            "A change of your account's address to {new} was requested. It takes effect when it is confirmed from that address."
        )],
        action: None,
        after: vec![NOT_YOU.to_owned()],
    }
}

/// Notifies the old address of the completed change.
fn changed(to: String, name: String, now: &str) -> Letter {
    Letter {
        to,
        name,
        subject: "Your address was changed".to_owned(),
        lines: vec![format!(
            "The address of your account was changed to {now}, and every other session was signed out. This address \
             can no longer be used to sign in."
        )],
        action: None,
        after: vec![NOT_YOU.to_owned()],
    }
}

const NOT_YOU: &str =
    "If you did not do this, choose a new password at once and inform an admin of your workspace.";
