//! Making a workspace for somebody, which is for staff.

use api_kit::{Answer, ApiError, App, SignedIn};
use domain::WorkspaceId;
use domain_accounts::{
    signups::{self, NewProvision},
    users,
};
use jobs::Tx;
use poem_openapi::{ApiResponse, Object, payload::Json};

use crate::workspace::auth::{SignupStarted, is_ready};

/// A workspace to make, and whose it will be.
#[derive(Debug, Object)]
pub struct WorkspaceForOwner {
    /// The owner's address.
    pub email: String,
    /// What the owner is called, if they have no account yet.
    pub full_name: String,
    /// What the workspace will be called.
    pub workspace_name: String,
    /// False adds an example of a recordset; true by default.
    pub skip_seed: Option<bool>,
}

/// A workspace made for a person.
#[derive(Debug, Object)]
pub struct Provisioned {
    /// The workspace.
    workspace_id: WorkspaceId,
    /// What it is called.
    workspace_name: String,
}

/// What provisioning answers.
#[derive(ApiResponse)]
pub enum ProvisionAnswer {
    /// The workspace is there, and its owner has been written to.
    #[oai(status = 200)]
    Done(Json<Provisioned>),
    /// It takes longer: watch it.
    #[oai(status = 202)]
    OnItsWay(Json<SignupStarted>),
}

pub(super) async fn provision(
    app: &App,
    caller: &SignedIn,
    workspace: &WorkspaceForOwner,
) -> Answer<ProvisionAnswer> {
    if !users::is_staff(&app.database.pool, caller.user).await? {
        return Err(ApiError::forbidden("this is for the installation's staff"));
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
