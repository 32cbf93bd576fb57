//! Dead letters of every workspace. They are tried again as any failed job is; putting them away is their
//! workspace's business.

use api_kit::{Answer, Operator};
use domain::WorkspaceId;
use jobs::{JobId, Pool, operator::Filter};
use poem_openapi::{OpenApi, Tags, param::Query, payload::Json};

use crate::jobs::{Jobs, part};

#[derive(Tags)]
enum Tag {
    /// Jobs that have failed for good: look why, try again, or put away.
    #[oai(rename = "Dead Letters")]
    DeadLetters,
}

pub(crate) struct DeadLettersApi;

#[OpenApi(prefix_path = "/dead-letters", tag = "Tag::DeadLetters")]
impl DeadLettersApi {
    /// List the dead letters of all workspaces, newest first
    ///
    /// Jobs that have failed for good and that nobody has put away.
    #[oai(path = "/", method = "get", operation_id = "list_all_dead_letters")]
    async fn list(
        &self,
        operator: Operator,
        /// Only of this workspace; all zeros: the installation's own.
        workspace_id: Query<Option<WorkspaceId>>,
        pool: Query<Option<Pool>>,
        kind: Query<Option<String>>,
        /// Only those enqueued before this one.
        before: Query<Option<JobId>>,
        /// 50, and at the most 200.
        limit: Query<Option<i64>>,
    ) -> Answer<Json<Jobs>> {
        let filter = Filter {
            tenant: workspace_id.0.map(|id| id.0),
            pool: pool.0,
            kind: kind.0,
            dead: true,
            before: before.0,
            ..Filter::default()
        };
        Ok(Json(part(&operator, &filter, limit.0).await?))
    }
}
