//! The doors by which a workspace is made: by its owner, and by staff for somebody.

pub(super) mod create;
mod provision;

use api_kit::{Answer, App, Body, Fails, InPerson, unhurried};
use poem::web::Data;
use poem_openapi::OpenApi;

use provision::{ProvisionAnswer, WorkspaceForOwner};

use super::Tag;

/// What staff does; [`create`] is the section's own, since it shares its path with the list.
pub struct ProvisionApi;

#[OpenApi(prefix_path = "/workspaces", tag = "Tag::Workspaces")]
impl ProvisionApi {
    /// Make a workspace for a person, as staff
    ///
    /// The owner's account is made when there is none with that address; they are then mailed a link, good for
    /// seven days, to choose a password with. Waits up to 30 seconds for the job, then answers with its links;
    /// with an `Idempotency-Key` at once.
    #[oai(
        path = "/provision",
        method = "post",
        operation_id = "provision_workspace",
        transform = "unhurried",
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
