//! Teams: named groups of members. Contract section "Teams" (W-TEAM).
//!
//! Teams nest, without cycles; names are unique among the teams with the same parent. A member who leads a team
//! may change it and its members, if their role has the permission for teams that they lead.

mod people;

use std::str::FromStr;

use chrono::{DateTime, Utc};
use domain::{Error, Event, Name, Patch, Text, UserId, WorkspaceDb, access::Reach};
use poem_openapi::Object;
use serde::Serialize;

pub use people::{NewTeamMember, TeamMember, TeamMemberChanges, TeamRole, add, change, members, remove};

domain::ids! {
    /// A team.
    TeamId = "team",
}

/// A group of members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Object)]
pub struct Team {
    /// Team id.
    pub id: TeamId,
    /// Name, unique among the teams with the same parent.
    pub name: String,
    /// Description; null if none is set.
    pub description: Option<String>,
    /// Id of the parent team; null for a top-level team.
    pub parent_team_id: Option<TeamId>,
    /// Whether the team is in use.
    pub is_active: bool,
    /// Number of members.
    pub member_count: i64,
    /// User id of the creator; null if it was an API key or the account is deleted.
    pub created_by: Option<UserId>,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// Time of the last change.
    pub updated_at: DateTime<Utc>,
}

/// A team to create.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct NewTeam {
    /// Name, unique among the teams with the same parent.
    pub name: Name<255>,
    /// Description; null if none is set.
    pub description: Option<Text<5000>>,
    /// Id of the parent team; null for a top-level team.
    pub parent_team_id: Option<TeamId>,
    /// Whether the team is in use; true if absent.
    pub is_active: Option<bool>,
}

/// Changes to a team; absent fields stay unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Object)]
pub struct TeamChanges {
    /// Name, unique among the teams with the same parent.
    pub name: Option<Name<255>>,
    /// Description; null clears it.
    pub description: Patch<Text<5000>>,
    /// Id of the parent team; null makes it a top-level team.
    pub parent_team_id: Patch<TeamId>,
    /// Whether the team is in use.
    pub is_active: Option<bool>,
}

/// Filter of a list of teams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TeamFilter {
    /// Part of the name or the description.
    pub search: Option<String>,
    /// Whether the team is in use.
    pub is_active: Option<bool>,
    /// Parent filter.
    pub parent: Option<Parent>,
}

/// Parent filter of a list of teams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// Top-level teams only.
    None,
    /// Direct subteams of that team only.
    Team(TeamId),
}

impl FromStr for Parent {
    type Err = Error;

    /// A team's id; `null` or `root` for those below no other.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "null" | "root" => Ok(Self::None),
            id => {
                let invalid = |_| Error::invalid("parent_team_id", "must be an id, or null");
                id.parse().map(Self::Team).map_err(invalid)
            }
        }
    }
}

/// Teams, sorted by name.
pub async fn list(db: &mut WorkspaceDb, filter: &TeamFilter) -> Result<Vec<Team>, Error> {
    find(db, None, filter).await
}

/// One team.
pub async fn get(db: &mut WorkspaceDb, id: TeamId) -> Result<Team, Error> {
    let found = find(db, Some(id), &TeamFilter::default()).await?;
    found.into_iter().next().ok_or_else(Error::not_found)
}

async fn find(db: &mut WorkspaceDb, id: Option<TeamId>, filter: &TeamFilter) -> Result<Vec<Team>, Error> {
    let (below_none, below) = match filter.parent {
        None => (false, None),
        Some(Parent::None) => (true, None),
        Some(Parent::Team(parent)) => (false, Some(parent)),
    };
    let teams = sqlx::query_as!(
        Team,
        r#"select t.id, t.name, t.description, t.parent_team_id, t.is_active,
                  (select count(*) from team_members m where m.team_id = t.id) as "member_count!",
                  t.created_by, t.created_at, t.updated_at
             from teams t
            where ($1::uuid is null or t.id = $1)
              and ($2::text is null or position(lower($2) in lower(concat_ws(' ', t.name, t.description))) > 0)
              and ($3::boolean is null or t.is_active = $3)
              and (not $4 or t.parent_team_id is null)
              and ($5::uuid is null or t.parent_team_id = $5)
            order by lower(t.name), t.id"#,
        id.map(|id| id.0),
        filter.search,
        filter.is_active,
        below_none,
        below.map(|id| id.0),
    )
    .fetch_all(db.conn())
    .await?;
    Ok(teams)
}

/// Creates a team; its creator becomes its lead.
///
/// # Errors
/// `name_taken`; `record_invalid` for a parent that doesn't exist.
pub async fn create(db: &mut WorkspaceDb, new: NewTeam) -> Result<Team, Error> {
    let id = TeamId::new();
    if let Some(parent) = new.parent_team_id {
        lock_hierarchy(db).await?;
        ensure_acyclic(db, id, parent).await?;
    }
    sqlx::query!(
        "insert into teams (id, parent_team_id, name, description, is_active, created_by)
         values ($1, $2, $3, $4, $5, $6)",
        id.0,
        new.parent_team_id.map(|id| id.0),
        new.name.as_str(),
        new.description.as_deref(),
        new.is_active.unwrap_or(true),
        db.user_id(),
    )
    .execute(db.conn())
    .await?;
    // A key that creates a team is no member.
    sqlx::query!(
        "insert into team_members (team_id, member_id, role)
         select $1, id, 'lead' from members where user_id = $2",
        id.0,
        db.user_id(),
    )
    .execute(db.conn())
    .await?;
    let team = get(db, id).await?;
    db.record(Event::new("team", "created", id, &team)).await?;
    Ok(team)
}

/// Changes a team.
///
/// # Errors
/// `forbidden`; `name_taken`; `record_invalid` for a parent that doesn't exist or is
/// below this team.
pub async fn update(
    db: &mut WorkspaceDb,
    reach: Reach,
    id: TeamId,
    changes: TeamChanges,
) -> Result<Team, Error> {
    if changes.parent_team_id.is_given() {
        // Before any row lock: a transaction that holds this lock and waits for one of our rows would deadlock
        // with us.
        lock_hierarchy(db).await?;
    }
    may_change(db, reach, id).await?;
    if let Patch::Value(parent) = changes.parent_team_id {
        ensure_acyclic(db, id, parent).await?;
    }
    sqlx::query!(
        "update teams
            set name = coalesce($2, name),
                description = case when $3 then $4 else description end,
                parent_team_id = case when $5 then $6 else parent_team_id end,
                is_active = coalesce($7, is_active),
                updated_at = now()
          where id = $1",
        id.0,
        changes.name.as_deref(),
        changes.description.is_given(),
        changes.description.value().map(Text::as_str),
        changes.parent_team_id.is_given(),
        changes.parent_team_id.value().map(|id| id.0),
        changes.is_active,
    )
    .execute(db.conn())
    .await?;
    let team = get(db, id).await?;
    db.record(Event::new("team", "updated", id, &team)).await?;
    Ok(team)
}

/// Deletes a team; its members stay in the workspace.
///
/// # Errors
/// `team_has_children`
pub async fn delete(db: &mut WorkspaceDb, id: TeamId) -> Result<(), Error> {
    lock_hierarchy(db).await?;
    let team = get(db, id).await?;
    let children = sqlx::query_scalar!(
        r#"select exists (select from teams where parent_team_id = $1) as "there!""#,
        id.0,
    );
    if children.fetch_one(db.conn()).await? {
        return Err(Error::conflict(
            "team_has_children",
            "the team has sub-teams: move or delete them first",
        ));
    }
    sqlx::query_scalar!("delete from teams where id = $1 returning id", id.0).fetch_one(db.conn()).await?;
    db.record(Event::new("team", "deleted", id, &team)).await?;
    Ok(())
}

/// Locks the hierarchy of teams until the commit: no other transaction changes it; reads continue.
async fn lock_hierarchy(db: &mut WorkspaceDb) -> Result<(), sqlx::Error> {
    sqlx::query!("lock table teams in share row exclusive mode").execute(db.conn()).await?;
    Ok(())
}

/// Refuses a parent that doesn't exist, or that is below the team itself. To be called after [`lock_hierarchy`].
async fn ensure_acyclic(db: &mut WorkspaceDb, id: TeamId, parent: TeamId) -> Result<(), Error> {
    let upwards = sqlx::query_scalar!(
        r#"with recursive above as (
               select id, parent_team_id from teams where id = $1
               union
               select t.id, t.parent_team_id from teams t join above a on t.id = a.parent_team_id
           )
           select id as "id!" from above"#,
        parent.0,
    )
    .fetch_all(db.conn())
    .await?;
    if upwards.contains(&id.0) {
        return Err(Error::invalid("parent_team_id", "must be neither the team itself nor a team below it"));
    }
    if upwards.is_empty() {
        return Err(Error::invalid("parent_team_id", "must be a team of this workspace"));
    }
    Ok(())
}

/// Refuses a team that doesn't exist, and, with reach over led teams only, one that the caller doesn't lead.
async fn may_change(db: &mut WorkspaceDb, reach: Reach, id: TeamId) -> Result<(), Error> {
    let user = db.user_id();
    let row = sqlx::query!(
        r#"select exists (select from team_members tm join members m on m.id = tm.member_id
                           where tm.team_id = t.id and tm.role = 'lead' and m.user_id = $2) as "leads!"
             from teams t where t.id = $1 for update of t"#,
        id.0,
        user,
    )
    .fetch_one(db.conn())
    .await?;
    if reach == Reach::Own && !row.leads {
        return Err(Error::forbidden(
            "the permission teams:edit or the role of a lead of the team is required",
        ));
    }
    Ok(())
}
