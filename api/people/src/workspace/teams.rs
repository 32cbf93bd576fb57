//! Teams: named groups of members. Contract section "Teams" (W-TEAM).

use api_kit::{App, avatar_url, prelude::*};
use domain::MemberId;
use domain_people::teams::{
    self, NewTeam, NewTeamMember, Team, TeamChanges, TeamFilter, TeamId, TeamMember, TeamMemberChanges,
};

permissions! {
    ViewTeams = "teams:view",
    CreateTeams = "teams:create",
    EditTeams = "teams:edit" or own,
    DeleteTeams = "teams:delete",
}

/// A team member as clients see it: with a link to the avatar image.
fn shown(app: &App, member: TeamMember) -> TeamMember {
    TeamMember { avatar_url: avatar_url(app, member.avatar_url), ..member }
}

#[derive(Tags)]
enum Tag {
    /// Groups of members.
    Teams,
}

pub struct TeamsApi;

#[OpenApi(prefix_path = "/teams", tag = "Tag::Teams")]
impl TeamsApi {
    /// List the workspace's teams
    ///
    /// Sorted by name.
    #[oai(path = "/", method = "get", operation_id = "list_teams")]
    async fn list(
        &self,
        can: Can<ViewTeams>,
        /// Part of the name or the description.
        search: Query<Option<String>>,
        /// Activity filter: true for teams in use only, false for teams not in use only.
        is_active: Query<Option<bool>>,
        /// Parent filter: id of a team for its direct subteams, `null` for top-level teams.
        parent_team_id: Query<Option<String>>,
    ) -> Answer<Json<Whole<Team>>> {
        let parent = parent_team_id.as_deref().map(str::parse).transpose()?;
        let filter = TeamFilter { search: search.0, is_active: is_active.0, parent };
        Ok(Json(teams::list(&mut can.read().await?, &filter).await?.into()))
    }

    /// Create a team
    ///
    /// The caller becomes its lead. Names are unique among the teams with the same parent (409 `name_taken`).
    #[oai(path = "/", method = "post", operation_id = "create_team", tag = "Fails::NameTaken")]
    async fn create(&self, can: Can<CreateTeams>, new: Body<NewTeam>) -> Answer<Created<Team>> {
        can.change(async |db| teams::create(db, new.0).await).await.map(Created)
    }

    /// Show a team
    #[oai(path = "/:team_id", method = "get", operation_id = "get_team")]
    async fn get(&self, can: Can<ViewTeams>, team_id: Path<TeamId>) -> Answer<Json<Team>> {
        Ok(Json(teams::get(&mut can.read().await?, team_id.0).await?))
    }

    /// Change a team
    ///
    /// Any team or, with only `teams:edit_own`, one that the caller leads. A team cannot be placed below
    /// itself.
    #[oai(path = "/:team_id", method = "patch", operation_id = "update_team", tag = "Fails::NameTaken")]
    async fn update(
        &self,
        can: Can<EditTeams>,
        team_id: Path<TeamId>,
        changes: Body<TeamChanges>,
    ) -> Answer<Json<Team>> {
        can.change(async |db| teams::update(db, can.reach(), team_id.0, changes.0).await).await.map(Json)
    }

    /// Delete a team
    ///
    /// The team's members stay in the workspace. Refused while the team has subteams (409 `team_has_children`).
    #[oai(
        path = "/:team_id",
        method = "delete",
        operation_id = "delete_team",
        tag = "Fails::TeamHasChildren"
    )]
    async fn delete(&self, can: Can<DeleteTeams>, team_id: Path<TeamId>) -> Answer<NoContent> {
        can.change(async |db| teams::delete(db, team_id.0).await).await.map(|()| NoContent)
    }

    /// List a team's members
    ///
    /// Leads first, then by name.
    #[oai(path = "/:team_id/members", method = "get", operation_id = "list_team_members")]
    async fn members(&self, can: Can<ViewTeams>, team_id: Path<TeamId>) -> Answer<Json<Whole<TeamMember>>> {
        let members = teams::members(&mut can.read().await?, team_id.0).await?;
        let members: Vec<_> = members.into_iter().map(|member| shown(can.app(), member)).collect();
        Ok(Json(members.into()))
    }

    /// Add a member to a team
    #[oai(
        path = "/:team_id/members",
        method = "post",
        operation_id = "add_team_member",
        tag = "Fails::AlreadyInTeam"
    )]
    async fn add_member(
        &self,
        can: Can<EditTeams>,
        team_id: Path<TeamId>,
        new: Body<NewTeamMember>,
    ) -> Answer<Created<TeamMember>> {
        let added = can.change(async |db| teams::add(db, can.reach(), team_id.0, new.0).await).await?;
        Ok(Created(shown(can.app(), added)))
    }

    /// Change a member's role in a team
    #[oai(path = "/:team_id/members/:member_id", method = "patch", operation_id = "update_team_member")]
    async fn change_member(
        &self,
        can: Can<EditTeams>,
        team_id: Path<TeamId>,
        member_id: Path<MemberId>,
        changes: Body<TeamMemberChanges>,
    ) -> Answer<Json<TeamMember>> {
        let change =
            async |db: &mut _| teams::change(db, can.reach(), team_id.0, member_id.0, changes.0).await;
        Ok(Json(shown(can.app(), can.change(change).await?)))
    }

    /// Remove a member from a team
    #[oai(path = "/:team_id/members/:member_id", method = "delete", operation_id = "remove_team_member")]
    async fn remove_member(
        &self,
        can: Can<EditTeams>,
        team_id: Path<TeamId>,
        member_id: Path<MemberId>,
    ) -> Answer<NoContent> {
        can.change(async |db| teams::remove(db, can.reach(), team_id.0, member_id.0).await)
            .await
            .map(|()| NoContent)
    }
}
