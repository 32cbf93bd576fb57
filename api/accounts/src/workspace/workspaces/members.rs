//! Who belongs to a workspace: the roster, and taking somebody out.

use api_kit::{avatar_url, prelude::*};
use domain::{MemberId, WorkspaceId};
use domain_accounts::workspaces::{
    removal::{self, RemovedMember},
    roster::{self, RosterEntry},
};

use super::{Tag, here, host};

permissions! { ViewMembers = "members:view", RemoveMember = "members:delete" }

/// See the module.
pub struct MembersApi;

#[OpenApi(prefix_path = "/workspaces", tag = "Tag::Workspaces")]
impl MembersApi {
    /// List everybody of a workspace
    ///
    /// Its members, active or not, by name; then those whose invitation waits for them.
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

    /// Take a person out of a workspace
    ///
    /// An invitation that was not accepted is withdrawn. A member loses their place, and their account with it if this
    /// workspace manages it: if it was made by accepting the workspace's invitation, and its owner is in no other
    /// workspace and invited to none. The last owner stays (409 `last_owner`), and nobody takes out somebody of a
    /// higher role.
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
        /// As the roster names them: a member or an invitation.
        member_id: Path<MemberId>,
    ) -> Answer<Json<RemovedMember>> {
        let actor = can.actor();
        let host = host(&can, workspace_id.0, &actor)?;
        can.change_shared(async |tx, _| removal::remove(tx, &host, member_id.0).await).await.map(Json)
    }
}
