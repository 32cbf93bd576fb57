//! What people say of themselves. A person's profile is a row of `users`, and copied into the row that
//! they have in each of their workspaces, in the transaction of the change, so that a workspace's own
//! SQL finds its people without leaving its schema.

use jobs::{Tx, workspace_schema};
use serde_json::json;

use crate::{Actor, Event, UserId, WorkspaceId};

/// Copies a person's profile into their member of every workspace that they belong to; `member.updated` is
/// told in each that it changed. The transaction is on the shared schemas before and after.
pub async fn copy_to_members(tx: &mut Tx, user: UserId, actor: &Actor) -> Result<(), sqlx::Error> {
    let profile = sqlx::query!(
        r#"select name, email, title, phone, bio, coalesce('avatar:' || avatar_key, avatar_url) as avatar
             from users where id = $1"#,
        user.0,
    )
    .fetch_one(tx.conn())
    .await?;
    let workspaces = sqlx::query_scalar!(
        "select w.id from memberships m join workspaces w on w.id = m.workspace_id
          where m.user_id = $1 and w.state = 'ready' order by w.id",
        user.0,
    )
    .fetch_all(tx.conn())
    .await?;
    let shared = sqlx::query_scalar!(r#"select current_setting('search_path') as "path!""#)
        .fetch_one(tx.conn())
        .await?;
    for workspace in workspaces.into_iter().map(WorkspaceId) {
        let schema = workspace_schema(workspace.0);
        act_as(tx, &schema, &format!("{schema}, shard_api, ext, pg_temp")).await?;
        let member = sqlx::query_scalar!(
            "update members
                set name = $2, email = $3, title = $4, phone = $5, bio = $6, avatar_url = $7, updated_at = now()
              where user_id = $1
                and (name, email, title, phone, bio, avatar_url) is distinct from ($2, $3, $4, $5, $6, $7)
          returning id",
            user.0,
            profile.name,
            profile.email,
            profile.title,
            profile.phone,
            profile.bio,
            profile.avatar,
        )
        .fetch_optional(tx.conn())
        .await?;
        if let Some(member) = member {
            let event =
                Event::new("member", "updated", member, json!({ "user_id": user, "name": profile.name }));
            event.append(tx.conn(), workspace, actor).await?;
        }
        act_as(tx, "none", &shared).await?;
    }
    Ok(())
}

/// Takes a role and its schemas, until the transaction ends or another is taken.
async fn act_as(tx: &mut Tx, role: &str, search_path: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "select set_config('role', $1, true) as role, set_config('search_path', $2, true) as path",
        role,
        search_path,
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(())
}
