//! Workers: who is there, with what in hand; and asking one to pause, to go on, or to leave.

use api_kit::{Answer, ApiError, Fails, Operator};
use jobs::{
    WorkerId,
    roster::{self, Ask, Asked, Worker},
};
use poem_openapi::{Object, OpenApi, Tags, param::Path, payload::Json};

/// Every worker process.
#[derive(Debug, Clone, Object)]
struct Workers {
    /// The longest-serving first.
    items: Vec<Worker>,
}

#[derive(Tags)]
enum Tag {
    /// The processes that run jobs.
    Workers,
}

pub(crate) struct WorkersApi;

#[OpenApi(prefix_path = "/workers", tag = "Tag::Workers")]
impl WorkersApi {
    /// List the worker processes
    ///
    /// One that left in good order is gone at once; one that died stays, not `live`, for an hour.
    #[oai(path = "/", method = "get", operation_id = "list_workers")]
    async fn list(&self, operator: Operator) -> Answer<Json<Workers>> {
        Ok(Json(Workers { items: roster::list(operator.database()).await? }))
    }

    /// Have a worker take nothing more
    ///
    /// Jobs in hand go on. It hears of it at once, or within a third of its lease.
    #[oai(
        path = "/:worker_id/pause",
        method = "post",
        operation_id = "pause_worker",
        tag = "Fails::WorkerLeaving"
    )]
    async fn pause(&self, operator: Operator, worker_id: Path<WorkerId>) -> Answer<Json<Worker>> {
        ask(&operator, *worker_id, Some(Asked::Pause)).await
    }

    /// Have a paused worker go on
    #[oai(
        path = "/:worker_id/resume",
        method = "post",
        operation_id = "resume_worker",
        tag = "Fails::WorkerLeaving"
    )]
    async fn resume(&self, operator: Operator, worker_id: Path<WorkerId>) -> Answer<Json<Worker>> {
        ask(&operator, *worker_id, None).await
    }

    /// Have a worker leave
    ///
    /// As on SIGTERM: it takes nothing more, hands back what has checkpoints, lets the rest go on for its
    /// grace period, and exits with 0. A supervisor that restarts whatever exits will start it again.
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
        Ask::Leaving => Err(ApiError::conflict("worker_leaving", "the worker has been asked to leave")),
        Ask::NotFound => Err(ApiError::not_found()),
    }
}
