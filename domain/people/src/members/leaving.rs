//! How members go: out of the workspace, or with their account for good.

use domain::{Accounts, Event, MemberId, UserId, WorkspaceDb, access::Role, audit, leaving, pictures};
use poem_openapi::Object;
use serde_json::json;

use super::{
    MemberError, MemberProfile, by_id,
    changes::{hold_standing, keep_an_owner},
};

/// What deleting a member would mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Object)]
pub struct DeletionInfo {
    /// Workspaces that the person belongs to, this one and those being made among them.
    pub workspace_count: i64,
    /// Whether their account may be deleted with them: this workspace manages it, and it is their only one.
    pub can_delete_user: bool,
}

/// What deleting a member would mean.
pub async fn deletion_info(db: &mut WorkspaceDb, id: MemberId) -> Result<DeletionInfo, MemberError> {
    db.with_accounts(async |accounts| {
        let member = by_id(accounts, id).await?;
        Ok(account_of(accounts, member.user_id).await?.0)
    })
    .await
}

/// In how many workspaces an account is, and why it can't be deleted, if so.
async fn account_of(
    accounts: &mut Accounts<'_>,
    user: UserId,
) -> Result<(DeletionInfo, Result<(), MemberError>), MemberError> {
    let row = sqlx::query!(
        r#"select u.is_staff, u.managed_by,
                  (select count(*) from memberships m where m.user_id = u.id)
                  + (select count(*) from signups s where s.user_id = u.id and s.state = 'pending') as "count!"
             from users u where u.id = $1"#,
        user.0,
    )
    .fetch_one(accounts.conn())
    .await?;
    let may = match row.count {
        count if count > 1 => Err(MemberError::InOtherWorkspaces),
        _ if row.is_staff => Err(MemberError::OfStaff),
        _ if row.managed_by != Some(accounts.workspace()) => Err(MemberError::NotManaged),
        _ => Ok(()),
    };
    Ok((DeletionInfo { workspace_count: row.count, can_delete_user: may.is_ok() }, may))
}

/// Takes a member out. Without `for_good` the membership is kept, switched off, so that who is added
/// again is the same member; either way they are out at once, with their teams, tours and the personal
/// tokens that were good here only, and the API keys that they answer for are paused.
///
/// # Errors
/// [`MemberError::AboveYou`], [`MemberError::LastOwner`]
pub async fn remove(
    db: &mut WorkspaceDb,
    caller: Role,
    id: MemberId,
    for_good: bool,
) -> Result<(), MemberError> {
    db.with_accounts(async |accounts| remove_with(accounts, caller, id, for_good).await).await
}

async fn remove_with(
    accounts: &mut Accounts<'_>,
    caller: Role,
    id: MemberId,
    for_good: bool,
) -> Result<(), MemberError> {
    let member = take_out(accounts, caller, id).await?;
    if for_good {
        sqlx::query!("delete from memberships where id = $1", id.0).execute(accounts.conn()).await?;
    } else {
        sqlx::query!("update memberships set is_active = false where id = $1", id.0)
            .execute(accounts.conn())
            .await?;
    }
    let (here, actor) = (accounts.workspace(), accounts.actor().clone());
    leaving::forget_workspace(accounts.conn(), here, member.user_id).await?;
    let keys_paused = leaving::pause_keys(accounts.conn(), here, member.user_id, &actor).await?;
    let kept = json!({
        "user_id": member.user_id,
        "membership": if for_good { "removed" } else { "kept" },
        "api_keys_paused": keys_paused,
    });
    accounts.record(Event::new("member", "removed", id, kept)).await?;
    Ok(())
}

/// Deletes a member and their account with all that is theirs: sessions, tokens. Only the workspace that manages an
/// account may.
///
/// # Errors
/// [`MemberError::InOtherWorkspaces`], [`MemberError::OfStaff`], [`MemberError::NotManaged`], [`MemberError::AboveYou`],
/// [`MemberError::LastOwner`]
pub async fn erase(db: &mut WorkspaceDb, caller: Role, id: MemberId) -> Result<(), MemberError> {
    db.with_accounts(async |accounts| erase_with(accounts, caller, id).await).await
}

async fn erase_with(accounts: &mut Accounts<'_>, caller: Role, id: MemberId) -> Result<(), MemberError> {
    let member = by_id(accounts, id).await?;
    hold_standing(accounts, id).await?;
    hold_account(accounts, member.user_id).await?;
    take_out(accounts, caller, id).await?;
    account_of(accounts, member.user_id).await?.1?;
    // Whatever hangs on the account goes with it, the membership first of all.
    sqlx::query!("delete from users where id = $1", member.user_id.0).execute(accounts.conn()).await?;
    let (here, actor) = (accounts.workspace(), accounts.actor().clone());
    let keys_paused = leaving::pause_keys(accounts.conn(), here, member.user_id, &actor).await?;
    let data = json!({ "user_id": member.user_id, "api_keys_paused": keys_paused });
    accounts.record(Event::new("member", "erased", id, data)).await?;
    let entry = audit::Entry::new("user", "deleted", member.user_id, json!({ "member_id": id }));
    audit::append(accounts.conn(), None, &actor, entry).await?;
    Ok(())
}

/// Locks the account, after its workspace as everybody does. Whoever adds it to another workspace
/// meanwhile waits, and may find nobody.
async fn hold_account(accounts: &mut Accounts<'_>, user: UserId) -> Result<(), MemberError> {
    let held = sqlx::query_scalar!("select id from users where id = $1 for update", user.0);
    held.fetch_optional(accounts.conn()).await?.map(|_| ()).ok_or(MemberError::NotFound)
}

/// The member's row goes, if the caller reaches that far and an owner is left.
async fn take_out(
    accounts: &mut Accounts<'_>,
    caller: Role,
    id: MemberId,
) -> Result<MemberProfile, MemberError> {
    let member = by_id(accounts, id).await?;
    let role = hold_standing(accounts, id).await?;
    hold_account(accounts, member.user_id).await?;
    if role > caller {
        return Err(MemberError::AboveYou(role));
    }
    if role == Role::Owner {
        keep_an_owner(accounts, id).await?;
    }
    let (here, actor) = (accounts.workspace(), accounts.actor().clone());
    leaving::leave_teams(accounts.conn(), here, id, &actor).await?;
    // Somebody else may have been quicker.
    let picture = sqlx::query_scalar!("delete from members where id = $1 returning avatar_url", id.0)
        .fetch_optional(accounts.conn())
        .await?
        .ok_or(MemberError::NotFound)?;
    pictures::note_stray(accounts.conn(), picture.as_deref()).await?;
    Ok(member)
}
