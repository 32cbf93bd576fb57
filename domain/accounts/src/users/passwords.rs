//! Setting a new password: by a link, or with the current one. In each case, the user's other sessions end,
//! and so does every link to set another one.

use domain::{
    Actor, Email, Error, SessionId, UserId, WorkspaceId,
    audit::{self, Entry},
    mail::{self, Letter},
    throttle::{self, Subjects, Target, Verdict},
};
use jobs::{Database, Tx};
use serde_json::json;
use sqlx::{PgExecutor, PgPool};

use super::{Account, Password, addresses, password::FEWEST};
use crate::{
    account_tokens::{self, Purpose},
    api_keys, personal_tokens,
    sessions::{self, Ended},
};

/// The owner of a new password, as far as its rules depend on it.
pub(super) struct Owner {
    pub(super) email: String,
    pub(super) name: String,
}

pub(super) async fn owner(database: impl PgExecutor<'_>, user: UserId) -> Result<Owner, Error> {
    sqlx::query_as!(Owner, "select email, name from users where id = $1 and is_active", user.0)
        .fetch_optional(database)
        .await?
        .ok_or_else(Error::not_found)
}

/// The minimum number of characters of a user's password: that of the workspace that manages the
/// account. A password belongs to the account, so no other workspace's setting applies.
pub async fn fewest_characters(database: impl PgExecutor<'_>, user: UserId) -> Result<usize, sqlx::Error> {
    let asked = sqlx::query_scalar!(
        "select g.password_min_length
           from users u join governance g on g.workspace_id = u.managed_by where u.id = $1",
        user.0,
    )
    .fetch_optional(database)
    .await?;
    Ok(at_least(asked))
}

/// The minimum number of characters that a workspace requires in the accounts that it manages.
pub(crate) async fn fewest_characters_in(
    database: impl PgExecutor<'_>,
    workspace: WorkspaceId,
) -> Result<usize, sqlx::Error> {
    let asked = sqlx::query_scalar!(
        "select password_min_length from governance where workspace_id = $1",
        workspace.0,
    )
    .fetch_optional(database)
    .await?;
    Ok(at_least(asked))
}

fn at_least(asked: Option<i32>) -> usize {
    asked.and_then(|asked| usize::try_from(asked).ok()).map_or(FEWEST, |asked| asked.max(FEWEST))
}

/// The hash of a chosen password, if it satisfies the rules.
///
/// # Errors
/// `record_invalid` of that field.
pub(super) async fn hash_of(
    pool: &PgPool,
    user: UserId,
    email: &str,
    password: String,
    field: &'static str,
) -> Result<String, Error> {
    let fewest = fewest_characters(pool, user).await?;
    let email = email.parse::<Email>().ok();
    let password = Password::parse_at_least(password, email.as_ref(), fewest)
        .map_err(|reason| Error::invalid(field, reason))?;
    password.hash().await
}

/// Sets the hash of a user's password. All sessions except the given one end, and all links to
/// set another password become invalid.
pub(super) async fn put(
    tx: &mut Tx,
    user: UserId,
    hash: &str,
    keep: Option<SessionId>,
    actor: &Actor,
) -> Result<(), Error> {
    sqlx::query!(
        "update users set password_hash = $2, activated_at = coalesce(activated_at, now()), updated_at = now()
          where id = $1 and is_active returning id",
        user.0,
        hash,
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or_else(Error::not_found)?;
    sessions::end_all(tx, user, keep, Ended::PasswordChanged).await?;
    account_tokens::void(tx, user, Purpose::PasswordReset).await?;
    account_tokens::void(tx, user, Purpose::Activation).await?;
    Ok(throttle::forget(tx, user, actor.ip.as_deref()).await?)
}

/// A new password that satisfies its rules, hashed; hashing takes too long for a transaction.
pub struct NewPassword {
    owner: Owner,
    hash: String,
}

/// Checks a new password against the rules of the account of a link. The link stays valid.
///
/// # Errors
/// `token_invalid`; `record_invalid`.
pub async fn read_reset(pool: &PgPool, token: &str, password: String) -> Result<NewPassword, Error> {
    let bearer = account_tokens::look(pool, token, Purpose::PasswordReset).await?;
    let owner = owner(pool, bearer.user).await?;
    let hash = hash_of(pool, bearer.user, &owner.email, password, "password").await?;
    Ok(NewPassword { owner, hash })
}

/// Sets a new password by the token of a link. Of any number of concurrent tries one succeeds. The user may have
/// lost more than the password: personal tokens end too, and the email about it lists the keys that stay valid.
///
/// # Errors
/// `token_invalid`.
pub async fn reset(
    tx: &mut Tx,
    token: &str,
    NewPassword { owner: Owner { email, name }, hash }: NewPassword,
    actor: &Actor,
) -> Result<(), Error> {
    let bearer = account_tokens::redeem(tx, token, Purpose::PasswordReset).await?;
    let actor = Actor { user_id: Some(bearer.user), ..actor.clone() };
    put(tx, bearer.user, &hash, None, &actor).await?;
    if bearer.is_mailed {
        addresses::take_over(tx, bearer.user).await?;
    }
    let tokens = personal_tokens::revoke_all(tx, bearer.user, &actor).await?;
    let mut told = vec![];
    if !tokens.is_empty() {
        told.push(format!("These personal tokens were revoked with it:\n{}", listed(&tokens)));
    }
    let keys = api_keys::made_by(tx, bearer.user).await?;
    if !keys.is_empty() {
        told.push(format!(
            "These API keys that you have issued belong to their workspaces and stay valid; revoke those that you \
             don't know:\n{}",
            listed(&keys)
        ));
    }
    Ok(changed(tx, &actor, bearer.user, (email, name), "link", told).await?)
}

/// Names in an email, one per line.
fn listed(names: &[String]) -> String {
    let lines = names.iter().map(|name| format!("- {}", mail::shown(name).unwrap_or_default()));
    lines.collect::<Vec<_>>().join("\n")
}

/// Checks the current password and the new one. Wrong current ones are counted at once, whatever the result of the
/// request.
///
/// # Errors
/// `record_invalid` of `current_password` or `new_password`; `sign_in_locked`.
pub async fn read_change(
    database: &Database,
    user: UserId,
    session: SessionId,
    (current, new): (String, String),
    actor: &Actor,
) -> Result<NewPassword, Error> {
    let owner = owner(&database.pool, user).await?;
    confirm(database, user, session, current, actor).await?;
    let hash = hash_of(&database.pool, user, &owner.email, new, "new_password").await?;
    Ok(NewPassword { owner, hash })
}

/// Sets a new password with the current one. The session of the request continues, all others end.
pub async fn change(
    tx: &mut Tx,
    user: UserId,
    session: SessionId,
    NewPassword { owner: Owner { email, name }, hash }: NewPassword,
    actor: &Actor,
) -> Result<(), Error> {
    put(tx, user, &hash, Some(session), actor).await?;
    Ok(changed(tx, actor, user, (email, name), "current_password", vec![]).await?)
}

/// Confirms the user's presence by the password. Staff acting as the user may not do what
/// needs that. Failures count like those of sign-ins.
pub(super) async fn confirm(
    database: &Database,
    user: UserId,
    session: SessionId,
    password: String,
    actor: &Actor,
) -> Result<(), Error> {
    if sessions::is_impersonation(&database.pool, session).await? {
        return Err(Error::forbidden("only the user can do this, not staff acting as the user"));
    }
    let subjects = Subjects::of(Target::Account(user), actor.ip.as_deref(), None);
    if let Verdict::Locked(seconds) = throttle::look(&database.pool, &subjects).await? {
        return Err(Error::sign_in_locked(seconds));
    }
    let account = Account::of_user(&database.pool, user).await?;
    let is_right = Account::has_password(account, password).await?;
    let mut tx = database.begin().await?;
    let verdict = if is_right {
        throttle::succeeded(&mut tx, &subjects).await?
    } else {
        sessions::count_failure(&mut tx, &subjects, Some(user), actor).await?
    };
    tx.commit().await?;
    match verdict {
        Verdict::Locked(seconds) => Err(Error::sign_in_locked(seconds)),
        _ if is_right => Ok(()),
        _ => Err(Error::invalid("current_password", "is not the current password")),
    }
}

/// Records the change of a password, and notifies the account's owner, who may not have made it.
async fn changed(
    tx: &mut Tx,
    actor: &Actor,
    user: UserId,
    (to, name): (String, String),
    by: &str,
    told: Vec<String>,
) -> Result<(), sqlx::Error> {
    audit::record(tx, None, actor, Entry::new("password", "changed", user.0, json!({ "by": by }))).await?;
    let what = "The password of your account was changed, and every other session was signed out.";
    let letter = Letter {
        to,
        name,
        subject: "Your password was changed".to_owned(),
        lines: [what.to_owned()].into_iter().chain(told).collect(),
        action: None,
        after: vec![
            "If you did not do this, request a new password on the sign-in page at once, and inform an admin \
             of your workspace."
                .to_owned(),
        ],
    };
    mail::notify(tx, letter, actor).await
}
