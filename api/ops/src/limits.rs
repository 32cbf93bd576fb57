//! Limits: numbers of jobs that may run at once, and that may start in a period.

use domain::WorkspaceId;
use std::time::Duration;

use api_kit::{Answer, ApiError, Body, NoContent, Operator};
use jobs::{
    LimitId,
    limits::{self, Limit, NewLimit, Scope},
};
use poem_openapi::{Object, OpenApi, Tags, param::Path, payload::Json};

use crate::pauses::{refuse_unknown_kind, refuse_unknown_workspace};

/// A limit to set; replaces the one with the same scope, workspace and kind. It needs `max_running`, or
/// `max_starts` with `per_seconds`, or all three.
#[derive(Debug, Clone, Object)]
struct LimitToSet {
    /// Scope: the jobs that are counted together.
    scope: Scope,
    /// Workspace id, with scope `workspace`. Null: for every workspace that has no limit of its
    /// own for the same kind.
    workspace_id: Option<WorkspaceId>,
    /// Job kind that is counted; null counts all kinds together.
    #[oai(validator(min_length = 1, max_length = 100))]
    kind: Option<String>,
    /// Maximum number of jobs that run at once; null for no limit.
    #[oai(validator(minimum(value = "0")))]
    max_running: Option<i32>,
    /// Maximum number of jobs that start in a period; null for no limit.
    #[oai(validator(minimum(value = "0")))]
    max_starts: Option<i32>,
    /// Length of the period in seconds, up to 31 days. A period begins with its first start.
    #[oai(validator(minimum(value = "1"), maximum(value = "2678400")))]
    per_seconds: Option<u32>,
}

/// All limits.
#[derive(Debug, Clone, Object)]
struct Limits {
    /// Limits, those of the installation first.
    items: Vec<Limit>,
}

#[derive(Tags)]
enum Tag {
    /// Maximum numbers of jobs that run at once, and that start in a period.
    Limits,
}

pub(crate) struct LimitsApi;

#[OpenApi(prefix_path = "/limits", tag = "Tag::Limits")]
impl LimitsApi {
    /// List the limits
    #[oai(path = "/", method = "get", operation_id = "list_limits")]
    async fn list(&self, operator: Operator) -> Answer<Json<Limits>> {
        Ok(Json(Limits { items: limits::list(operator.database()).await? }))
    }

    /// Set a limit
    ///
    /// Running jobs continue, even if they exceed the limit.
    #[oai(path = "/", method = "put", operation_id = "set_limit")]
    async fn put(&self, operator: Operator, limit: Body<LimitToSet>) -> Answer<Json<Limit>> {
        let limit = checked(&operator, limit.0).await?;
        let by = operator.origin();
        operator.change_shared(async |tx| limits::put(tx, &limit, &by).await).await.map(Json)
    }

    /// Remove a limit
    #[oai(path = "/:limit_id", method = "delete", operation_id = "delete_limit")]
    async fn delete(&self, operator: Operator, limit_id: Path<LimitId>) -> Answer<NoContent> {
        let by = operator.origin();
        let gone = operator.change_shared(async |tx| limits::delete(tx, *limit_id, &by).await).await?;
        gone.then_some(NoContent).ok_or_else(ApiError::not_found)
    }
}

async fn checked(operator: &Operator, limit: LimitToSet) -> Result<NewLimit, ApiError> {
    let LimitToSet { scope, workspace_id, kind, max_running, max_starts, per_seconds } = limit;
    if scope == Scope::Installation && workspace_id.is_some() {
        return Err(ApiError::invalid("workspace_id", "is only valid with the scope workspace"));
    }
    let starts = match (max_starts, per_seconds) {
        (Some(starts), Some(seconds)) => Some((starts, Duration::from_secs(seconds.into()))),
        (None, None) if max_running.is_some() => None,
        (None, None) => return Err(ApiError::missing(["max_running"])),
        (Some(_), None) => return Err(ApiError::missing(["per_seconds"])),
        (None, Some(_)) => return Err(ApiError::missing(["max_starts"])),
    };
    refuse_unknown_kind(operator, kind.as_deref()).await?;
    refuse_unknown_workspace(operator, workspace_id).await?;
    Ok(NewLimit { scope, tenant: workspace_id.map(|id| id.0), kind, max_running, starts })
}
