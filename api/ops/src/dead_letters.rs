//! Dead letters of all workspaces. They are retried as any failed job is; discarding them is left to their
//! workspace.

use api_kit::{Answer, Operator};
use domain::WorkspaceId;
use jobs::{JobId, Owner, Pool, operator::Filter};
use poem_openapi::{OpenApi, Tags, param::Query, payload::Json};

use crate::jobs::{Jobs, part};

#[derive(Tags)]
enum Tag {
    /// Jobs that have failed finally: diagnose and retry them.
    #[oai(rename = "Dead Letters")]
    DeadLetters,
}

pub(crate) struct DeadLettersApi;

#[OpenApi(prefix_path = "/dead-letters", tag = "Tag::DeadLetters")]
impl DeadLettersApi {
    /// List the dead letters of all workspaces, newest first
    ///
    /// Jobs that have failed finally and have not been discarded.
    #[oai(path = "/", method = "get", operation_id = "list_all_dead_letters")]
    async fn list(
        &self,
        operator: Operator,
        /// Workspace filter; the nil id stands for the installation's own jobs.
        workspace_id: Query<Option<WorkspaceId>>,
        pool: Query<Option<Pool>>,
        kind: Query<Option<String>>,
        /// Id of a job: only jobs that were enqueued before it.
        before: Query<Option<JobId>>,
        /// Maximum number of jobs in the answer: 50 by default, at most 200.
        limit: Query<Option<i64>>,
    ) -> Answer<Json<Jobs>> {
        let filter = Filter {
            owner: workspace_id.0.map(|id| Owner::of_tenant(id.0)),
            pool: pool.0,
            kind: kind.0,
            dead: true,
            before: before.0,
            ..Filter::default()
        };
        Ok(Json(part(&operator, &filter, limit.0).await?))
    }
}
