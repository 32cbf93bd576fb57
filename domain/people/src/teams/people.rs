//! Who is in a team, and as what.

use chrono::{DateTime, Utc};
use domain::{EntityError, Event, MemberId, UserId, WorkspaceDb, access::Reach};
use poem_openapi::{Enum, Object};
use serde::Serialize;
use serde_json::json;

use super::{TeamError, TeamId, get, invalid, may_change};

/// What someone is in a team.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Enum, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum TeamRole {
    /// May change the team and who is in it.
    Lead,
    /// Belongs to it.
    #[default]
    Member,
}

/// A member in a team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Object)]
pub struct TeamMember {
    /// The member.
    pub member_id: MemberId,
    /// The person's account.
    pub user_id: UserId,
    /// Where they are reached.
    pub email: String,
    /// What they are called.
    pub full_name: String,
    /// What they want to be called here.
    pub display_name: Option<String>,
    /// Their picture.
    pub avatar_url: Option<String>,
    /// What they are in the team.
    pub role: TeamRole,
    /// Since when they are in it.
    pub created_at: DateTime<Utc>,
}

/// A member to put into a team.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Object)]
pub struct NewTeamMember {
    /// The member.
    pub member_id: MemberId,
    /// As what; `member` if absent.
    #[oai(default)]
    pub role: TeamRole,
}

/// What someone becomes in a team.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Object)]
pub struct TeamMemberChanges {
    /// What they are from now on.
    pub role: TeamRole,
}

/// Who is in a team: those who lead it first, then by name.
pub async fn members(db: &mut WorkspaceDb, team: TeamId) -> Result<Vec<TeamMember>, TeamError> {
    get(db, team).await?;
    find(db, team, None).await
}

/// Puts a member into a team.
///
/// # Errors
/// [`TeamError::NotLed`], [`TeamError::AlreadyIn`]; [`EntityError::Invalid`] for someone who is not here.
pub async fn add(
    db: &mut WorkspaceDb,
    reach: Reach,
    team: TeamId,
    new: NewTeamMember,
) -> Result<TeamMember, TeamError> {
    may_change(db, reach, team).await?;
    // Whoever takes the member out of the workspace waits, or was first.
    let is_here = sqlx::query_scalar!(
        "select id from members where id = $1 and is_active for key share",
        new.member_id.0,
    );
    if is_here.fetch_optional(db.conn()).await?.is_none() {
        return Err(invalid("member_id", "must be an active member of the workspace"));
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
    .ok_or(TeamError::AlreadyIn)?;
    let added = only(db, team, new.member_id).await?;
    let said = json!({ "member_id": new.member_id, "role": new.role });
    db.record(Event::new("team", "member_added", team, said)).await?;
    Ok(added)
}

/// Changes what someone is in a team.
///
/// # Errors
/// [`TeamError::NotLed`]; [`EntityError::NotFound`] for someone who isn't in it.
pub async fn change(
    db: &mut WorkspaceDb,
    reach: Reach,
    team: TeamId,
    member: MemberId,
    changes: TeamMemberChanges,
) -> Result<TeamMember, TeamError> {
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

/// Takes someone out of a team.
///
/// # Errors
/// As for [`change`].
pub async fn remove(
    db: &mut WorkspaceDb,
    reach: Reach,
    team: TeamId,
    member: MemberId,
) -> Result<(), TeamError> {
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

async fn only(db: &mut WorkspaceDb, team: TeamId, member: MemberId) -> Result<TeamMember, TeamError> {
    let found = find(db, team, Some(member)).await?;
    Ok(found.into_iter().next().ok_or(EntityError::NotFound)?)
}

async fn find(
    db: &mut WorkspaceDb,
    team: TeamId,
    member: Option<MemberId>,
) -> Result<Vec<TeamMember>, TeamError> {
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
