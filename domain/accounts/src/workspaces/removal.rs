//! Taking somebody out of a workspace: an invitation that was not answered, or a member, and with the last
//! of their workspaces the account, if the workspace manages it.
//!
//! Whoever changes who owns a workspace locks its row first, so that two owners can't take each other out.
//! What names the person, such as events and jobs, stays.

use std::borrow::Cow;

use domain::{
    DomainError, Event, MemberId, Refusal, UserId,
    access::Role,
    audit::{self, Entry},
    leaving, pictures, standing,
    tenant_scope::TenantScope,
};
use jobs::Tx;
use poem_openapi::{Enum, Object};
use serde_json::json;

use super::Host;
use crate::invitations;

/// What was taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum RemovalOutcome {
    /// An invitation that nobody had answered.
    InvitationCancelled,
    /// A member.
    MemberRemoved,
}

/// Somebody who was taken out.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct RemovedMember {
    /// The member, or the invitation.
    pub member_id: MemberId,
    /// The person; null for an invitation, which shows nothing of an account.
    pub user_id: Option<UserId>,
    /// Their address.
    pub email: String,
    /// What was taken out.
    pub outcome: RemovalOutcome,
    /// Whether their account was deleted: this workspace managed it, and it was their only one.
    pub user_deleted: bool,
}

/// Why somebody stays.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    /// There is neither such a member nor such an invitation.
    #[error("there is no such member")]
    NotFound,
    /// Nobody takes out somebody who is more than they are themselves.
    #[error("their role is above your own")]
    AboveOwnRole,
    /// Someone has to answer for the workspace.
    #[error("this is the workspace's last owner: make someone else an owner first")]
    LastOwner,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl DomainError for RemovalError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::NotFound => Refusal::NotFound,
            Self::AboveOwnRole => Refusal::Forbidden,
            Self::LastOwner => Refusal::Conflict(Cow::Borrowed("last_owner")),
            Self::Database(error) => error.refusal(),
        }
    }
}

/// Takes out the member, or the invitation, of that id.
pub async fn remove(tx: &mut Tx, host: &Host<'_>, member: MemberId) -> Result<RemovedMember, RemovalError> {
    standing::hold(tx.conn(), host.workspace).await?;
    match remove_invitation(tx, host, member).await? {
        Some(removed) => Ok(removed),
        None => remove_member(tx, host, member).await,
    }
}

/// Drops an invitation that waits, under the id of the member to be; its token then leads nowhere.
async fn remove_invitation(
    tx: &mut Tx,
    host: &Host<'_>,
    member: MemberId,
) -> Result<Option<RemovedMember>, RemovalError> {
    let dropped = sqlx::query!(
        "delete from invitations
            where id = $1 and workspace_id = $2 and accepted_at is null and cancelled_at is null
           returning email, role",
        member.0,
        host.workspace.0,
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(dropped) = dropped else { return Ok(None) };
    if dropped.role > host.role {
        return Err(RemovalError::AboveOwnRole);
    }
    let told = json!({ "email": dropped.email });
    Event::new("invitation", "cancelled", member, told).record(tx, host.workspace, host.actor).await?;
    Ok(Some(RemovedMember {
        member_id: member,
        user_id: None,
        email: dropped.email,
        outcome: RemovalOutcome::InvitationCancelled,
        user_deleted: false,
    }))
}

async fn remove_member(
    tx: &mut Tx,
    host: &Host<'_>,
    member: MemberId,
) -> Result<RemovedMember, RemovalError> {
    // The person's row is what somebody waits for who accepts their invitation to another workspace.
    let found = sqlx::query!(
        "select u.id as user_id, u.email, u.is_staff, u.managed_by, m.role
             from memberships m join users u on u.id = m.user_id
            where m.id = $1 and m.workspace_id = $2
              for update of u",
        member.0,
        host.workspace.0,
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or(RemovalError::NotFound)?;
    if found.role > host.role {
        return Err(RemovalError::AboveOwnRole);
    }
    if found.role == Role::Owner && !standing::has_another_owner(tx.conn(), host.workspace, member).await? {
        return Err(RemovalError::LastOwner);
    }

    let mut scope = TenantScope::enter(tx, host.workspace).await?;
    leaving::leave_teams(scope.conn(), host.workspace, member, host.actor).await?;
    let picture =
        sqlx::query_scalar!("delete from members where user_id = $1 returning avatar_url", found.user_id.0)
            .fetch_optional(scope.conn())
            .await?
            .flatten();
    scope.leave().await?;
    pictures::note_stray(tx.conn(), picture.as_deref()).await?;
    sqlx::query!("delete from memberships where id = $1", member.0).execute(tx.conn()).await?;
    let is_managed = found.managed_by == Some(host.workspace) && !found.is_staff;
    let user_deleted = is_managed && delete_if_nowhere(tx, found.user_id).await?;
    if !user_deleted {
        leaving::forget_workspace(tx.conn(), host.workspace, found.user_id).await?;
    }

    let person = found.user_id;
    let keys_paused = leaving::pause_keys(tx.conn(), host.workspace, person, host.actor).await?;
    let told = json!({ "user_id": found.user_id, "email": found.email, "role": found.role,
                       "user_deleted": user_deleted, "api_keys_paused": keys_paused });
    Event::new("member", "removed", member, told).record(tx, host.workspace, host.actor).await?;
    if user_deleted {
        let entry = Entry::new("user", "deleted", found.user_id, json!({ "email": found.email }));
        audit::record(tx, None, host.actor, entry).await?;
    }
    Ok(RemovedMember {
        member_id: member,
        user_id: Some(found.user_id),
        email: found.email,
        outcome: RemovalOutcome::MemberRemoved,
        user_deleted,
    })
}

/// Deletes a person who is in no workspace, has no invitation that can be accepted by a sign-in to the account, and has no
/// workspace being made; with their sessions, tokens and links.
async fn delete_if_nowhere(tx: &mut Tx, user: UserId) -> Result<bool, sqlx::Error> {
    if !invitations::waiting_for(tx.conn(), user).await?.is_empty() {
        return Ok(false);
    }
    let deleted = sqlx::query!(
        "delete from users u
          where u.id = $1
            and not exists (select from memberships where user_id = u.id)
            and not exists (select from signups where user_id = u.id and state = 'pending')",
        user.0,
    )
    .execute(tx.conn())
    .await?;
    Ok(deleted.rows_affected() == 1)
}
