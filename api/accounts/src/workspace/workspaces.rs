//! Workspaces: contract section "Workspaces" (W-WS). Which ones somebody belongs to, what they are called,
//! and which of them one works in; [`invitations`] and [`members`] are about their people.

mod doors;
mod invitations;
mod members;

use api_kit::{Access, ApiError, App, InPerson, SignedIn, prelude::*, unhurried};
use domain::{Actor, WorkspaceId};
use domain_accounts::workspaces::{Host, Workspace, WorkspaceChanges, details};
use jobs::Tx;
use poem::web::Data;
use poem_openapi::Object;

use doors::create::{self, NewWorkspace, WorkspaceAnswer};

/// The whole section.
pub fn api() -> impl OpenApi + 'static {
    (WorkspacesApi, doors::ProvisionApi, invitations::InvitationsApi, members::MembersApi)
}

permissions! { ViewWorkspace = "workspace:view", EditWorkspace = "workspace:edit" }

/// Where to go.
#[derive(Debug, Object)]
struct SwitchWorkspace {
    /// One of the caller's workspaces.
    workspace_id: WorkspaceId,
}

/// The workspace in the path: the one, and no other, that the caller was let into.
fn here(can: &Access, named: WorkspaceId) -> Answer<WorkspaceId> {
    if can.workspace == named { Ok(can.workspace) } else { Err(ApiError::not_found()) }
}

/// What a caller is to the people of the workspace in the path.
fn host<'a>(can: &'a Access, named: WorkspaceId, actor: &'a Actor) -> Answer<Host<'a>> {
    here(can, named)?;
    Ok(Host::new(can.authority(), actor))
}

/// See the module.
struct WorkspacesApi;

#[derive(Tags)]
pub(crate) enum Tag {
    /// Where people work together, and who they are.
    Workspaces,
}

#[OpenApi(prefix_path = "/workspaces", tag = "Tag::Workspaces")]
impl WorkspacesApi {
    /// List the caller's workspaces
    ///
    /// All that they may enter now, by name, each with their role in it: those whose allowlist refuses the caller's
    /// address, or that ask for a more recent sign-in, are left out.
    #[oai(path = "/", method = "get", operation_id = "list_workspaces")]
    async fn list(&self, app: Data<&App>, caller: SignedIn) -> Answer<Json<Whole<Workspace>>> {
        let entered = caller.authorities(&app, None).await?;
        Ok(Json(details::list(&app.database.pool, caller.user, &entered).await?.into()))
    }

    /// Make a workspace of one's own
    ///
    /// It has no recordsets and no records, unless an example is asked for. Waits up to 30 seconds for the job
    /// that makes it, then answers with the job's links, whose COMPLETED event names the workspace. With an
    /// `Idempotency-Key` it answers with the links at once: the answer is kept together with the job.
    #[oai(
        path = "/",
        method = "post",
        operation_id = "create_workspace",
        transform = "unhurried",
        tag = "Fails::LimitExceeded",
        tag = "Fails::RecordNotFound",
        tag = "Fails::UserInactive",
        tag = "Fails::SignupPending",
        tag = "Fails::ProvisioningFailed",
        tag = "Fails::Gone"
    )]
    async fn create(
        &self,
        app: Data<&App>,
        caller: InPerson,
        /// False adds an example of a recordset; true by default.
        skip_seed: Query<Option<bool>>,
        workspace: Body<NewWorkspace>,
    ) -> Answer<WorkspaceAnswer> {
        create::create(&app, &caller, &workspace.0, skip_seed.0.unwrap_or(true)).await
    }

    /// Switch to another workspace
    ///
    /// From now on sign-in and `GET /auth/me` answer it as `current_workspace_id`, and requests of the Platform API
    /// that name no workspace are about it. A request that names one is about that one. Staff who act as the person name
    /// one.
    #[oai(
        path = "/switch",
        method = "post",
        operation_id = "switch_workspace",
        tag = "Fails::RecordNotFound"
    )]
    async fn switch(
        &self,
        app: Data<&App>,
        caller: InPerson,
        switch: Body<SwitchWorkspace>,
    ) -> Answer<Json<Workspace>> {
        let authority = caller.authority_in(&app, switch.workspace_id).await?;
        let switch = async |tx: &mut Tx| details::switch(tx, &authority, caller.user, &caller.actor()).await;
        caller.change_shared(&app, switch).await.map(Json)
    }

    /// Show a workspace
    #[oai(path = "/:workspace_id", method = "get", operation_id = "get_workspace")]
    async fn get(&self, can: Can<ViewWorkspace>, workspace_id: Path<WorkspaceId>) -> Answer<Json<Workspace>> {
        let workspace = here(&can, workspace_id.0)?;
        let mut reader = can.app().database.reader().await?;
        Ok(Json(details::get(reader.conn(), workspace, can.actor().user_id).await?))
    }

    /// Change a workspace
    ///
    /// Its name, its slug, its description and its branding. What is absent stays as it is.
    #[oai(
        path = "/:workspace_id",
        method = "patch",
        operation_id = "update_workspace",
        tag = "Fails::SlugTaken"
    )]
    async fn update(
        &self,
        can: Can<EditWorkspace>,
        workspace_id: Path<WorkspaceId>,
        changes: Body<WorkspaceChanges>,
    ) -> Answer<Json<Workspace>> {
        let workspace = here(&can, workspace_id.0)?;
        can.change_shared(async |tx, _| details::update(tx, workspace, &can.actor(), changes.0).await)
            .await
            .map(Json)
    }
}
