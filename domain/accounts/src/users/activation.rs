//! Activation: somebody who was given an account, or asked for one, chooses their password by the link that was
//! mailed to them, and is signed in. Until then nobody can sign in to it.

use domain::{
    Actor, UserId, WorkspaceId,
    audit::{self, Entry},
};
use jobs::{Database, Tx};
use poem_openapi::Object;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    Account, UserError, addresses,
    passwords::{self, hash_of},
};
use crate::{
    account_tokens::{self, ACTIVATION, Bearer, NewToken, Purpose, TokenError},
    personal_tokens,
    sessions::{self, Client, Opened},
};

/// Whom an activation link is for, to fill the form with.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct Activating {
    /// The person.
    pub user: ActivatingUser,
    /// The workspace that they will find themselves in; none for an account without one.
    pub workspace: Option<ActivatingWorkspace>,
    /// The fewest characters that their password must have.
    pub password_min_length: u32,
}

/// Whoever activates their account.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct ActivatingUser {
    /// Their id.
    pub id: UserId,
    /// Their address.
    pub email: String,
    /// What they are called.
    pub name: String,
}

/// Where they are expected.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct ActivatingWorkspace {
    /// Its id.
    pub id: WorkspaceId,
    /// What it is called.
    pub name: String,
}

/// Issues the token of an activation link, in place of those before it.
pub async fn issue(
    tx: &mut Tx,
    user: UserId,
    workspace: Option<WorkspaceId>,
    created_by: Option<UserId>,
) -> Result<String, sqlx::Error> {
    let purpose = Purpose::Activation;
    let new = NewToken { user, purpose, workspace, created_by, lifetime: ACTIVATION, is_mailed: true };
    account_tokens::issue(tx, new).await
}

/// What goes into an activation link beside its token: its workspace, or the nil id where there is none.
#[must_use]
pub fn workspace_in_link(workspace: Option<WorkspaceId>) -> String {
    workspace.map_or_else(Uuid::nil, |id| id.0).to_string()
}

/// Looks an activation link up.
///
/// # Errors
/// [`UserError::NotFound`] when it isn't good, or the workspace is not the link's.
pub async fn look(pool: &PgPool, workspace: WorkspaceId, token: &str) -> Result<Activating, UserError> {
    let found = match not_yet(pool, token).await {
        Err(UserError::Token(TokenError::NotGood)) => None,
        found => Some(found?),
    };
    let leads_there = |link: &Bearer| link.workspace.unwrap_or(WorkspaceId(Uuid::nil())) == workspace;
    let Bearer { user, workspace: leads_to, .. } = found.filter(leads_there).ok_or(UserError::NotFound)?;
    let found = sqlx::query_as!(ActivatingUser, "select id, email, name from users where id = $1", user.0);
    let found = found.fetch_one(pool).await?;
    let workspace = match leads_to {
        None => None,
        Some(id) => {
            let named =
                sqlx::query_as!(ActivatingWorkspace, "select id, name from workspaces where id = $1", id.0);
            Some(named.fetch_one(pool).await?)
        }
    };
    let fewest = passwords::fewest_characters(pool, user).await?;
    Ok(Activating { user: found, workspace, password_min_length: u32::try_from(fewest).unwrap_or(u32::MAX) })
}

/// Whom a token lets activate an account that hasn't been, or whose address is not verified. One that was activated
/// otherwise isn't taken over by an older link.
async fn not_yet(pool: &PgPool, token: &str) -> Result<Bearer, UserError> {
    let bearer = account_tokens::look(pool, token, Purpose::Activation).await?;
    let waits = sqlx::query_scalar!(
        r#"select activated_at is null or email_verified_at is null as "waits!" from users where id = $1"#,
        bearer.user.0
    );
    if waits.fetch_one(pool).await? { Ok(bearer) } else { Err(TokenError::NotGood.into()) }
}

/// Activates an account with a chosen password, or verifies its address, and signs its owner in. Of any number of
/// tries at once one succeeds.
///
/// Whoever knows the password of an account that has one keeps it, and their sessions. Else the password becomes the
/// one chosen here, and everything ends that opened the account before.
///
/// # Errors
/// [`UserError::Token`]; [`UserError::Invalid`], after which the link is as good as before.
pub async fn activate(
    database: &Database,
    token: &str,
    password: String,
    actor: &Actor,
) -> Result<(Opened, Option<WorkspaceId>), UserError> {
    let Bearer { user, .. } = not_yet(&database.pool, token).await?;
    let email = passwords::owner(&database.pool, user).await?.email;
    let account = Account::of_user(&database.pool, user).await?;
    let hash = if Account::has_password(account, password.clone()).await? {
        None
    } else {
        Some(hash_of(&database.pool, user, &email, password, "password").await?)
    };
    let mut tx = database.begin().await?;
    let Bearer { user, workspace, .. } = account_tokens::redeem(&mut tx, token, Purpose::Activation).await?;
    let actor = Actor { user_id: Some(user), ..actor.clone() };
    match hash {
        None => addresses::verify(&mut tx, user).await?,
        Some(hash) => {
            passwords::put(&mut tx, user, &hash, None, &actor).await?;
            addresses::take_over(&mut tx, user).await?;
            personal_tokens::revoke_all(&mut tx, user, &actor).await?;
        }
    }
    let opened = sessions::open(&mut tx, user, &Client::of(&actor)).await?;
    audit::record(&mut tx, workspace, &actor, Entry::new("user", "activated", user.0, json!({}))).await?;
    tx.commit().await?;
    Ok((opened, workspace))
}
