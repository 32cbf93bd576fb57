//! Shares: the weights of workspaces in a busy pool.

use api_kit::{Answer, ApiError, Body, NoContent, Operator};
use domain::WorkspaceId;
use domain_accounts::tenants;
use jobs::shares::{self, Share};
use poem_openapi::{Object, OpenApi, Tags, param::Path, payload::Json};

/// A workspace's weight.
#[derive(Debug, Clone, Object)]
struct Weight {
    /// Weight, from 1, the default, to 1,000.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
    weight: i32,
}

/// All shares that were set.
#[derive(Debug, Clone, Object)]
struct Shares {
    /// Shares, the largest first.
    items: Vec<Share>,
}

#[derive(Tags)]
enum Tag {
    /// Shares of workspaces in a busy pool.
    Shares,
}

pub(crate) struct SharesApi;

#[OpenApi(prefix_path = "/shares", tag = "Tag::Shares")]
impl SharesApi {
    /// List the shares that were set
    #[oai(path = "/", method = "get", operation_id = "list_shares")]
    async fn list(&self, operator: Operator) -> Answer<Json<Shares>> {
        Ok(Json(Shares { items: shares::list(operator.database()).await? }))
    }

    /// Set a workspace's share
    #[oai(path = "/:workspace_id", method = "put", operation_id = "set_share")]
    async fn put(
        &self,
        operator: Operator,
        /// Workspace id; the nil id stands for the installation's own jobs.
        workspace_id: Path<WorkspaceId>,
        weight: Body<Weight>,
    ) -> Answer<Json<Share>> {
        if !tenants::is_known(operator.database(), *workspace_id).await? {
            return Err(ApiError::not_found());
        }
        let (by, weight) = (operator.origin(), weight.weight);
        operator
            .change_shared(async |tx| shares::put(tx, workspace_id.0.0, weight, &by).await)
            .await
            .map(Json)
    }

    /// Reset a workspace's share to the default
    #[oai(path = "/:workspace_id", method = "delete", operation_id = "delete_share")]
    async fn delete(
        &self,
        operator: Operator,
        /// Workspace id; the nil id stands for the installation's own jobs.
        workspace_id: Path<WorkspaceId>,
    ) -> Answer<NoContent> {
        let by = operator.origin();
        let gone = operator.change_shared(async |tx| shares::delete(tx, workspace_id.0.0, &by).await).await?;
        gone.then_some(NoContent).ok_or_else(ApiError::not_found)
    }
}
