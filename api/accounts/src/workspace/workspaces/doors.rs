//! Creating workspaces: for the caller, and by staff for another user.

pub(super) mod create;
mod provision;

use api_kit::{Answer, App, Body, Fails, InPerson, no_deadline};
use poem::web::Data;
use poem_openapi::OpenApi;

use provision::{ProvisionAnswer, WorkspaceForOwner};

use super::Tag;

/// Routes for staff; [`create`] is the section's own, since it shares its path with the list.
pub struct ProvisionApi;

#[OpenApi(prefix_path = "/workspaces", tag = "Tag::Workspaces")]
impl ProvisionApi {
    /// Create a workspace for another user, as staff
    ///
    /// The owner's account is created when no account has the email address; it is then sent a link, valid for
    /// seven days, to choose a password. Waits up to 30 seconds for the job; after that, answers with its links;
    /// with an `Idempotency-Key` at once.
    #[oai(
        path = "/provision",
        method = "post",
        operation_id = "provision_workspace",
        transform = "no_deadline",
        tag = "Fails::UserInactive",
        tag = "Fails::AddressNotVerified",
        tag = "Fails::SignupPending",
        tag = "Fails::ProvisioningFailed"
    )]
    async fn provision(
        &self,
        app: Data<&App>,
        caller: InPerson,
        workspace: Body<WorkspaceForOwner>,
    ) -> Answer<ProvisionAnswer> {
        provision::provision(&app, &caller, &workspace.0).await
    }
}
