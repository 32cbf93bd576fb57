//! The doors by which a workspace is made.

mod create;
mod provision;

use api_kit::{Answer, App, Body, SignedIn, Tag, unhurried};
use poem::web::Data;
use poem_openapi::{OpenApi, param::Query};

use create::{NewWorkspace, WorkspaceAnswer};
use provision::{ProvisionAnswer, WorkspaceForOwner};

/// See the module.
pub struct WorkspaceDoorsApi;

#[OpenApi(prefix_path = "/workspaces", tag = "Tag::Workspaces")]
impl WorkspaceDoorsApi {
    /// Make a workspace of one's own
    ///
    /// It has no recordsets and no records, unless an example is asked for. Waits up to 30 seconds for the job that makes it, then answers with
    /// the job's links, whose COMPLETED event names the workspace. With an `Idempotency-Key` it answers with the
    /// links at once: the answer is kept together with the job.
    #[oai(path = "/", method = "post", operation_id = "create_workspace", transform = "unhurried")]
    async fn create(
        &self,
        app: Data<&App>,
        caller: SignedIn,
        /// False adds an example of a recordset; true by default.
        skip_seed: Query<Option<bool>>,
        workspace: Body<NewWorkspace>,
    ) -> Answer<WorkspaceAnswer> {
        create::create(&app, &caller, &workspace.0, skip_seed.0.unwrap_or(true)).await
    }

    /// Make a workspace for somebody, as staff
    ///
    /// The owner's account is made when there is none with that address; they are then mailed a link, good for
    /// seven days, to choose a password with. Waits up to 30 seconds for the job, then answers with its links;
    /// with an `Idempotency-Key` at once.
    #[oai(
        path = "/provision",
        method = "post",
        operation_id = "provision_workspace",
        transform = "unhurried"
    )]
    async fn provision(
        &self,
        app: Data<&App>,
        caller: SignedIn,
        workspace: Body<WorkspaceForOwner>,
    ) -> Answer<ProvisionAnswer> {
        provision::provision(&app, &caller, &workspace.0).await
    }
}
