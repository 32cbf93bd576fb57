//! Jobs: long work of a workspace, whatever its kind. Ours; the contract's job routes are views of it.

use std::time::Duration;

use api_kit::{
    Answer, ApiError, App, Can, JobLogLine, JobStream, LogStream, NoContent, Page, PageNumber, PageSize,
    Start, Tag, ViewJobs, Watcher, page_request, permissions, unhurried,
};
use chrono::{DateTime, Utc};
use domain::page::PageOf;
use jobs::{
    JobId,
    control::{self, Cancel, Delete, Filter, Retry},
    watch::{Event, Snapshot, Status},
};
use poem::web::Data;
use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path, Query},
    payload::Json,
};
use uuid::Uuid;

permissions! { CancelJobs = "jobs:cancel", RetryJobs = "jobs:retry", DeleteJobs = "jobs:delete" }

/// The longest that a long poll waits.
const LONGEST_WAIT: u64 = 30;
/// Log lines in one answer.
const LOG_LINES: i64 = 1000;

/// A job, as its newest event shows it, with what the ledger knows beside.
#[derive(Debug, Clone, Object)]
pub struct Job {
    #[oai(flatten)]
    event: Event,
    /// What it does, for example `records.import`.
    kind: String,
    /// The workers that run it.
    pool: String,
    /// 0 (first) to 9 (last).
    priority: i16,
    /// Attempts that it has altogether.
    max_attempts: i32,
    /// The request that started it.
    #[oai(skip_serializing_if_is_none)]
    request_id: Option<String>,
    /// The W3C trace that it is part of.
    #[oai(skip_serializing_if_is_none)]
    trace_id: Option<String>,
    /// When it becomes, or became, due.
    run_at: DateTime<Utc>,
    /// When it was asked for.
    created_at: DateTime<Utc>,
    /// When its first attempt began.
    #[oai(skip_serializing_if_is_none)]
    started_at: Option<DateTime<Utc>>,
    /// When it ended.
    #[oai(skip_serializing_if_is_none)]
    finished_at: Option<DateTime<Utc>>,
    /// Why its last attempt failed, if one did.
    #[oai(skip_serializing_if_is_none)]
    last_error: Option<String>,
}

impl From<Snapshot> for Job {
    fn from(snapshot: Snapshot) -> Self {
        let message = |error: serde_json::Value| Some(error.get("message")?.as_str()?.to_owned());
        Self {
            event: snapshot.event,
            kind: snapshot.kind,
            pool: snapshot.pool,
            priority: snapshot.priority,
            max_attempts: snapshot.max_attempts,
            request_id: snapshot.origin.request_id,
            trace_id: snapshot.origin.traceparent.map(|parent| parent.trace_id()),
            run_at: snapshot.run_at,
            created_at: snapshot.created_at,
            started_at: snapshot.started_at,
            finished_at: snapshot.finished_at,
            last_error: snapshot.error.and_then(message),
        }
    }
}

/// Lines of a job's log.
#[derive(Debug, Clone, Object)]
pub struct JobLog {
    /// Oldest first.
    items: Vec<JobLogLine>,
}

/// See the module.
pub struct JobsApi;

#[OpenApi(prefix_path = "/jobs", tag = "Tag::Jobs")]
impl JobsApi {
    /// List the workspace's jobs, newest first
    #[oai(path = "/", method = "get", operation_id = "list_jobs")]
    async fn list(
        &self,
        can: Can<ViewJobs>,
        status: Query<Option<Status>>,
        kind: Query<Option<String>>,
        #[oai(default)] page: Query<PageNumber>,
        #[oai(default)] page_size: Query<PageSize>,
    ) -> Answer<Json<Page<Job>>> {
        let filter = Filter { kinds: kind.0.into_iter().collect(), status: status.0 };
        let request = page_request(page.0, page_size.0);
        let workspace = Some(can.workspace.0);
        let (jobs, total) =
            control::list(&can.app().database, workspace, &filter, request.limit, request.offset).await?;
        let page = PageOf { items: jobs.into_iter().map(Job::from).collect(), total };
        Ok(Json(Page::new(request, page)))
    }

    /// Look at a job, or wait for it to change
    ///
    /// With `since` and `wait`, answers as soon as there is an event after `since`, or when the wait is
    /// over. The answer is the same snapshot, with the same `seq`, that the stream would send.
    #[oai(path = "/:job_id", method = "get", operation_id = "get_job", transform = "unhurried")]
    async fn get(
        &self,
        can: Can<ViewJobs>,
        job_id: Path<Uuid>,
        since: Query<Option<i64>>,
        /// Seconds, at most 30.
        wait: Query<Option<u64>>,
    ) -> Answer<Json<Job>> {
        let job = JobId(job_id.0);
        let mut snapshot = find(&can, job).await?;
        if let (Some(since), Some(seconds)) = (since.0, wait.0) {
            let mut watch = can.app().hub.watch(job);
            let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds.min(LONGEST_WAIT));
            while snapshot.event.seq <= since && !snapshot.event.status.is_terminal() {
                match tokio::time::timeout_at(deadline, watch.next()).await {
                    Ok(Some(event)) if event.seq <= since => continue,
                    Ok(Some(_)) => {}
                    Ok(None) => watch = can.app().hub.watch(job),
                    Err(_) => break,
                }
                snapshot = find(&can, job).await?;
            }
        }
        Ok(Json(snapshot.into()))
    }

    /// Stream a job's events
    ///
    /// Server-Sent Events, unnamed, each with its `seq` as id. `Last-Event-ID` resumes; `since=0` sends
    /// all that is kept. The ticket in a job's `stream_url` stands in for the headers.
    #[oai(path = "/:job_id/stream", method = "get", operation_id = "stream_job", transform = "unhurried")]
    async fn stream(
        &self,
        watcher: Watcher,
        job_id: Path<Uuid>,
        since: Query<Option<i64>>,
        #[oai(name = "Last-Event-ID")] last_event_id: Header<Option<String>>,
    ) -> Answer<JobStream> {
        let start = Start::asked(last_event_id.as_deref(), since.0);
        watcher.open(JobId(job_id.0), start, None).await
    }

    /// Read a job's log
    #[oai(path = "/:job_id/logs", method = "get", operation_id = "list_job_logs")]
    async fn logs(
        &self,
        can: Can<ViewJobs>,
        job_id: Path<Uuid>,
        /// Lines after this one.
        #[oai(default)]
        after: Query<i64>,
    ) -> Answer<Json<JobLog>> {
        let job = find(&can, JobId(job_id.0)).await?.event.job_id;
        let lines = control::logs(&can.app().database, job, after.0, LOG_LINES).await?;
        Ok(Json(JobLog { items: lines.into_iter().map(JobLogLine::from).collect() }))
    }

    /// Stream a job's log
    ///
    /// Server-Sent Events, unnamed, each a line with its id as id. Begins with the oldest line, or after
    /// `Last-Event-ID`. Closes after the job's end, which an event with its status and the last line's id
    /// tells. The ticket in a job's `stream_url` stands in for the headers.
    #[oai(
        path = "/:job_id/logs/stream",
        method = "get",
        operation_id = "stream_job_logs",
        transform = "unhurried"
    )]
    async fn stream_logs(
        &self,
        watcher: Watcher,
        job_id: Path<Uuid>,
        /// Lines after this one.
        after: Query<Option<i64>>,
        #[oai(name = "Last-Event-ID")] last_event_id: Header<Option<String>>,
    ) -> Answer<LogStream> {
        let seen = last_event_id.as_deref().and_then(|id| id.trim().parse().ok());
        watcher.open_log(JobId(job_id.0), seen.or(after.0)).await
    }

    /// Cancel a job
    ///
    /// A waiting job is over at once. A running one is asked to stop: the answer says
    /// `cancel_requested`, and the end follows within about two seconds.
    #[oai(path = "/:job_id/cancel", method = "post", operation_id = "cancel_job")]
    async fn cancel(&self, can: Can<CancelJobs>, job_id: Path<Uuid>) -> Answer<Json<Job>> {
        let job = JobId(job_id.0);
        match control::cancel(&can.app().database, Some(can.workspace.0), job).await? {
            Cancel::Cancelled | Cancel::Requested => Ok(Json(find(&can, job).await?.into())),
            Cancel::AlreadyOver => Err(ApiError::conflict("job_over", "the job is over")),
            Cancel::NotFound => Err(ApiError::not_found()),
        }
    }

    /// Run a failed or cancelled job again
    ///
    /// It goes on after the last batch that it committed.
    #[oai(path = "/:job_id/retry", method = "post", operation_id = "retry_job")]
    async fn retry(&self, can: Can<RetryJobs>, job_id: Path<Uuid>) -> Answer<Json<Job>> {
        let job = JobId(job_id.0);
        let mut tx = can.app().database.begin().await?;
        match control::retry(&mut tx, Some(can.workspace.0), job).await? {
            Retry::Queued => tx.commit().await?,
            Retry::NotOver => {
                return Err(ApiError::conflict(
                    "job_not_failed",
                    "only a failed or cancelled job can be retried",
                ));
            }
            Retry::NotFound => return Err(ApiError::not_found()),
        }
        Ok(Json(find(&can, job).await?.into()))
    }

    /// Remove a finished job from the history
    #[oai(path = "/:job_id", method = "delete", operation_id = "delete_job")]
    async fn delete(&self, app: Data<&App>, can: Can<DeleteJobs>, job_id: Path<Uuid>) -> Answer<NoContent> {
        let mut tx = app.database.begin().await?;
        match control::delete(&mut tx, Some(can.workspace.0), JobId(job_id.0)).await? {
            Delete::Deleted => tx.commit().await?,
            Delete::NotOver => {
                return Err(ApiError::conflict("job_not_over", "the job is not over; cancel it first"));
            }
            Delete::NotFound => return Err(ApiError::not_found()),
        }
        Ok(NoContent)
    }
}

/// The job, if it is one of the caller's workspace.
async fn find<P>(can: &Can<P>, job: JobId) -> Answer<Snapshot> {
    can.app()
        .hub
        .snapshot(job)
        .await?
        .filter(|snapshot| snapshot.workspace == Some(can.workspace.0))
        .ok_or_else(ApiError::not_found)
}
