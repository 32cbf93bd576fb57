//! Creating a workspace for another user, by staff.

use api_kit::{Answer, ApiError, App, SignedIn};
use domain::WorkspaceId;
use domain_accounts::{
    signups::{self, NewProvision},
    users,
};
use jobs::Tx;
use poem_openapi::{ApiResponse, Object, payload::Json};

use crate::workspace::auth::{SignupStarted, is_ready};

/// A workspace to create, and its owner.
#[derive(Debug, Object)]
pub struct WorkspaceForOwner {
    /// Email address of the owner.
    pub email: String,
    /// Full name of the owner, for a new account.
    pub full_name: String,
    /// Name of the workspace.
    pub workspace_name: String,
    /// Whether to create the workspace without the example recordset; true by default.
    pub skip_seed: Option<bool>,
}

/// A workspace created for another user.
#[derive(Debug, Object)]
pub struct Provisioned {
    /// Workspace id.
    workspace_id: WorkspaceId,
    /// Workspace name.
    workspace_name: String,
}

/// The answer to provisioning.
#[derive(ApiResponse)]
pub enum ProvisionAnswer {
    /// The workspace, whose owner has been notified by email.
    #[oai(status = 200)]
    Done(Json<Provisioned>),
    /// Links to the job, which is still running.
    #[oai(status = 202)]
    OnItsWay(Json<SignupStarted>),
}

pub(super) async fn provision(
    app: &App,
    caller: &SignedIn,
    workspace: &WorkspaceForOwner,
) -> Answer<ProvisionAnswer> {
    if !users::is_staff(&app.database.pool, caller.user).await? {
        return Err(ApiError::forbidden("this endpoint requires a staff account of the installation"));
    }
    let new = NewProvision {
        email: &workspace.email,
        full_name: &workspace.full_name,
        workspace_name: &workspace.workspace_name,
        skip_seed: workspace.skip_seed.unwrap_or(true),
    };
    let provision = async |tx: &mut Tx| signups::provision(tx, new, &caller.actor()).await;
    let started = caller.change_shared(app, provision).await?;
    if !is_ready(app, &caller.visitor, &started, "provisioning_failed").await? {
        return Ok(ProvisionAnswer::OnItsWay(Json(started.into())));
    }
    let delivered = signups::deliver(&app.database, &started.token).await?;
    let (workspace_id, workspace_name) = (delivered.workspace_id, delivered.workspace_name);
    Ok(ProvisionAnswer::Done(Json(Provisioned { workspace_id, workspace_name })))
}
