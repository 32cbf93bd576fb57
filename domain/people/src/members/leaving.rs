//! How members go: out of the workspace, or with their account for good.

use domain::{Error, Event, UserId, WorkspaceDb, access::Role, audit, pictures, standing};
use poem_openapi::Object;
use serde_json::json;
use uuid::Uuid;

use super::{
    MemberProfile,
    changes::{hold_standing, keep_an_owner},
    get,
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
pub async fn deletion_info(db: &mut WorkspaceDb, id: Uuid) -> Result<DeletionInfo, Error> {
    let member = get(db, id).await?;
    Ok(account_of(db, member.user_id).await?.0)
}

/// In how many workspaces an account is, and why it can't be deleted, if so.
async fn account_of(db: &mut WorkspaceDb, user: Uuid) -> Result<(DeletionInfo, Result<(), Error>), Error> {
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
        count if count > 1 => {
            Err(Error::conflict("in_other_workspaces", "this person belongs to other workspaces, too"))
        }
        _ if row.is_staff => Err(Error::forbidden("this account belongs to the staff of the installation")),
        _ if row.managed_by != Some(db.workspace().0) => Err(Error::conflict(
            "account_not_managed",
            "this account is its owner's: the workspace can remove the member, not delete the account",
        )),
        _ => Ok(()),
    };
    Ok((DeletionInfo { workspace_count: row.count, can_delete_user: may.is_ok() }, may))
}

/// Takes a member out. Without `for_good` the membership is kept, switched off, so that who is added
/// again is the same member; either way they are out at once, with their teams, tours and the personal
/// tokens that were good here only, and the API keys that they answer for are paused.
///
/// # Errors
/// `forbidden`, `last_owner`
pub async fn remove(db: &mut WorkspaceDb, caller: Role, id: Uuid, for_good: bool) -> Result<(), Error> {
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

/// Deletes a member and their account with all that is theirs: sessions, tokens. Only the workspace that manages an
/// account may.
///
/// # Errors
/// `in_other_workspaces`, `account_not_managed`, `forbidden`, `last_owner`
pub async fn erase(db: &mut WorkspaceDb, caller: Role, id: Uuid) -> Result<(), Error> {
    let member = get(db, id).await?;
    hold_standing(db, id).await?;
    hold_account(db, member.user_id).await?;
    take_out(db, caller, id).await?;
    account_of(db, member.user_id).await?.1?;
    // Whatever hangs on the account goes with it, the membership first of all.
    sqlx::query!("delete from users where id = $1", member.user_id).execute(db.conn()).await?;
    let (here, actor) = (db.workspace(), db.actor().clone());
    let keys_paused = standing::pause_keys(db.conn(), here, UserId(member.user_id), &actor).await?;
    let data = json!({ "user_id": member.user_id, "api_keys_paused": keys_paused });
    db.record(Event::new("member", "erased", id, data)).await?;
    let entry = audit::Entry::new("user", "deleted", member.user_id, json!({ "member_id": id }));
    audit::append(db.conn(), None, &actor, entry).await?;
    Ok(())
}

/// Locks the account, after its workspace as everybody does. Whoever adds it to another workspace
/// meanwhile waits, and may find nobody.
async fn hold_account(db: &mut WorkspaceDb, user: Uuid) -> Result<(), Error> {
    let held = sqlx::query_scalar!("select id from users where id = $1 for update", user);
    held.fetch_optional(db.conn()).await?.map(|_| ()).ok_or_else(Error::not_found)
}

/// The member's row goes, if the caller reaches that far and an owner is left.
async fn take_out(db: &mut WorkspaceDb, caller: Role, id: Uuid) -> Result<MemberProfile, Error> {
    let member = get(db, id).await?;
    let role = hold_standing(db, id).await?;
    hold_account(db, member.user_id).await?;
    if role > caller {
        return Err(standing::above_caller(role));
    }
    if role == Role::Owner {
        keep_an_owner(db, id).await?;
    }
    let (here, actor) = (db.workspace(), db.actor().clone());
    standing::leave_teams(db.conn(), here, id, &actor).await?;
    // Somebody else may have been quicker.
    let picture = sqlx::query_scalar!("delete from members where id = $1 returning avatar_url", id)
        .fetch_optional(db.conn())
        .await?
        .ok_or_else(Error::not_found)?;
    pictures::note_stray(db.conn(), picture.as_deref()).await?;
    Ok(member)
}
