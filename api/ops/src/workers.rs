//! Workers: the worker processes and their jobs; pausing, resuming and draining one.

use api_kit::{Answer, ApiError, Fails, Operator};
use jobs::{
    WorkerId,
    roster::{self, Ask, Asked, Worker},
};
use poem_openapi::{Object, OpenApi, Tags, param::Path, payload::Json};

/// All worker processes.
#[derive(Debug, Clone, Object)]
struct Workers {
    /// Workers, the longest-running first.
    items: Vec<Worker>,
}

#[derive(Tags)]
enum Tag {
    /// Processes that run jobs.
    Workers,
}

pub(crate) struct WorkersApi;

#[OpenApi(prefix_path = "/workers", tag = "Tag::Workers")]
impl WorkersApi {
    /// List the worker processes
    ///
    /// A worker that exited in good order is removed at once; one that crashed stays listed, not `live`, for an hour.
    #[oai(path = "/", method = "get", operation_id = "list_workers")]
    async fn list(&self, operator: Operator) -> Answer<Json<Workers>> {
        Ok(Json(Workers { items: roster::list(operator.database()).await? }))
    }

    /// Pause a worker
    ///
    /// The worker accepts no further jobs; running jobs continue. Takes effect at once, or within a third of its lease.
    #[oai(
        path = "/:worker_id/pause",
        method = "post",
        operation_id = "pause_worker",
        tag = "Fails::WorkerLeaving"
    )]
    async fn pause(&self, operator: Operator, worker_id: Path<WorkerId>) -> Answer<Json<Worker>> {
        ask(&operator, *worker_id, Some(Asked::Pause)).await
    }

    /// Resume a paused worker
    #[oai(
        path = "/:worker_id/resume",
        method = "post",
        operation_id = "resume_worker",
        tag = "Fails::WorkerLeaving"
    )]
    async fn resume(&self, operator: Operator, worker_id: Path<WorkerId>) -> Answer<Json<Worker>> {
        ask(&operator, *worker_id, None).await
    }

    /// Drain a worker
    ///
    /// As on SIGTERM: it accepts no further jobs, hands back jobs with checkpoints, lets the others continue for its
    /// grace period, and exits with 0. A supervisor that restarts every exited process will start it again.
    #[oai(
        path = "/:worker_id/drain",
        method = "post",
        operation_id = "drain_worker",
        tag = "Fails::WorkerLeaving"
    )]
    async fn drain(&self, operator: Operator, worker_id: Path<WorkerId>) -> Answer<Json<Worker>> {
        ask(&operator, *worker_id, Some(Asked::Drain)).await
    }
}

async fn ask(operator: &Operator, worker: WorkerId, asked: Option<Asked>) -> Answer<Json<Worker>> {
    let by = operator.origin();
    match operator.change_shared(async |tx| roster::ask(tx, worker, asked, &by).await).await? {
        Ask::Told(worker) => Ok(Json(*worker)),
        Ask::Leaving => Err(ApiError::conflict("worker_leaving", "the worker is draining")),
        Ask::NotFound => Err(ApiError::not_found()),
    }
}
