//! Jobs of all workspaces: list, cancel and retry them.

use api_kit::{Answer, ApiError, Fails, JobOutcome, Operator};
use domain::WorkspaceId;
use jobs::{
    JobId, Owner, Pool, Tx,
    operator::{self, Filter, Job},
    watch::Status,
};
use poem_openapi::{
    Object, OpenApi, Tags,
    param::{Path, Query},
    payload::Json,
};
use uuid::Uuid;

/// Default and maximum number of jobs in one answer.
const JOBS: (i64, i64) = (50, 200);

/// A page of the list of jobs.
#[derive(Debug, Clone, Object)]
pub(crate) struct Jobs {
    /// Jobs, the newest first.
    items: Vec<Job>,
    /// Value of `before` for the next page; absent on the last page.
    #[oai(skip_serializing_if_is_none)]
    next: Option<JobId>,
}

#[derive(Tags)]
enum Tag {
    /// Long-running work: list, cancel and retry it.
    Jobs,
}

pub(crate) struct JobsApi;

#[OpenApi(prefix_path = "/jobs", tag = "Tag::Jobs")]
impl JobsApi {
    /// List jobs of all workspaces, newest first
    #[oai(path = "/", method = "get", operation_id = "list_all_jobs")]
    #[allow(clippy::too_many_arguments)] // the parameters of the query
    async fn list(
        &self,
        operator: Operator,
        /// Workspace filter; the nil id stands for the installation's own jobs.
        workspace_id: Query<Option<WorkspaceId>>,
        pool: Query<Option<Pool>>,
        kind: Query<Option<String>>,
        status: Query<Option<Status>>,
        /// Worker filter: id of the worker that runs the jobs.
        worker_id: Query<Option<Uuid>>,
        /// Id of a job: only jobs that were enqueued before it.
        before: Query<Option<JobId>>,
        /// Maximum number of jobs in the answer: 50 by default, at most 200.
        limit: Query<Option<i64>>,
    ) -> Answer<Json<Jobs>> {
        let filter = Filter {
            job: None,
            owner: workspace_id.0.map(|id| Owner::of_tenant(id.0)),
            pool: pool.0,
            kind: kind.0,
            status: status.0,
            worker: worker_id.0,
            dead: false,
            before: before.0,
        };
        Ok(Json(part(&operator, &filter, limit.0).await?))
    }

    /// Show a job
    #[oai(path = "/:job_id", method = "get", operation_id = "get_any_job")]
    async fn get(&self, operator: Operator, job_id: Path<JobId>) -> Answer<Json<Job>> {
        let job = operator::get(operator.database(), job_id.0).await?;
        job.map(Json).ok_or_else(ApiError::not_found)
    }

    /// Cancel a job
    ///
    /// A waiting job ends at once. A running job is signalled to stop, and ends within about two seconds.
    #[oai(path = "/:job_id/cancel", method = "post", operation_id = "cancel_any_job", tag = "Fails::JobOver")]
    async fn cancel(&self, operator: Operator, job_id: Path<JobId>) -> Answer<Json<Job>> {
        let job = job_id.0;
        let cancel = async |tx: &mut Tx| {
            operator::cancel(tx, job, &operator.origin()).await?.done()?;
            within(tx, job).await
        };
        operator.change_shared(cancel).await.map(Json)
    }

    /// Retry a failed or cancelled job
    #[oai(
        path = "/:job_id/retry",
        method = "post",
        operation_id = "retry_any_job",
        tag = "Fails::JobNotFailed",
        tag = "Fails::DuplicateJob"
    )]
    async fn retry(&self, operator: Operator, job_id: Path<JobId>) -> Answer<Json<Job>> {
        let job = job_id.0;
        let retry = async |tx: &mut Tx| {
            operator::retry(tx, job, &operator.origin()).await?.done()?;
            within(tx, job).await
        };
        operator.change_shared(retry).await.map(Json)
    }
}

/// A page of those jobs, and the position of the next.
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

/// The job as it will be at the transaction's commit.
async fn within(tx: &mut Tx, job: JobId) -> Answer<Job> {
    operator::get_within(tx.conn(), job).await?.ok_or_else(ApiError::not_found)
}
