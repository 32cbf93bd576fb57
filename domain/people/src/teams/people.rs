//! The members of a team and their roles in it.

use chrono::{DateTime, Utc};
use domain::{Error, Event, MemberId, UserId, WorkspaceDb, access::Reach};
use poem_openapi::{Enum, Object};
use serde::Serialize;
use serde_json::json;

use super::{TeamId, get, may_change};

/// Role in a team.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Enum, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum TeamRole {
    /// May change the team and its members.
    Lead,
    /// Belongs to the team.
    #[default]
    Member,
}

/// A member of a team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Object)]
pub struct TeamMember {
    /// Member id.
    pub member_id: MemberId,
    /// Account id.
    pub user_id: UserId,
    /// Email address.
    pub email: String,
    /// Full name of the account.
    pub full_name: String,
    /// Display name in this workspace; null if the account's name is to be shown.
    pub display_name: Option<String>,
    /// URL of the avatar image; null if none is set.
    pub avatar_url: Option<String>,
    /// Role in the team.
    pub role: TeamRole,
    /// Time of joining the team.
    pub created_at: DateTime<Utc>,
}

/// A member to add to a team.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Object)]
pub struct NewTeamMember {
    /// Member id.
    pub member_id: MemberId,
    /// Role in the team.
    #[oai(default)]
    pub role: TeamRole,
}

/// Changes to a team member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Object)]
pub struct TeamMemberChanges {
    /// Role in the team.
    pub role: TeamRole,
}

/// The members of a team: leads first, then by name.
pub async fn members(db: &mut WorkspaceDb, team: TeamId) -> Result<Vec<TeamMember>, Error> {
    get(db, team).await?;
    find(db, team, None).await
}

/// Adds a member to a team.
///
/// # Errors
/// `forbidden`, `already_in_team`; `record_invalid` for an id of no active member.
pub async fn add(
    db: &mut WorkspaceDb,
    reach: Reach,
    team: TeamId,
    new: NewTeamMember,
) -> Result<TeamMember, Error> {
    may_change(db, reach, team).await?;
    // A transaction that removes the member from the workspace waits, or was first.
    let is_here = sqlx::query_scalar!(
        "select id from members where id = $1 and is_active for key share",
        new.member_id.0,
    );
    if is_here.fetch_optional(db.conn()).await?.is_none() {
        return Err(Error::invalid("member_id", "must be an active member of the workspace"));
    }
    sqlx::query_scalar!(
        "insert into team_members (team_id, member_id, role) values ($1, $2, $3)
         on conflict (team_id, member_id) do nothing returning team_id",
        team.0,
        new.member_id.0,
        new.role as TeamRole,
    )
    .fetch_optional(db.conn())
    .await?
    .ok_or_else(|| Error::conflict("already_in_team", "this member is already in the team"))?;
    let added = only(db, team, new.member_id).await?;
    let said = json!({ "member_id": new.member_id, "role": new.role });
    db.record(Event::new("team", "member_added", team, said)).await?;
    Ok(added)
}

/// Changes a member's role in a team.
///
/// # Errors
/// `forbidden`; `record_not_found` for a member who isn't in it.
pub async fn change(
    db: &mut WorkspaceDb,
    reach: Reach,
    team: TeamId,
    member: MemberId,
    changes: TeamMemberChanges,
) -> Result<TeamMember, Error> {
    may_change(db, reach, team).await?;
    sqlx::query_scalar!(
        "update team_members set role = $3 where team_id = $1 and member_id = $2 returning team_id",
        team.0,
        member.0,
        changes.role as TeamRole,
    )
    .fetch_one(db.conn())
    .await?;
    let changed = only(db, team, member).await?;
    let said = json!({ "member_id": member, "role": changes.role });
    db.record(Event::new("team", "member_updated", team, said)).await?;
    Ok(changed)
}

/// Removes a member from a team.
///
/// # Errors
/// As for [`change`].
pub async fn remove(db: &mut WorkspaceDb, reach: Reach, team: TeamId, member: MemberId) -> Result<(), Error> {
    may_change(db, reach, team).await?;
    sqlx::query_scalar!(
        "delete from team_members where team_id = $1 and member_id = $2 returning team_id",
        team.0,
        member.0,
    )
    .fetch_one(db.conn())
    .await?;
    db.record(Event::new("team", "member_removed", team, json!({ "member_id": member }))).await?;
    Ok(())
}

async fn only(db: &mut WorkspaceDb, team: TeamId, member: MemberId) -> Result<TeamMember, Error> {
    let found = find(db, team, Some(member)).await?;
    found.into_iter().next().ok_or_else(Error::not_found)
}

async fn find(
    db: &mut WorkspaceDb,
    team: TeamId,
    member: Option<MemberId>,
) -> Result<Vec<TeamMember>, Error> {
    let query = sqlx::query_as!(
        TeamMember,
        "select m.id as member_id, m.user_id, u.email, u.name as full_name, m.display_name,
                  coalesce(m.avatar_url, 'avatar:' || u.avatar_key, u.avatar_url) as avatar_url,
                  t.role, t.created_at
             from team_members t
             join members m on m.id = t.member_id
             join users u on u.id = m.user_id
            where t.team_id = $1 and ($2::uuid is null or t.member_id = $2)
            order by t.role, lower(coalesce(m.display_name, u.name)), m.id",
        team.0,
        member.map(|id| id.0),
    );
    Ok(db.with_accounts(async |accounts| query.fetch_all(accounts.conn()).await).await?)
}
