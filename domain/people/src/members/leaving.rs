//! Removing members from the workspace, and deleting their accounts.

use domain::{Event, UserId, WorkspaceDb, access::Role, audit, pictures, standing};
use poem_openapi::Object;
use serde_json::json;
use uuid::Uuid;

use super::{
    MemberError, MemberProfile,
    changes::{hold_standing, keep_an_owner},
    get,
};

/// Consequences of deleting a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Object)]
pub struct DeletionInfo {
    /// Number of workspaces that the account belongs to, including this one and those being created.
    pub workspace_count: i64,
    /// Whether the account may be deleted with the member: this workspace manages it, and it belongs to no
    /// other.
    pub can_delete_user: bool,
}

/// Consequences of deleting a member.
pub async fn deletion_info(db: &mut WorkspaceDb, id: Uuid) -> Result<DeletionInfo, MemberError> {
    let member = get(db, id).await?;
    Ok(account_of(db, member.user_id).await?.0)
}

/// The number of workspaces of an account, and the reason why it can't be deleted, if there is one.
async fn account_of(
    db: &mut WorkspaceDb,
    user: Uuid,
) -> Result<(DeletionInfo, Result<(), MemberError>), MemberError> {
    let row = sqlx::query!(
        r#"select u.is_staff, u.managed_by,
                  (select count(*) from memberships m where m.user_id = u.id)
                  + (select count(*) from signups s where s.user_id = u.id and s.state = 'pending') as "count!"
             from users u where u.id = $1"#,
        user,
    )
    .fetch_one(db.conn())
    .await?;
    let may = match row.count {
        count if count > 1 => Err(MemberError::InOtherWorkspaces),
        _ if row.is_staff => Err(MemberError::OfStaff),
        _ if row.managed_by != Some(db.workspace().0) => Err(MemberError::NotManaged),
        _ => Ok(()),
    };
    Ok((DeletionInfo { workspace_count: row.count, can_delete_user: may.is_ok() }, may))
}

/// Removes a member. Unless `for_good` is set, the membership is kept but deactivated, so that adding the
/// person again restores the same member. Either way it takes effect at once, with the member's teams, tours
/// and the personal tokens that are valid only here, and the API keys that the member is responsible for are
/// paused.
///
/// # Errors
/// [`MemberError::AboveYou`], [`MemberError::LastOwner`]
pub async fn remove(db: &mut WorkspaceDb, caller: Role, id: Uuid, for_good: bool) -> Result<(), MemberError> {
    let member = take_out(db, caller, id).await?;
    let workspace = db.workspace().0;
    if for_good {
        sqlx::query!("delete from memberships where id = $1", id).execute(db.conn()).await?;
    } else {
        sqlx::query!("update memberships set is_active = false where id = $1", id).execute(db.conn()).await?;
    }
    sqlx::query!(
        "with revoked as (
             update personal_tokens set revoked_at = now()
              where user_id = $1 and workspace_id = $2 and revoked_at is null
         )
         update users set current_workspace_id = null where id = $1 and current_workspace_id = $2",
        member.user_id,
        workspace,
    )
    .execute(db.conn())
    .await?;
    let (here, actor) = (db.workspace(), db.actor().clone());
    let keys_paused = standing::pause_keys(db.conn(), here, UserId(member.user_id), &actor).await?;
    let kept = json!({
        "user_id": member.user_id,
        "membership": if for_good { "removed" } else { "kept" },
        "api_keys_paused": keys_paused,
    });
    db.record(Event::new("member", "removed", id, kept)).await?;
    Ok(())
}

/// Deletes a member and their account with its sessions and tokens. Only the workspace that manages an
/// account may.
///
/// # Errors
/// [`MemberError::InOtherWorkspaces`], [`MemberError::OfStaff`], [`MemberError::NotManaged`],
/// [`MemberError::AboveYou`], [`MemberError::LastOwner`]
pub async fn erase(db: &mut WorkspaceDb, caller: Role, id: Uuid) -> Result<(), MemberError> {
    let member = get(db, id).await?;
    hold_standing(db, id).await?;
    hold_account(db, member.user_id).await?;
    take_out(db, caller, id).await?;
    account_of(db, member.user_id).await?.1?;
    // Foreign keys delete all that belongs to the account, the membership first of all.
    sqlx::query!("delete from users where id = $1", member.user_id).execute(db.conn()).await?;
    let (here, actor) = (db.workspace(), db.actor().clone());
    let keys_paused = standing::pause_keys(db.conn(), here, UserId(member.user_id), &actor).await?;
    let data = json!({ "user_id": member.user_id, "api_keys_paused": keys_paused });
    db.record(Event::new("member", "erased", id, data)).await?;
    let entry = audit::Entry::new("user", "deleted", member.user_id, json!({ "member_id": id }));
    audit::append(db.conn(), None, &actor, entry).await?;
    Ok(())
}

/// Locks the account, after its workspace as in every other place. A transaction that adds the account to
/// another workspace meanwhile waits, and may find no account.
async fn hold_account(db: &mut WorkspaceDb, user: Uuid) -> Result<(), MemberError> {
    let held = sqlx::query_scalar!("select id from users where id = $1 for update", user);
    held.fetch_optional(db.conn()).await?.map(|_| ()).ok_or(MemberError::NotFound)
}

/// Deletes the member's row, if the caller reaches that far and an owner is left.
async fn take_out(db: &mut WorkspaceDb, caller: Role, id: Uuid) -> Result<MemberProfile, MemberError> {
    let member = get(db, id).await?;
    let role = hold_standing(db, id).await?;
    hold_account(db, member.user_id).await?;
    if role > caller {
        return Err(MemberError::AboveYou(role));
    }
    if role == Role::Owner {
        keep_an_owner(db, id).await?;
    }
    let (here, actor) = (db.workspace(), db.actor().clone());
    standing::leave_teams(db.conn(), here, id, &actor).await?;
    // A concurrent request may have deleted it.
    let picture = sqlx::query_scalar!("delete from members where id = $1 returning avatar_url", id)
        .fetch_optional(db.conn())
        .await?
        .ok_or(MemberError::NotFound)?;
    pictures::note_stray(db.conn(), picture.as_deref()).await?;
    Ok(member)
}
