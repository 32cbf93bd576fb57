//! The roster: everybody of a workspace, those who are in and those who are invited. Who may enter is
//! in the shared schemas, who they are in the workspace's own; this is where the two are put together.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use jobs::Database;
use poem_openapi::{Enum, Object};
use uuid::Uuid;

use crate::{WorkspaceId, access::Role, tenant_scope::TenantScope};

/// How somebody belongs to a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Enum)]
#[oai(rename_all = "snake_case")]
pub enum RosterStatus {
    /// They work here.
    Active,
    /// They belong here, and can't come in for now.
    Inactive,
    /// They are invited.
    Pending,
}

/// Somebody of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct RosterEntry {
    /// The member; of somebody who is invited, the invitation, which is the member to be.
    pub member_id: Uuid,
    /// The person.
    pub user_id: Uuid,
    /// Their address.
    pub email: String,
    /// What they are called here.
    pub name: String,
    /// What they do.
    pub title: Option<String>,
    /// Their picture.
    pub avatar_url: Option<String>,
    /// What they are here, or will be.
    pub role: Role,
    /// How they belong here.
    pub status: RosterStatus,
    /// Since when they are here.
    pub joined_at: Option<DateTime<Utc>>,
    /// When they were last sent an invitation that they have not answered yet.
    pub invited_at: Option<DateTime<Utc>>,
    /// Until when they can accept it; it may have passed.
    pub invitation_expires_at: Option<DateTime<Utc>>,
}

/// Who somebody is in the workspace's own schema.
struct Profile {
    id: Uuid,
    name: String,
    title: Option<String>,
    avatar_url: Option<String>,
    is_active: bool,
}

/// Everybody: those who are in, then those who are invited, by name.
pub async fn list(database: &Database, workspace: WorkspaceId) -> Result<Vec<RosterEntry>, sqlx::Error> {
    // Nothing is written: dropped, it rolls back.
    let mut tx = database.begin().await?;
    let people = sqlx::query!(
        r#"select m.id as "id!", u.id as "user_id!", u.email as "email!", u.name as "name!", u.title,
                  u.avatar_url, u.is_active as "is_active!", m.role as "role!: Role",
                  m.created_at as joined_at, null::timestamptz as invited_at, null::timestamptz as expires_at
             from memberships m join users u on u.id = m.user_id
            where m.workspace_id = $1
           union all
           select i.id, u.id, u.email, u.name, u.title, u.avatar_url, u.is_active, i.role,
                  null, i.sent_at, i.expires_at
             from invitations i join users u on u.id = i.user_id
            where i.workspace_id = $1 and i.accepted_at is null and i.cancelled_at is null"#,
        workspace.0,
    )
    .fetch_all(tx.conn())
    .await?;
    let mut scope = TenantScope::enter(&mut tx, workspace).await?;
    let profiles = sqlx::query_as!(Profile, "select id, name, title, avatar_url, is_active from members")
        .fetch_all(scope.conn())
        .await?;
    let mut profiles: HashMap<_, _> = profiles.into_iter().map(|profile| (profile.id, profile)).collect();
    let mut entries: Vec<_> = people
        .into_iter()
        .map(|person| {
            let profile = profiles.remove(&person.id);
            let is_active = person.is_active && profile.as_ref().is_none_or(|profile| profile.is_active);
            let status = match person.joined_at {
                None => RosterStatus::Pending,
                Some(_) if is_active => RosterStatus::Active,
                Some(_) => RosterStatus::Inactive,
            };
            let (name, title, avatar_url) = match profile {
                Some(profile) => (profile.name, profile.title, profile.avatar_url),
                None => (person.name, person.title, person.avatar_url),
            };
            RosterEntry {
                member_id: person.id,
                user_id: person.user_id,
                email: person.email,
                name,
                title,
                avatar_url,
                role: person.role,
                status,
                joined_at: person.joined_at,
                invited_at: person.invited_at,
                invitation_expires_at: person.expires_at,
            }
        })
        .collect();
    entries.sort_by_cached_key(|entry| {
        (entry.status == RosterStatus::Pending, entry.name.to_lowercase(), entry.member_id)
    });
    Ok(entries)
}
