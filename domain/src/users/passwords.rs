//! Choosing a new password: by a link, or with the old one. Whatever the way, the person's other sessions end,
//! and so does every link that would let somebody choose another.

use jobs::{Database, NewJob, Tx, kinds::SendMail};
use serde_json::json;
use sqlx::{PgExecutor, PgPool};

use super::{Email, Password, UserError, authenticate, password::FEWEST};
use crate::{
    Actor, SessionId, UserId, WorkspaceId,
    account_tokens::{self, Purpose},
    audit::{self, Entry},
    mail::{Brand, Letter},
    sessions::{self, Ended},
    throttle::{self, Subjects, Verdict},
};

/// Whom a new password is for, as far as its rules are concerned.
pub(super) struct Owner {
    pub(super) email: String,
    pub(super) name: String,
}

pub(super) async fn owner(database: impl PgExecutor<'_>, user: UserId) -> Result<Owner, UserError> {
    sqlx::query_as!(Owner, "select email, name from users where id = $1 and is_active", user.0)
        .fetch_optional(database)
        .await?
        .ok_or(UserError::NotFound)
}

/// The fewest characters that a person's password must have: as many as the workspace asks for that manages the
/// account. A password is the account's, so that no other workspace has a say in it.
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

/// The fewest characters that a workspace asks for in the accounts that it manages.
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

/// The hash of a password that a person has chosen, if it keeps to the rules that hold for them.
///
/// # Errors
/// [`UserError::Invalid`] of that field.
pub(super) async fn hash_of(
    pool: &PgPool,
    user: UserId,
    email: &str,
    password: String,
    field: &'static str,
) -> Result<String, UserError> {
    let fewest = fewest_characters(pool, user).await?;
    let email = email.parse::<Email>().ok();
    let password = Password::parse_at_least(password, email.as_ref(), fewest)
        .map_err(|reason| UserError::invalid(field, reason))?;
    Ok(password.hash().await?)
}

/// Makes a hash the person's password. All of their sessions end but the one given, and all links that let
/// somebody choose another are void. Whoever had a link from a mail has shown that the address is theirs.
pub(super) async fn put(
    tx: &mut Tx,
    user: UserId,
    hash: &str,
    keep: Option<SessionId>,
) -> Result<String, UserError> {
    let email = sqlx::query_scalar!(
        "update users set password_hash = $2, activated_at = coalesce(activated_at, now()), updated_at = now()
          where id = $1 and is_active returning email",
        user.0,
        hash,
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or(UserError::NotFound)?;
    sessions::end_all(tx, user, keep, Ended::PasswordChanged).await?;
    account_tokens::void(tx, user, Purpose::PasswordReset).await?;
    account_tokens::void(tx, user, Purpose::Activation).await?;
    throttle::forget(tx, &email).await?;
    Ok(email)
}

/// Chooses a new password by the token of a link. Of any number of tries at once one succeeds.
///
/// # Errors
/// [`UserError::Token`]; [`UserError::Invalid`], after which the link is as good as before.
pub async fn reset(
    database: &Database,
    token: &str,
    password: String,
    actor: &Actor,
) -> Result<(), UserError> {
    let bearer = account_tokens::look(&database.pool, token, Purpose::PasswordReset).await?;
    let Owner { email, name } = owner(&database.pool, bearer.user).await?;
    // Hashing takes a while: not inside the transaction.
    let hash = hash_of(&database.pool, bearer.user, &email, password, "password").await?;
    let mut tx = database.begin().await?;
    let bearer = account_tokens::redeem(&mut tx, token, Purpose::PasswordReset).await?;
    put(&mut tx, bearer.user, &hash, None).await?;
    let actor = Actor { user_id: Some(bearer.user), ..actor.clone() };
    changed(&mut tx, &actor, bearer.user, &email, name, "link").await?;
    tx.commit().await?;
    Ok(())
}

/// Chooses a new password with the old one. The session it is done in goes on, all others end.
///
/// # Errors
/// [`UserError::Invalid`] of `current_password` or `new_password`; [`UserError::Throttled`].
pub async fn change(
    database: &Database,
    user: UserId,
    session: SessionId,
    (current, new): (String, String),
    actor: &Actor,
) -> Result<(), UserError> {
    let Owner { email, name } = owner(&database.pool, user).await?;
    confirm(database, user, session, &email, current, actor).await?;
    let hash = hash_of(&database.pool, user, &email, new, "new_password").await?;
    let mut tx = database.begin().await?;
    put(&mut tx, user, &hash, Some(session)).await?;
    changed(&mut tx, actor, user, &email, name, "current_password").await?;
    tx.commit().await?;
    Ok(())
}

/// Checks that it is the person who sits there, by their password. Staff who act as them may not do what
/// needs that. Failures count as those of sign-ins do.
pub(super) async fn confirm(
    database: &Database,
    user: UserId,
    session: SessionId,
    email: &str,
    password: String,
    actor: &Actor,
) -> Result<(), UserError> {
    if sessions::is_impersonation(&database.pool, session).await? {
        return Err(UserError::Forbidden("only the person may do this, not somebody who acts as them"));
    }
    let subjects = Subjects::sign_in(email, actor.ip.as_deref());
    if let Verdict::Locked(seconds) = throttle::look(&database.pool, &subjects).await? {
        return Err(UserError::Throttled(seconds));
    }
    let is_right = authenticate(&database.pool, email, password).await? == Some(user);
    let mut tx = database.begin().await?;
    let verdict = if is_right {
        throttle::succeeded(&mut tx, &subjects, email).await?
    } else {
        sessions::count_failure(&mut tx, &subjects, email, actor).await?
    };
    tx.commit().await?;
    match verdict {
        Verdict::Locked(seconds) => Err(UserError::Throttled(seconds)),
        _ if is_right => Ok(()),
        _ => Err(UserError::invalid("current_password", "is not the current password")),
    }
}

/// Notes that a password was changed, and tells its owner, who may not have been the one.
async fn changed(
    tx: &mut Tx,
    actor: &Actor,
    user: UserId,
    email: &str,
    name: String,
    by: &str,
) -> Result<(), sqlx::Error> {
    audit::record(tx, None, actor, Entry::new("password", "changed", user.0, json!({ "by": by }))).await?;
    let letter = Letter {
        to: email.to_owned(),
        name,
        subject: "Your password was changed".to_owned(),
        lines: vec![
            "the password of your account was changed, and every other session was signed out.".to_owned(),
        ],
        action: None,
        after: vec![
            "If that wasn't you, ask for a new password on the sign-in page at once, and tell whoever looks \
             after your workspace."
                .to_owned(),
        ],
    };
    send(tx, letter.dressed(&Brand::default()), actor).await
}

/// Enqueues a letter about an account. Of the installation, not of a workspace: nobody there has it in their
/// list.
pub(super) async fn send(tx: &mut Tx, mail: SendMail, actor: &Actor) -> Result<(), sqlx::Error> {
    jobs::enqueue(tx, NewJob::new(&mail).origin(actor.origin())).await?;
    Ok(())
}
