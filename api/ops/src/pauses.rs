//! Pauses: of a pool, a kind or a workspace, or of what matches several of them.

use api_kit::{Answer, ApiError, Body, Created, NoContent, Operator};
use domain::{Text, WorkspaceId};
use domain_accounts::tenants;
use jobs::{
    PauseId, Pool,
    pauses::{self, NewPause, Pause},
};
use poem_openapi::{Object, OpenApi, Tags, param::Path, payload::Json};

/// What to pause: jobs that match everything that is set. At least one of `pool`, `kind` and
/// `workspace_id` is.
#[derive(Debug, Clone, Object)]
struct PauseToSet {
    /// Only jobs of this pool.
    pool: Option<Pool>,
    /// Only jobs of this kind.
    #[oai(validator(min_length = 1, max_length = 100))]
    kind: Option<String>,
    /// Only jobs of this workspace; all zeros: of the installation itself.
    workspace_id: Option<WorkspaceId>,
    /// Why.
    reason: Option<Text<1000>>,
    /// Who; the operator's token doesn't tell.
    paused_by: Option<Text<200>>,
}

/// What is paused.
#[derive(Debug, Clone, Object)]
struct Pauses {
    /// Oldest first.
    items: Vec<Pause>,
}

#[derive(Tags)]
enum Tag {
    /// What is not to begin for now.
    Pauses,
}

pub(crate) struct PausesApi;

/// A name that no job has would pause, or limit, nothing without a word.
pub(crate) async fn refuse_unknown_kind(operator: &Operator, kind: Option<&str>) -> Answer<()> {
    match kind {
        Some(kind) if !pauses::is_kind(operator.database(), kind).await? => {
            Err(ApiError::invalid("kind", "is not the name of a kind of job"))
        }
        _ => Ok(()),
    }
}

/// Nor is there such a workspace: a mistyped id would hold up nothing without a word.
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
    /// List what is paused
    #[oai(path = "/", method = "get", operation_id = "list_pauses")]
    async fn list(&self, operator: Operator) -> Answer<Json<Pauses>> {
        Ok(Json(Pauses { items: pauses::list(operator.database()).await? }))
    }

    /// Pause a pool, a kind or a workspace
    ///
    /// Jobs that match wait; those that run go on. What is paused already stays so, under its old id.
    #[oai(path = "/", method = "post", operation_id = "create_pause")]
    async fn create(&self, operator: Operator, pause: Body<PauseToSet>) -> Answer<Created<Pause>> {
        let PauseToSet { pool, kind, workspace_id, reason, paused_by } = pause.0;
        if pool.is_none() && kind.is_none() && workspace_id.is_none() {
            return Err(ApiError::invalid("body", "needs a pool, a kind or a workspace_id"));
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

    /// Lift a pause
    #[oai(path = "/:pause_id", method = "delete", operation_id = "delete_pause")]
    async fn delete(&self, operator: Operator, pause_id: Path<PauseId>) -> Answer<NoContent> {
        let by = operator.origin();
        let lifted = operator.change_shared(async |tx| pauses::resume(tx, *pause_id, &by).await).await?;
        lifted.then_some(NoContent).ok_or_else(ApiError::not_found)
    }
}
