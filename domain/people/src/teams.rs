//! Teams: named groups of members. Contract section "Teams" (W-TEAM).
//!
//! Teams nest, without circles; below the same team each has a name of its own. Whoever leads a team may
//! change it and who is in it, if their role lets them change the teams that they lead.

mod people;

use std::str::FromStr;

use chrono::{DateTime, Utc};
use domain::{
    DomainError, EntityError, Event, FieldErrors, Name, Patch, Refusal, Text, UserId, WorkspaceDb,
    access::Reach,
};
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
    /// Its id.
    pub id: TeamId,
    /// What it is called.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The team that it is a part of.
    pub parent_team_id: Option<TeamId>,
    /// Whether it is in use.
    pub is_active: bool,
    /// How many members it has.
    pub member_count: i64,
    /// The person who made it.
    pub created_by: Option<UserId>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// A team to create.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct NewTeam {
    /// What it is called.
    pub name: Name<255>,
    /// What it is for.
    pub description: Option<Text<5000>>,
    /// The team that it is a part of.
    pub parent_team_id: Option<TeamId>,
    /// Whether it is in use; yes if absent.
    pub is_active: Option<bool>,
}

/// Changes to a team; what is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Object)]
pub struct TeamChanges {
    /// What it is called.
    pub name: Option<Name<255>>,
    /// What it is for; null clears it.
    pub description: Patch<Text<5000>>,
    /// The team that it is a part of; null: of none.
    pub parent_team_id: Patch<TeamId>,
    /// Whether it is in use.
    pub is_active: Option<bool>,
}

/// Which teams to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TeamFilter {
    /// A part of the name or the description.
    pub search: Option<String>,
    /// In use or not.
    pub is_active: Option<bool>,
    /// Where it stands.
    pub parent: Option<Parent>,
}

/// Where a team stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// Below no other.
    None,
    /// Right below that one.
    Team(TeamId),
}

/// Why something about a team didn't happen.
#[derive(Debug, thiserror::Error)]
pub enum TeamError {
    /// As for any entity.
    #[error(transparent)]
    Entity(#[from] EntityError),
    /// There are teams below it.
    #[error("there are teams below this one: move or delete them first")]
    HasChildren,
    /// They are in it.
    #[error("this member is in the team already")]
    AlreadyIn,
    /// The caller may change the teams that they lead, and this is none.
    #[error("this needs the permission teams:edit, or to lead the team")]
    NotLed,
}

impl From<sqlx::Error> for TeamError {
    fn from(error: sqlx::Error) -> Self {
        Self::Entity(error.into())
    }
}

impl DomainError for TeamError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::Entity(error) => error.refusal(),
            Self::HasChildren => Refusal::Conflict("team_has_children".into()),
            Self::AlreadyIn => Refusal::Conflict("already_in_team".into()),
            Self::NotLed => Refusal::Forbidden,
        }
    }
}

impl FromStr for Parent {
    type Err = TeamError;

    /// A team's id; `null` or `root` for those below no other.
    fn from_str(text: &str) -> Result<Self, TeamError> {
        match text {
            "null" | "root" => Ok(Self::None),
            id => id.parse().map(Self::Team).map_err(|_| invalid("parent_team_id", "must be an id, or null")),
        }
    }
}

/// One field, one reason.
fn invalid(field: &str, reason: &str) -> TeamError {
    EntityError::Invalid(FieldErrors::from([(field.to_owned(), vec![reason.to_owned()])])).into()
}

/// Teams by name.
pub async fn list(db: &mut WorkspaceDb, filter: &TeamFilter) -> Result<Vec<Team>, TeamError> {
    find(db, None, filter).await
}

/// One team.
pub async fn get(db: &mut WorkspaceDb, id: TeamId) -> Result<Team, TeamError> {
    let found = find(db, Some(id), &TeamFilter::default()).await?;
    Ok(found.into_iter().next().ok_or(EntityError::NotFound)?)
}

async fn find(db: &mut WorkspaceDb, id: Option<TeamId>, filter: &TeamFilter) -> Result<Vec<Team>, TeamError> {
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

/// Creates a team; its creator leads it.
///
/// # Errors
/// `name_taken`; [`EntityError::Invalid`] for a parent that isn't there.
pub async fn create(db: &mut WorkspaceDb, new: NewTeam) -> Result<Team, TeamError> {
    let id = TeamId::new();
    if let Some(parent) = new.parent_team_id {
        hold_order(db).await?;
        may_stand_below(db, id, parent).await?;
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
/// [`TeamError::NotLed`]; `name_taken`; [`EntityError::Invalid`] for a parent that isn't there or stands
/// below this team.
pub async fn update(
    db: &mut WorkspaceDb,
    reach: Reach,
    id: TeamId,
    changes: TeamChanges,
) -> Result<Team, TeamError> {
    if changes.parent_team_id.is_given() {
        // Before any row: who holds this one's while they wait for a row of ours would wait for ever.
        hold_order(db).await?;
    }
    may_change(db, reach, id).await?;
    if let Patch::Value(parent) = changes.parent_team_id {
        may_stand_below(db, id, parent).await?;
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
/// [`TeamError::HasChildren`]
pub async fn delete(db: &mut WorkspaceDb, id: TeamId) -> Result<(), TeamError> {
    hold_order(db).await?;
    let team = get(db, id).await?;
    let children = sqlx::query_scalar!(
        r#"select exists (select from teams where parent_team_id = $1) as "there!""#,
        id.0,
    );
    if children.fetch_one(db.conn()).await? {
        return Err(TeamError::HasChildren);
    }
    sqlx::query_scalar!("delete from teams where id = $1 returning id", id.0).fetch_one(db.conn()).await?;
    db.record(Event::new("team", "deleted", id, &team)).await?;
    Ok(())
}

/// From here to the commit nobody else changes which team stands below which. Reading goes on.
async fn hold_order(db: &mut WorkspaceDb) -> Result<(), sqlx::Error> {
    sqlx::query!("lock table teams in share row exclusive mode").execute(db.conn()).await?;
    Ok(())
}

/// Says no to a parent that isn't there, or that stands below the team itself. After [`hold_order`].
async fn may_stand_below(db: &mut WorkspaceDb, id: TeamId, parent: TeamId) -> Result<(), TeamError> {
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
        return Err(invalid("parent_team_id", "must not be the team itself, or one below it"));
    }
    if upwards.is_empty() {
        return Err(invalid("parent_team_id", "there is no such team"));
    }
    Ok(())
}

/// Says no to a team that isn't there, and to whoever may only change what they lead and doesn't lead it.
async fn may_change(db: &mut WorkspaceDb, reach: Reach, id: TeamId) -> Result<(), TeamError> {
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
    if reach == Reach::All || row.leads { Ok(()) } else { Err(TeamError::NotLed) }
}
