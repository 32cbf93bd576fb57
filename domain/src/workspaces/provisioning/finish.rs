//! The end of a sign-up: one commit opens the workspace, forgets the password's second copy, and writes to
//! whoever doesn't stand at the door.

use chrono::Duration;
use jobs::{Database, NewJob, Origin, Tx};
use serde_json::json;
use url::Url;

use super::ProvisioningError;
use crate::{
    Actor,
    mail::{Action, Brand, Letter},
    secret,
    signups::{Door, Signup},
    web_app,
};

/// How long a link to choose a first password is good for.
const ACTIVATION: Duration = Duration::days(7);

/// Opens the workspace, ends the sign-up and writes to the owner, in one commit. Does nothing when that has
/// happened before.
///
/// # Errors
/// [`ProvisioningError::Abandoned`] when the sign-up was taken back meanwhile.
pub async fn finish(
    database: &Database,
    signup: &Signup,
    origin: Origin,
    app_url: &Url,
    actor: &Actor,
) -> Result<(), ProvisioningError> {
    let mut tx = database.begin().await?;
    let ended = sqlx::query!(
        "update signups set state = 'completed', password_hash = null where id = $1 and state = 'pending'",
        signup.id,
    )
    .execute(tx.conn())
    .await?;
    if ended.rows_affected() == 0 {
        let is_done = sqlx::query_scalar!(
            r#"select exists (select from signups where id = $1 and state = 'completed') as "done!""#,
            signup.id,
        )
        .fetch_one(tx.conn())
        .await?;
        return if is_done { Ok(()) } else { Err(ProvisioningError::Abandoned) };
    }
    sqlx::query!(
        "update workspaces set state = 'ready', updated_at = now() where id = $1",
        signup.workspace_id,
    )
    .execute(tx.conn())
    .await?;
    sqlx::query!(
        "update users set current_workspace_id = $2 where id = $1 and current_workspace_id is null",
        signup.user_id,
        signup.workspace_id,
    )
    .execute(tx.conn())
    .await?;
    announce(&mut tx, signup, actor).await?;
    if let Some(letter) = letter(&mut tx, signup, app_url, actor).await? {
        // Of the installation, not of the workspace: nobody there has it in their list to cancel.
        let mail = letter.dressed(&Brand::default());
        jobs::enqueue(&mut tx, NewJob::new(&mail).origin(origin)).await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn announce(tx: &mut Tx, signup: &Signup, actor: &Actor) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "select append_event($1, 'workspace.created', $2, 'workspace', $1, null, $3)",
        signup.workspace_id,
        actor.origin().as_actor(),
        json!({ "name": signup.company_name }),
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// What the owner is written. Someone who has an account and made the workspace themselves sees it anyway.
async fn letter(
    tx: &mut Tx,
    signup: &Signup,
    app_url: &Url,
    actor: &Actor,
) -> Result<Option<Letter>, sqlx::Error> {
    let name = &signup.company_name;
    let letter = Letter {
        to: signup.email.clone(),
        name: signup.full_name.clone(),
        subject: format!("Your workspace {name} is ready"),
        lines: vec![],
        action: None,
        after: vec![],
    };
    let ready = format!("your workspace \"{name}\" is ready. You are its owner");
    Ok(match signup.door {
        Door::Create => None,
        Door::Signup => {
            let how = "sign in with this email address and the password that you chose.";
            Some(Letter { lines: vec![format!("{ready}: {how}")], ..letter })
        }
        Door::StripeInvite => {
            Some(Letter { lines: vec![format!("{ready}: sign in the way that you chose.")], ..letter })
        }
        Door::Provision => Some(match activation_token(tx, signup, actor).await? {
            Some(token) => {
                let query = [("workspace_id", &*signup.workspace_id.to_string()), ("token", &*token)];
                let url = web_app::link(app_url, "activate", &query);
                Letter {
                    lines: vec![format!("{ready}. Choose a password, and you are in.")],
                    action: Some(Action { label: "Choose a password".to_owned(), url }),
                    after: vec!["The link is good for seven days, and once.".to_owned()],
                    ..letter
                }
            }
            None => Letter { lines: vec![format!("{ready}: sign in as you always do.")], ..letter },
        }),
    })
}

/// A token to choose a first password with, for an owner who has none.
async fn activation_token(
    tx: &mut Tx,
    signup: &Signup,
    actor: &Actor,
) -> Result<Option<String>, sqlx::Error> {
    let token = secret::generate();
    let made = sqlx::query!(
        "insert into account_tokens (hash, user_id, purpose, workspace_id, created_by, expires_at)
         select $1, id, 'activation', $3, $4, $5 from users
          where id = $2 and password_hash is null and activated_at is null",
        secret::hash(&token),
        signup.user_id,
        signup.workspace_id,
        actor.user_id.map(|id| id.0),
        jobs::clock::now() + ACTIVATION,
    )
    .execute(tx.conn())
    .await?;
    Ok((made.rows_affected() == 1).then_some(token))
}
