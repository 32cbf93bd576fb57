//! Removing from a workspace: a pending invitation, or a member, and with the last
//! membership the account, if the workspace manages it.
//!
//! Every change of a workspace's owners locks its row first, so that two owners can't remove each other.
//! References to the user, such as in events and jobs, stay.

use domain::{
    Error, Event, MemberId, UserId,
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

/// The kind of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum RemovalOutcome {
    /// A pending invitation was cancelled.
    InvitationCancelled,
    /// A member was removed.
    MemberRemoved,
}

/// A removed member or invitation.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct RemovedMember {
    /// Id of the member or the invitation.
    pub member_id: MemberId,
    /// Account id; null for an invitation, which shows no data of an account.
    pub user_id: Option<UserId>,
    /// Email address.
    pub email: String,
    /// Kind of the removal.
    pub outcome: RemovalOutcome,
    /// Whether the account was deleted: this workspace managed it, and it belonged to no other.
    pub user_deleted: bool,
}

/// Removes the member, or the invitation, of that id.
pub async fn remove(tx: &mut Tx, host: &Host<'_>, member: MemberId) -> Result<RemovedMember, Error> {
    standing::hold(tx.conn(), host.workspace).await?;
    match remove_invitation(tx, host, member).await? {
        Some(removed) => Ok(removed),
        None => remove_member(tx, host, member).await,
    }
}

/// Deletes a pending invitation, under the id of the member to be; its token becomes invalid.
async fn remove_invitation(
    tx: &mut Tx,
    host: &Host<'_>,
    member: MemberId,
) -> Result<Option<RemovedMember>, Error> {
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
        return Err(standing::above_caller(dropped.role));
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

async fn remove_member(tx: &mut Tx, host: &Host<'_>, member: MemberId) -> Result<RemovedMember, Error> {
    // A concurrent acceptance of an invitation to another workspace waits for the user's row.
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
    .ok_or_else(Error::not_found)?;
    if found.role > host.role {
        return Err(standing::above_caller(found.role));
    }
    if found.role == Role::Owner && !standing::has_another_owner(tx.conn(), host.workspace, member).await? {
        return Err(Error::last_owner());
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

/// Deletes an account that belongs to no workspace, has no invitation that can be accepted by a sign-in, and has no
/// workspace being created; with its sessions, tokens and links.
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
