//! The end of a sign-up: one commit opens the workspace, removes the password's second copy, and emails
//! an owner who doesn't wait for the result.

use domain::{
    Actor,
    mail::{self, Action, Brand, Cause, Letter, PostError},
};
use jobs::{Database, Origin, Tx};
use runtime::web_app;
use serde_json::json;
use url::Url;

use super::ProvisioningError;
use crate::{
    signups::{Door, Signup},
    users::activation,
};

/// Opens the workspace, ends the sign-up and emails the owner, in one commit. Does nothing if it has
/// done so before.
///
/// # Errors
/// [`ProvisioningError::Abandoned`] if the sign-up was undone meanwhile.
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
        signup.id.0,
    )
    .execute(tx.conn())
    .await?;
    if ended.rows_affected() == 0 {
        let is_done = sqlx::query_scalar!(
            r#"select exists (select from signups where id = $1 and state = 'completed') as "done!""#,
            signup.id.0,
        )
        .fetch_one(tx.conn())
        .await?;
        return if is_done { Ok(()) } else { Err(ProvisioningError::Abandoned) };
    }
    sqlx::query!(
        "update workspaces set state = 'ready', updated_at = now() where id = $1",
        signup.workspace_id.0,
    )
    .execute(tx.conn())
    .await?;
    sqlx::query!(
        "update users set current_workspace_id = $2 where id = $1 and current_workspace_id is null",
        signup.user_id.0,
        signup.workspace_id.0,
    )
    .execute(tx.conn())
    .await?;
    announce(&mut tx, signup, actor).await?;
    if let Some(letter) = letter(&mut tx, signup, app_url, actor).await? {
        match mail::post(&mut tx, letter, &Brand::default(), Cause::Asked, &Actor::of_job(&origin)).await {
            // The user can request another link later.
            Ok(()) | Err(PostError::LimitReached { .. }) => {}
            Err(PostError::Database(error)) => return Err(error.into()),
        }
    }
    tx.commit().await?;
    Ok(())
}

async fn announce(tx: &mut Tx, signup: &Signup, actor: &Actor) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "select append_event($1, 'workspace.created', $2, 'workspace', $1, null, $3)",
        signup.workspace_id.0,
        actor.origin().as_actor(),
        json!({ "name": signup.company_name }),
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// The email to the owner. A user who created another workspace sees it anyway. A sign-up
/// may have used another person's address: until it is verified, the given names are left out.
async fn letter(
    tx: &mut Tx,
    signup: &Signup,
    app_url: &Url,
    actor: &Actor,
) -> Result<Option<Letter>, sqlx::Error> {
    let name = mail::shown(&signup.company_name).filter(|_| signup.door != Door::Signup);
    let named = name.map_or_else(String::new, |name| format!(" \"{name}\""));
    let letter = Letter {
        to: signup.email.clone(),
        name: if signup.door == Door::Signup { String::new() } else { signup.full_name.clone() },
        subject: "Your workspace is ready".to_owned(),
        lines: vec![],
        action: None,
        after: vec![],
    };
    let ready = format!("Your workspace{named} is ready. You are its owner");
    Ok(match signup.door {
        Door::Create => None,
        Door::Signup => {
            let how = "sign in with this email address and the password that you chose.";
            let confirm = "Confirm with that password that the address is yours: until then, invitations to it can't find \
                           your account.";
            Some(Letter {
                lines: vec![format!("{ready}: {how}"), confirm.to_owned()],
                action: Some(Action {
                    label: "Confirm the address".to_owned(),
                    url: activation_link(tx, signup, app_url, actor).await?,
                }),
                after: vec![
                    "This link can be used once and expires in 7 days. If you did not sign up, ignore this email, or choose \
                     a password by the link, which makes the account yours."
                        .to_owned(),
                ],
                ..letter
            })
        }
        Door::StripeInvite => Some(Letter {
            lines: vec![format!("{ready}: sign in with the method that you chose.")],
            ..letter
        }),
        Door::Provision if never_signed_in(tx, signup).await? => Some(Letter {
            lines: vec![format!("{ready}. Choose a password to sign in.")],
            action: Some(Action {
                label: "Choose a password".to_owned(),
                url: activation_link(tx, signup, app_url, actor).await?,
            }),
            after: vec!["This link can be used once and expires in 7 days.".to_owned()],
            ..letter
        }),
        Door::Provision => Some(Letter { lines: vec![format!("{ready}: sign in as usual.")], ..letter }),
    })
}

/// Whether the owner has no password, and has not signed in otherwise.
async fn never_signed_in(tx: &mut Tx, signup: &Signup) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from users
                           where id = $1 and password_hash is null and activated_at is null) as "never!""#,
        signup.user_id.0,
    )
    .fetch_one(tx.conn())
    .await
}

async fn activation_link(
    tx: &mut Tx,
    signup: &Signup,
    app_url: &Url,
    actor: &Actor,
) -> Result<String, sqlx::Error> {
    let workspace = Some(signup.workspace_id);
    let owner = signup.user_id;
    let created_by = actor.user_id.filter(|user| *user != owner);
    let token = activation::issue(tx, owner, workspace, created_by).await?;
    let query = [("workspace_id", &*activation::workspace_in_link(workspace)), ("token", &*token)];
    Ok(web_app::link(app_url, "activate", &query))
}
