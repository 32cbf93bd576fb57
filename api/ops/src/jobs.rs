//! Jobs of every workspace: find them, cancel them, try them again.

use api_kit::{Answer, ApiError, Fails, Operator};
use domain::WorkspaceId;
use jobs::{
    JobId, Pool, Tx,
    control::{Cancel, Retry},
    operator::{self, Filter, Job},
    watch::Status,
};
use poem_openapi::{
    Object, OpenApi, Tags,
    param::{Path, Query},
    payload::Json,
};
use uuid::Uuid;

/// Jobs in one answer unless asked otherwise, and at the most.
const JOBS: (i64, i64) = (50, 200);

/// A part of the list of jobs.
#[derive(Debug, Clone, Object)]
pub(crate) struct Jobs {
    /// Newest first.
    items: Vec<Job>,
    /// Ask for `before` this one to go on; absent at the end.
    #[oai(skip_serializing_if_is_none)]
    next: Option<JobId>,
}

#[derive(Tags)]
enum Tag {
    /// Long work: watch it, cancel it, try it again.
    Jobs,
}

pub(crate) struct JobsApi;

#[OpenApi(prefix_path = "/jobs", tag = "Tag::Jobs")]
impl JobsApi {
    /// List jobs of all workspaces, newest first
    #[oai(path = "/", method = "get", operation_id = "list_all_jobs")]
    #[allow(clippy::too_many_arguments)] // each is a parameter of the query
    async fn list(
        &self,
        operator: Operator,
        /// Only of this workspace; all zeros: the installation's own.
        workspace_id: Query<Option<WorkspaceId>>,
        pool: Query<Option<Pool>>,
        kind: Query<Option<String>>,
        status: Query<Option<Status>>,
        /// Only in the hands of this worker.
        worker_id: Query<Option<Uuid>>,
        /// Only those enqueued before this one.
        before: Query<Option<JobId>>,
        /// 50, and at the most 200.
        limit: Query<Option<i64>>,
    ) -> Answer<Json<Jobs>> {
        let filter = Filter {
            job: None,
            tenant: workspace_id.0.map(|id| id.0),
            pool: pool.0,
            kind: kind.0,
            status: status.0,
            worker: worker_id.0,
            dead: false,
            before: before.0,
        };
        Ok(Json(part(&operator, &filter, limit.0).await?))
    }

    /// Look at a job
    #[oai(path = "/:job_id", method = "get", operation_id = "get_any_job")]
    async fn get(&self, operator: Operator, job_id: Path<JobId>) -> Answer<Json<Job>> {
        let job = operator::get(operator.database(), job_id.0).await?;
        job.map(Json).ok_or_else(ApiError::not_found)
    }

    /// Cancel a job
    ///
    /// A waiting job is over at once. A running one is asked to stop, and ends within about two seconds.
    #[oai(path = "/:job_id/cancel", method = "post", operation_id = "cancel_any_job", tag = "Fails::JobOver")]
    async fn cancel(&self, operator: Operator, job_id: Path<JobId>) -> Answer<Json<Job>> {
        let job = job_id.0;
        let cancel = async |tx: &mut Tx| match operator::cancel(tx, job, &operator.origin()).await? {
            Cancel::Cancelled | Cancel::Requested => within(tx, job).await,
            Cancel::AlreadyOver => Err(ApiError::conflict("job_over", "the job is over")),
            Cancel::NotFound => Err(ApiError::not_found()),
        };
        operator.change_shared(cancel).await.map(Json)
    }

    /// Run a failed or cancelled job again
    #[oai(
        path = "/:job_id/retry",
        method = "post",
        operation_id = "retry_any_job",
        tag = "Fails::JobNotFailed",
        tag = "Fails::DuplicateJob"
    )]
    async fn retry(&self, operator: Operator, job_id: Path<JobId>) -> Answer<Json<Job>> {
        let job = job_id.0;
        let retry = async |tx: &mut Tx| match operator::retry(tx, job, &operator.origin()).await? {
            Retry::Queued => within(tx, job).await,
            Retry::NotOver => {
                Err(ApiError::conflict("job_not_failed", "only a failed or cancelled job can be retried"))
            }
            Retry::Duplicate(other) => {
                Err(ApiError::conflict("duplicate_job", format!("job {other} has taken its place")))
            }
            Retry::NotFound => Err(ApiError::not_found()),
        };
        operator.change_shared(retry).await.map(Json)
    }
}

/// So many of those jobs, and where to go on.
pub(crate) async fn part(operator: &Operator, filter: &Filter, limit: Option<i64>) -> Answer<Jobs> {
    let limit = limit.unwrap_or(JOBS.0).clamp(1, JOBS.1);
    let mut items = operator::list(operator.database(), filter, limit + 1).await?;
    let more = i64::try_from(items.len()).is_ok_and(|found| found > limit);
    if more {
        items.pop();
    }
    let next = items.last().filter(|_| more).map(|job| job.job_id);
    Ok(Jobs { items, next })
}

/// The job as it will be when the transaction commits.
async fn within(tx: &mut Tx, job: JobId) -> Answer<Job> {
    operator::get_within(tx.conn(), job).await?.ok_or_else(ApiError::not_found)
}
