//! Being invited: the token tells what it leads to, and lets its holder in, once.
//!
//! The membership and the member in the workspace's schema are one commit. An invitation lets someone
//! choose their first password; it never changes one.

use chrono::{DateTime, Utc};
use jobs::{Database, Tx};
use poem_openapi::Object;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::InvitationError;
use crate::{
    Actor, Event, UserId, WorkspaceId,
    access::Role,
    audit::{self, Entry},
    secret,
    tenant_scope::TenantScope,
    users::{Email, Password, addresses, passwords},
};

/// What an invitation leads to, for the page that accepts it.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct InvitationPreview {
    /// The workspace.
    pub workspace_id: Uuid,
    /// What it is called.
    pub workspace_name: String,
    /// Who invited; none when a program did, or they are gone.
    pub inviter_name: Option<String>,
    /// Who is invited: their address.
    pub email: String,
    /// What they are called.
    pub name: String,
    /// What they will be.
    pub role: Role,
    /// Whether they must choose a password to accept.
    pub requires_password: bool,
    /// Until when it can be accepted.
    pub expires_at: DateTime<Utc>,
}

/// Someone has come in.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct AcceptedInvitation {
    /// Where.
    pub workspace_id: Uuid,
    /// What it is called.
    pub workspace_name: String,
    /// The member that they are there.
    pub member_id: Uuid,
    /// The person.
    pub user_id: Uuid,
    /// The address that they sign in with.
    pub email: String,
    /// What they are there.
    pub role: Role,
}

/// An invitation by its token.
struct Found {
    id: Uuid,
    workspace_id: Uuid,
    workspace_name: String,
    user_id: Uuid,
    email: String,
    name: String,
    role: Role,
    inviter_name: Option<String>,
    is_active: bool,
    has_password: bool,
    is_mailed: bool,
    expires_at: DateTime<Utc>,
    accepted_at: Option<DateTime<Utc>>,
    cancelled_at: Option<DateTime<Utc>>,
}

impl Found {
    /// The invitation of a token, if it can be accepted.
    async fn good(conn: &mut PgConnection, token: &str) -> Result<Self, InvitationError> {
        let found = sqlx::query_as!(
            Self,
            r#"select i.id, i.workspace_id, w.name as workspace_name, i.user_id, u.email, u.name,
                      i.role as "role: _", b.name as "inviter_name?", u.is_active,
                      u.password_hash is not null as "has_password!", i.is_mailed,
                      i.expires_at, i.accepted_at, i.cancelled_at
                 from invitations i
                 join workspaces w on w.id = i.workspace_id
                 join users u on u.id = i.user_id
                 left join users b on b.id = i.invited_by
                where i.token_hash = $1"#,
            secret::hash(token),
        )
        .fetch_optional(conn)
        .await?
        .ok_or(InvitationError::NotFound)?;
        match found {
            _ if found.accepted_at.is_some() => Err(InvitationError::Accepted),
            _ if found.cancelled_at.is_some() || !found.is_active => Err(InvitationError::Cancelled),
            _ if found.expires_at <= jobs::clock::now() => Err(InvitationError::Expired),
            _ => Ok(found),
        }
    }
}

/// What a token leads to.
///
/// # Errors
/// [`InvitationError::NotFound`] for a token that is unknown or was replaced, and why one is not good any more.
pub async fn preview(database: &Database, token: &str) -> Result<InvitationPreview, InvitationError> {
    let mut conn = database.pool.acquire().await?;
    let found = Found::good(&mut conn, token).await?;
    Ok(InvitationPreview {
        workspace_id: found.workspace_id,
        workspace_name: found.workspace_name,
        inviter_name: found.inviter_name,
        email: found.email,
        name: found.name,
        role: found.role,
        requires_password: !found.has_password,
        expires_at: found.expires_at,
    })
}

/// Hashes the password of someone who has to choose one, before any transaction, since that takes a while.
/// Of whoever has one already nothing is looked at.
///
/// # Errors
/// Those of [`preview`]; [`InvitationError::PasswordMissing`] and [`InvitationError::Password`].
pub async fn first_password(
    database: &Database,
    token: &str,
    password: Option<String>,
) -> Result<Option<String>, InvitationError> {
    let mut conn = database.pool.acquire().await?;
    let found = Found::good(&mut conn, token).await?;
    drop(conn);
    if found.has_password {
        return Ok(None);
    }
    let password = password.ok_or(InvitationError::PasswordMissing)?;
    let email = found.email.parse::<Email>().ok();
    let fewest = passwords::fewest_characters(&database.pool, UserId(found.user_id)).await?;
    let password =
        Password::parse_at_least(password, email.as_ref(), fewest).map_err(InvitationError::Password)?;
    let hash = password.hash().await.map_err(|error| InvitationError::Hash(error.to_string()))?;
    Ok(Some(hash))
}

/// Lets the holder of a token in: membership, member and, where there was none, the password of
/// [`first_password`]. However many come with the token at once, one is let in.
///
/// # Errors
/// Those of [`preview`]; [`InvitationError::AlreadyMember`].
pub async fn accept(
    tx: &mut Tx,
    token: &str,
    password_hash: Option<&str>,
    actor: &Actor,
) -> Result<AcceptedInvitation, InvitationError> {
    lock(tx, token).await?;
    let found = Found::good(tx.conn(), token).await?;
    let (workspace, user) = (WorkspaceId(found.workspace_id), UserId(found.user_id));
    // The token shows who it is.
    let actor = Actor { user_id: Some(user), ..actor.clone() };
    if !found.has_password {
        let hash = password_hash.ok_or(InvitationError::PasswordMissing)?;
        choose_password(tx, user, hash, &actor).await?;
    }
    if found.is_mailed {
        addresses::verify(tx, user).await?;
    }
    sqlx::query!("update invitations set accepted_at = now() where id = $1", found.id)
        .execute(tx.conn())
        .await?;
    let joined = sqlx::query!(
        "insert into memberships (id, workspace_id, user_id, role) values ($1, $2, $3, $4)
         on conflict (workspace_id, user_id) do nothing",
        found.id,
        workspace.0,
        user.0,
        found.role.name(),
    );
    if joined.execute(tx.conn()).await?.rows_affected() == 0 {
        return Err(InvitationError::AlreadyMember);
    }
    create_member(tx, workspace, user, found.id).await?;
    let told = json!({ "user_id": user, "role": found.role });
    Event::new("member", "created", found.id, told).append(tx.conn(), workspace, &actor).await?;
    Ok(AcceptedInvitation {
        workspace_id: workspace.0,
        workspace_name: found.workspace_name,
        member_id: found.id,
        user_id: user.0,
        email: found.email,
        role: found.role,
    })
}

/// Whoever comes with the same token waits here; so does whoever takes the person out of another workspace,
/// who deletes those that are in none. The person comes before the invitation in both.
async fn lock(tx: &mut Tx, token: &str) -> Result<(), sqlx::Error> {
    let hash = secret::hash(token);
    sqlx::query!(
        r#"select u.id from users u
            where u.id = (select user_id from invitations where token_hash = $1) for update"#,
        hash,
    )
    .fetch_optional(tx.conn())
    .await?;
    sqlx::query!("select id from invitations where token_hash = $1 for update", hash)
        .fetch_optional(tx.conn())
        .await?;
    Ok(())
}

/// The first password. Links that would let someone choose one are worthless from now on.
async fn choose_password(tx: &mut Tx, user: UserId, hash: &str, actor: &Actor) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update users set password_hash = $2, activated_at = coalesce(activated_at, now()), updated_at = now()
          where id = $1 and password_hash is null",
        user.0,
        hash,
    )
    .execute(tx.conn())
    .await?;
    sqlx::query!("update account_tokens set used_at = now() where user_id = $1 and used_at is null", user.0)
        .execute(tx.conn())
        .await?;
    let entry = Entry::new("password", "changed", user.0, json!({ "by": "invitation" }));
    audit::record(tx, None, actor, entry).await
}

/// The member in the workspace's own schema, as the person describes themselves.
async fn create_member(
    tx: &mut Tx,
    workspace: WorkspaceId,
    user: UserId,
    member: Uuid,
) -> Result<(), sqlx::Error> {
    let person = sqlx::query!(
        "update users set current_workspace_id = coalesce(current_workspace_id, $2) where id = $1
         returning email, name, title, phone, bio, avatar_url",
        user.0,
        workspace.0,
    )
    .fetch_one(tx.conn())
    .await?;
    let mut scope = TenantScope::enter(tx, workspace).await?;
    sqlx::query!(
        "insert into members (id, user_id, name, email, title, phone, bio, avatar_url)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        member,
        user.0,
        person.name,
        person.email,
        person.title,
        person.phone,
        person.bio,
        person.avatar_url,
    )
    .execute(scope.conn())
    .await?;
    scope.leave().await
}
