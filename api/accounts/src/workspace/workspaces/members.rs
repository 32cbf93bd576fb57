//! The members of a workspace: their list, and their removal.

use api_kit::{avatar_url, prelude::*};
use domain::{MemberId, WorkspaceId};
use domain_accounts::workspaces::{
    removal::{self, RemovedMember},
    roster::{self, RosterEntry},
};

use super::{Tag, here, host};

permissions! { ViewMembers = "members:view", RemoveMember = "members:delete" }

/// Routes of the section.
pub struct MembersApi;

#[OpenApi(prefix_path = "/workspaces", tag = "Tag::Workspaces")]
impl MembersApi {
    /// List a workspace's members and pending invitations
    ///
    /// Members, active or not, sorted by name; then pending invitations.
    #[oai(path = "/:workspace_id/members", method = "get", operation_id = "list_workspace_members")]
    async fn list(
        &self,
        can: Can<ViewMembers>,
        workspace_id: Path<WorkspaceId>,
    ) -> Answer<Json<Whole<RosterEntry>>> {
        let (app, workspace) = (can.app(), here(&can, workspace_id.0)?);
        let roster = roster::list(&app.database, workspace).await?.into_iter();
        let shown =
            |entry: RosterEntry| RosterEntry { avatar_url: avatar_url(app, entry.avatar_url), ..entry };
        Ok(Json(roster.map(shown).collect::<Vec<_>>().into()))
    }

    /// Remove a member from a workspace
    ///
    /// A pending invitation is withdrawn. A member loses the membership, and the account with it if this
    /// workspace manages it: if it was created by accepting the workspace's invitation, and its owner belongs
    /// to no other workspace and is invited to none. The last owner cannot be removed (409 `last_owner`), nor
    /// can a member with a role above the caller's.
    #[oai(
        path = "/:workspace_id/members/:member_id",
        method = "delete",
        operation_id = "remove_workspace_member",
        tag = "Fails::LastOwner"
    )]
    async fn remove(
        &self,
        can: Can<RemoveMember>,
        workspace_id: Path<WorkspaceId>,
        /// Id of the member or the invitation, as in the list.
        member_id: Path<MemberId>,
    ) -> Answer<Json<RemovedMember>> {
        let actor = can.actor();
        let host = host(&can, workspace_id.0, &actor)?;
        can.change_shared(async |tx, _| removal::remove(tx, &host, member_id.0).await).await.map(Json)
    }
}
