//! Limits: how many jobs may run at once, and how many may start in a period.

use domain::WorkspaceId;
use std::time::Duration;

use api_kit::{Answer, ApiError, Body, NoContent, Operator};
use jobs::{
    LimitId,
    limits::{self, Limit, NewLimit, Scope},
};
use poem_openapi::{Object, OpenApi, Tags, param::Path, payload::Json};

use crate::pauses::{refuse_unknown_kind, refuse_unknown_workspace};

/// A limit to set, in place of the one of the same scope, workspace and kind. It needs `max_running`, or
/// `max_starts` with `per_seconds`, or all three.
#[derive(Debug, Clone, Object)]
struct LimitToSet {
    /// Whose jobs it counts together.
    scope: Scope,
    /// The workspace it is for, with scope `workspace`. Without it, for every workspace that has none of its
    /// own for the same kind.
    workspace_id: Option<WorkspaceId>,
    /// The kind it counts; without one, all kinds together.
    #[oai(validator(min_length = 1, max_length = 100))]
    kind: Option<String>,
    /// Jobs that may run at once.
    #[oai(validator(minimum(value = "0")))]
    max_running: Option<i32>,
    /// Jobs that may start in a period.
    #[oai(validator(minimum(value = "0")))]
    max_starts: Option<i32>,
    /// That period: up to 31 days. It begins with its first start.
    #[oai(validator(minimum(value = "1"), maximum(value = "2678400")))]
    per_seconds: Option<u32>,
}

/// Every limit.
#[derive(Debug, Clone, Object)]
struct Limits {
    /// Those of the installation first.
    items: Vec<Limit>,
}

#[derive(Tags)]
enum Tag {
    /// How many jobs may run at once, and start in a period.
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
    /// Jobs that run already go on, also when they are more than it allows.
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
        return Err(ApiError::invalid("workspace_id", "only goes with the scope workspace"));
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
