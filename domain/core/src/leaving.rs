//! Leaving: removes a user's team memberships, keys and tokens in a workspace, whichever route ends the membership.

use serde_json::json;
use sqlx::PgConnection;

use crate::{Actor, Event, MemberId, UserId, WorkspaceId, makers};

/// Removes a member who leaves the workspace from all teams.
pub async fn leave_teams(
    conn: &mut PgConnection,
    workspace: WorkspaceId,
    member: MemberId,
    actor: &Actor,
) -> Result<(), sqlx::Error> {
    let teams =
        sqlx::query_scalar!("delete from team_members where member_id = $1 returning team_id", member.0)
            .fetch_all(&mut *conn)
            .await?;
    for team in teams {
        let said = json!({ "member_id": member });
        Event::new("team", "member_removed", team, said).append(&mut *conn, workspace, actor).await?;
    }
    Ok(())
}

/// Pauses the keys of a removed member, so that they don't become valid again by themselves when the member
/// returns, and disables their scheduled jobs; returns the number of keys. To be called after the membership's end.
pub async fn pause_keys(
    conn: &mut PgConnection,
    workspace: WorkspaceId,
    user: UserId,
    actor: &Actor,
) -> Result<usize, sqlx::Error> {
    let paused = sqlx::query_scalar!(
        "update api_keys set is_active = false, updated_at = now()
          where workspace_id = $1 and created_by = $2 and is_active and revoked_at is null
      returning id",
        workspace.0,
        user.0,
    )
    .fetch_all(&mut *conn)
    .await?;
    for key in &paused {
        let data = json!({ "is_active": false });
        Event::new("api_key", "updated", *key, data).append(&mut *conn, workspace, actor).await?;
    }
    makers::disable_refused(conn, workspace, actor).await?;
    Ok(paused.len())
}

/// Removes a remaining user's references to the workspace: it is no longer the current one, and tokens for it end,
/// also for a later return.
pub async fn forget_workspace(
    conn: &mut PgConnection,
    workspace: WorkspaceId,
    user: UserId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with revoked as (
             update personal_tokens set revoked_at = now()
              where user_id = $1 and workspace_id = $2 and revoked_at is null
         )
         update users set current_workspace_id = null where id = $1 and current_workspace_id = $2",
        user.0,
        workspace.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}
