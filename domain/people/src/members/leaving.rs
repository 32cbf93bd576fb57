//! Removing members from the workspace, and deleting their accounts.

use domain::{
    Accounts, Error, Event, MemberId, UserId, WorkspaceDb, access::Role, audit, leaving, pictures, standing,
};
use poem_openapi::Object;
use serde_json::json;

use super::{
    MemberProfile, by_id,
    changes::{hold_standing, keep_an_owner},
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
pub async fn deletion_info(db: &mut WorkspaceDb, id: MemberId) -> Result<DeletionInfo, Error> {
    db.with_accounts(async |accounts| {
        let member = by_id(accounts, id).await?;
        Ok(account_of(accounts, member.user_id).await?.0)
    })
    .await
}

/// The number of workspaces of an account, and the reason why it can't be deleted, if there is one.
async fn account_of(
    accounts: &mut Accounts<'_>,
    user: UserId,
) -> Result<(DeletionInfo, Result<(), Error>), Error> {
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
        count if count > 1 => {
            Err(Error::conflict("in_other_workspaces", "this user is also a member of other workspaces"))
        }
        _ if row.is_staff => Err(Error::forbidden("this account belongs to the staff of the installation")),
        _ if row.managed_by != Some(accounts.workspace()) => Err(Error::conflict(
            "account_not_managed",
            "the workspace does not manage this account: it can remove the member, not delete the account",
        )),
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
/// `forbidden`, `last_owner`
pub async fn remove(db: &mut WorkspaceDb, caller: Role, id: MemberId, for_good: bool) -> Result<(), Error> {
    db.with_accounts(async |accounts| remove_with(accounts, caller, id, for_good).await).await
}

async fn remove_with(
    accounts: &mut Accounts<'_>,
    caller: Role,
    id: MemberId,
    for_good: bool,
) -> Result<(), Error> {
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

/// Deletes a member and their account with its sessions and tokens. Only the workspace that manages an
/// account may.
///
/// # Errors
/// `in_other_workspaces`, `account_not_managed`, `forbidden`, `last_owner`
pub async fn erase(db: &mut WorkspaceDb, caller: Role, id: MemberId) -> Result<(), Error> {
    db.with_accounts(async |accounts| erase_with(accounts, caller, id).await).await
}

async fn erase_with(accounts: &mut Accounts<'_>, caller: Role, id: MemberId) -> Result<(), Error> {
    let member = by_id(accounts, id).await?;
    hold_standing(accounts, id).await?;
    hold_account(accounts, member.user_id).await?;
    take_out(accounts, caller, id).await?;
    account_of(accounts, member.user_id).await?.1?;
    // Foreign keys delete all that belongs to the account, the membership first of all.
    sqlx::query!("delete from users where id = $1", member.user_id.0).execute(accounts.conn()).await?;
    let (here, actor) = (accounts.workspace(), accounts.actor().clone());
    let keys_paused = leaving::pause_keys(accounts.conn(), here, member.user_id, &actor).await?;
    let data = json!({ "user_id": member.user_id, "api_keys_paused": keys_paused });
    accounts.record(Event::new("member", "erased", id, data)).await?;
    let entry = audit::Entry::new("user", "deleted", member.user_id, json!({ "member_id": id }));
    audit::append(accounts.conn(), None, &actor, entry).await?;
    Ok(())
}

/// Locks the account, after its workspace as in every other place. A transaction that adds the account to
/// another workspace meanwhile waits, and may find no account.
async fn hold_account(accounts: &mut Accounts<'_>, user: UserId) -> Result<(), Error> {
    let held = sqlx::query_scalar!("select id from users where id = $1 for update", user.0);
    held.fetch_optional(accounts.conn()).await?.map(|_| ()).ok_or_else(Error::not_found)
}

/// Deletes the member's row, if the caller reaches that far and an owner is left.
async fn take_out(accounts: &mut Accounts<'_>, caller: Role, id: MemberId) -> Result<MemberProfile, Error> {
    let member = by_id(accounts, id).await?;
    let role = hold_standing(accounts, id).await?;
    hold_account(accounts, member.user_id).await?;
    if role > caller {
        return Err(standing::above_caller(role));
    }
    if role == Role::Owner {
        keep_an_owner(accounts, id).await?;
    }
    let (here, actor) = (accounts.workspace(), accounts.actor().clone());
    leaving::leave_teams(accounts.conn(), here, id, &actor).await?;
    // A concurrent request may have deleted it.
    let picture = sqlx::query_scalar!("delete from members where id = $1 returning avatar_url", id.0)
        .fetch_optional(accounts.conn())
        .await?
        .ok_or_else(Error::not_found)?;
    pictures::note_stray(accounts.conn(), picture.as_deref()).await?;
    Ok(member)
}
