//! Pauses: of a pool, a kind or a workspace, or of a combination of them.

use api_kit::{Answer, ApiError, Body, Created, NoContent, Operator};
use domain::{Text, WorkspaceId};
use domain_accounts::tenants;
use jobs::{
    PauseId, Pool,
    pauses::{self, NewPause, Pause},
};
use poem_openapi::{Object, OpenApi, Tags, param::Path, payload::Json};

/// A pause to set, for the jobs that match everything that is given. At least one of `pool`, `kind` and
/// `workspace_id` is required.
#[derive(Debug, Clone, Object)]
struct PauseToSet {
    /// Pool of the paused jobs; null for all pools.
    pool: Option<Pool>,
    /// Kind of the paused jobs; null for all kinds.
    #[oai(validator(min_length = 1, max_length = 100))]
    kind: Option<String>,
    /// Workspace of the paused jobs; null for all workspaces. The nil id stands for the installation's own jobs.
    workspace_id: Option<WorkspaceId>,
    /// Reason; null if none is given.
    reason: Option<Text<1000>>,
    /// Name of the operator, which the operator's token does not identify; null if none is given.
    paused_by: Option<Text<200>>,
}

/// All pauses.
#[derive(Debug, Clone, Object)]
struct Pauses {
    /// Pauses, the oldest first.
    items: Vec<Pause>,
}

#[derive(Tags)]
enum Tag {
    /// Jobs that are kept from starting for now.
    Pauses,
}

pub(crate) struct PausesApi;

/// A name that no kind has would silently pause, or limit, nothing.
pub(crate) async fn refuse_unknown_kind(operator: &Operator, kind: Option<&str>) -> Answer<()> {
    match kind {
        Some(kind) if !pauses::is_kind(operator.database(), kind).await? => {
            Err(ApiError::invalid("kind", "is not the name of a job kind"))
        }
        _ => Ok(()),
    }
}

/// An id that no workspace has would silently pause, or limit, nothing.
pub(crate) async fn refuse_unknown_workspace(
    operator: &Operator,
    workspace: Option<WorkspaceId>,
) -> Answer<()> {
    match workspace {
        Some(workspace) if !tenants::is_known(operator.database(), workspace).await? => {
            Err(ApiError::invalid("workspace_id", "is not the id of a workspace"))
        }
        _ => Ok(()),
    }
}

#[OpenApi(prefix_path = "/pauses", tag = "Tag::Pauses")]
impl PausesApi {
    /// List the pauses
    #[oai(path = "/", method = "get", operation_id = "list_pauses")]
    async fn list(&self, operator: Operator) -> Answer<Json<Pauses>> {
        Ok(Json(Pauses { items: pauses::list(operator.database()).await? }))
    }

    /// Pause a pool, a kind or a workspace
    ///
    /// Matching jobs wait; running jobs continue. Pausing what is paused already answers the existing pause.
    #[oai(path = "/", method = "post", operation_id = "create_pause")]
    async fn create(&self, operator: Operator, pause: Body<PauseToSet>) -> Answer<Created<Pause>> {
        let PauseToSet { pool, kind, workspace_id, reason, paused_by } = pause.0;
        if pool.is_none() && kind.is_none() && workspace_id.is_none() {
            return Err(ApiError::invalid("body", "must have pool, kind or workspace_id"));
        }
        refuse_unknown_kind(&operator, kind.as_deref()).await?;
        refuse_unknown_workspace(&operator, workspace_id).await?;
        let new = NewPause {
            pool,
            kind,
            tenant: workspace_id.map(|id| id.0),
            reason: reason.map(String::from),
            paused_by: paused_by.map(String::from),
        };
        let by = operator.origin();
        operator.change_shared(async |tx| pauses::pause(tx, &new, &by).await).await.map(Created)
    }

    /// Remove a pause
    #[oai(path = "/:pause_id", method = "delete", operation_id = "delete_pause")]
    async fn delete(&self, operator: Operator, pause_id: Path<PauseId>) -> Answer<NoContent> {
        let by = operator.origin();
        let lifted = operator.change_shared(async |tx| pauses::resume(tx, *pause_id, &by).await).await?;
        lifted.then_some(NoContent).ok_or_else(ApiError::not_found)
    }
}
