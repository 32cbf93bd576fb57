//! Creating a workspace for the caller.

use api_kit::{Answer, App, SignedIn};
use domain_accounts::{
    signups::{self, NewOwnedWorkspace},
    workspaces::{Workspace, details},
};
use jobs::Tx;
use poem_openapi::{ApiResponse, Object, payload::Json};

use crate::workspace::auth::{SignupStarted, is_ready};

/// A workspace to create.
#[derive(Debug, Object)]
pub struct NewWorkspace {
    /// Name: one line, at most 200 characters.
    pub name: String,
    /// Code of a payment that was made before its workspace existed, from the email about it. The workspace then
    /// has the plan of that payment. Null creates a workspace on the free plan.
    pub invite_code: Option<String>,
}

/// The answer to the creation of a workspace.
#[derive(ApiResponse)]
pub enum WorkspaceAnswer {
    /// The workspace.
    #[oai(status = 201)]
    Done(Json<Workspace>),
    /// Links to the job, which is still running.
    #[oai(status = 202)]
    OnItsWay(Json<SignupStarted>),
}

pub(in super::super) async fn create(
    app: &App,
    caller: &SignedIn,
    workspace: &NewWorkspace,
    skip_seed: bool,
) -> Answer<WorkspaceAnswer> {
    let at_most = app.config.max_owned_workspaces;
    let new = NewOwnedWorkspace {
        owner: caller.user,
        name: &workspace.name,
        skip_seed,
        at_most,
        invite_code: workspace.invite_code.as_deref(),
    };
    let create = async |tx: &mut Tx| signups::create_workspace(tx, new, &caller.actor()).await;
    let started = caller.change_shared(app, create).await?;
    if !is_ready(app, &caller.visitor, &started, "provisioning_failed").await? {
        return Ok(WorkspaceAnswer::OnItsWay(Json(started.into())));
    }
    let made = details::get(&app.database.pool, started.workspace_id, Some(caller.user)).await?;
    Ok(WorkspaceAnswer::Done(Json(made)))
}
