//! Workspaces: contract section "Workspaces" (W-WS). The caller's workspaces, their names,
//! and the current one; [`invitations`] and [`members`] are about their people.

mod creation;
mod invitations;
mod members;

use api_kit::{Access, ApiError, App, InPerson, SignedIn, no_deadline, prelude::*};
use domain::{Actor, WorkspaceId};
use domain_accounts::workspaces::{Host, Workspace, WorkspaceChanges, details};
use jobs::Tx;
use poem::web::Data;
use poem_openapi::Object;

use creation::create::{self, NewWorkspace, WorkspaceAnswer};

/// The whole section.
pub fn api() -> impl OpenApi + 'static {
    (WorkspacesApi, creation::ProvisionApi, invitations::InvitationsApi, members::MembersApi)
}

permissions! { ViewWorkspace = "workspace:view", EditWorkspace = "workspace:edit" }

/// A switch to another workspace.
#[derive(Debug, Object)]
struct SwitchWorkspace {
    /// Id of one of the caller's workspaces.
    workspace_id: WorkspaceId,
}

/// The workspace in the path: only the one that the caller has entered.
fn here(can: &Access, named: WorkspaceId) -> Answer<WorkspaceId> {
    if can.workspace == named { Ok(can.workspace) } else { Err(ApiError::not_found()) }
}

/// The caller's role towards the members of the workspace in the path.
fn host<'a>(can: &'a Access, named: WorkspaceId, actor: &'a Actor) -> Answer<Host<'a>> {
    here(can, named)?;
    Ok(Host::new(can.authority(), actor))
}

/// Routes of the section.
struct WorkspacesApi;

#[derive(Tags)]
pub(crate) enum Tag {
    /// Workspaces, their members and invitations.
    Workspaces,
}

#[OpenApi(prefix_path = "/workspaces", tag = "Tag::Workspaces")]
impl WorkspacesApi {
    /// List the caller's workspaces
    ///
    /// All workspaces that the caller may enter now, sorted by name, each with the caller's role: workspaces whose
    /// allowlist excludes the caller's address, or that need a more recent sign-in, are left out.
    #[oai(path = "/", method = "get", operation_id = "list_workspaces")]
    async fn list(&self, app: Data<&App>, caller: SignedIn) -> Answer<Json<Whole<Workspace>>> {
        let entered = caller.authorities(&app, None).await?;
        Ok(Json(details::list(&app.database.pool, caller.user, &entered).await?.into()))
    }

    /// Create a workspace
    ///
    /// The new workspace has no recordsets and no records, unless an example is requested. Waits up to 30
    /// seconds for the job that creates it; after that, answers with the job's links, whose COMPLETED event
    /// names the workspace. With an `Idempotency-Key` it answers with the links at once: the answer is stored
    /// together with the job.
    #[oai(
        path = "/",
        method = "post",
        operation_id = "create_workspace",
        transform = "no_deadline",
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
        /// Whether to create the workspace without the example recordset; true by default.
        skip_seed: Query<Option<bool>>,
        workspace: Body<NewWorkspace>,
    ) -> Answer<WorkspaceAnswer> {
        create::create(&app, &caller, &workspace.0, skip_seed.0.unwrap_or(true)).await
    }

    /// Switch to another workspace
    ///
    /// From now on sign-in and `GET /auth/me` answer it as `current_workspace_id`, and requests of the Platform
    /// API that name no workspace concern it. A request that names a workspace concerns that one. Staff acting as
    /// the user must name one.
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
    /// Name, slug, description and branding; absent fields stay unchanged.
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
