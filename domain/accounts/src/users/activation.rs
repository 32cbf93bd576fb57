//! Activation: the owner of a new account chooses a password by the emailed link,
//! and is signed in. Until then the account has no sign-in.

use domain::{
    Actor, Error, ErrorKind, UserId, WorkspaceId,
    audit::{self, Entry},
};
use jobs::{Database, Tx};
use poem_openapi::Object;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    Account, addresses,
    passwords::{self, hash_of},
};
use crate::{
    account_tokens::{self, ACTIVATION, Bearer, NewToken, Purpose},
    personal_tokens,
    sessions::{self, Client, Opened},
};

/// The account and workspace of an activation link, for filling in the form.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct Activating {
    /// Account.
    pub user: ActivatingUser,
    /// Workspace that the user enters after the activation; null for an account without one.
    pub workspace: Option<ActivatingWorkspace>,
    /// Minimum number of characters of the password.
    pub password_min_length: u32,
}

/// An account to be activated.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct ActivatingUser {
    /// Account id.
    pub id: UserId,
    /// Email address.
    pub email: String,
    /// Full name.
    pub name: String,
}

/// The workspace of an activation link.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct ActivatingWorkspace {
    /// Workspace id.
    pub id: WorkspaceId,
    /// Name.
    pub name: String,
}

/// Issues the token of an activation link, in place of earlier ones.
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

/// The workspace in an activation link, beside its token: the nil id if there is none.
#[must_use]
pub fn workspace_in_link(workspace: Option<WorkspaceId>) -> String {
    workspace.map_or_else(Uuid::nil, |id| id.0).to_string()
}

/// Finds an activation link.
///
/// # Errors
/// `record_not_found` if it is invalid, or the workspace is not the link's.
pub async fn look(pool: &PgPool, workspace: WorkspaceId, token: &str) -> Result<Activating, Error> {
    let found = match not_yet(pool, token).await {
        Err(error) if *error.kind() == ErrorKind::Unauthenticated => None,
        found => Some(found?),
    };
    let leads_there = |link: &Bearer| link.workspace.unwrap_or(WorkspaceId(Uuid::nil())) == workspace;
    let Bearer { user, workspace: leads_to, .. } = found.filter(leads_there).ok_or_else(Error::not_found)?;
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

/// The account of a token that is not activated yet, or whose address is not verified. An account that was activated
/// otherwise can't be taken over by an older link.
async fn not_yet(pool: &PgPool, token: &str) -> Result<Bearer, Error> {
    let bearer = account_tokens::look(pool, token, Purpose::Activation).await?;
    let waits = sqlx::query_scalar!(
        r#"select activated_at is null or email_verified_at is null as "waits!" from users where id = $1"#,
        bearer.user.0
    );
    if waits.fetch_one(pool).await? { Ok(bearer) } else { Err(account_tokens::not_good()) }
}

/// Activates an account with a chosen password, or verifies its address, and signs its owner in. Of any number of
/// concurrent tries one succeeds.
///
/// If the password of an account that has one is given, it is kept, with its sessions. Otherwise the password
/// becomes the given one, and all previous credentials end.
///
/// `token_invalid`; `record_invalid`, which leaves the link valid.
/// `token_invalid`; `record_invalid`, after which the link is still valid.
pub async fn activate(
    database: &Database,
    token: &str,
    password: String,
    actor: &Actor,
) -> Result<(Opened, Option<WorkspaceId>), Error> {
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
