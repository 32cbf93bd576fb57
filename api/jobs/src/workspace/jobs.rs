//! Jobs: long-running work of a workspace, of any kind. An addition to the contract, whose job routes are views
//! of it.

pub(crate) mod selection;

use api_kit::{
    Access, ApiError, CappedPage, JobLog, JobOutcome, JobStream, JobsFilter, JobsStart, JobsStream,
    JobsStreamUrl, LogStream, ShownJob, ShownJobEvent, Start, ViewJobs, Watcher, prelude::*, watching,
};
use chrono::{DateTime, Utc};
use jobs::{
    Act, JobId, Origin, Tx,
    control::{self, Filter},
    waiting::{Waiting, why},
    watch::{Event, Snapshot, Status},
};
use poem_openapi::{Object, param::Header};

use selection::{JobSelection, JobsCancelled};

permissions! {
    CancelJobs = "jobs:cancel",
    RetryJobs = "jobs:retry",
    EditJobs = "jobs:edit",
    DeleteJobs = "jobs:delete",
}

/// Maximum number of jobs that one request cancels.
const CANCELLED_AT_MOST: i64 = 10_000;

/// A job: its newest event, with further data from the ledger.
#[derive(Debug, Clone, Object)]
pub struct Job {
    #[oai(flatten)]
    event: Event,
    /// Job kind, for example `records.import`.
    kind: String,
    /// Pool of workers that runs its kind.
    pool: String,
    /// Priority, from 0 (first) to 9 (last).
    priority: i16,
    /// Maximum number of attempts.
    max_attempts: i32,
    /// Id of the request that started the job; null if there was none.
    #[oai(skip_serializing_if_is_none)]
    request_id: Option<String>,
    /// Id of the W3C trace that the job is part of; null if there is none.
    #[oai(skip_serializing_if_is_none)]
    trace_id: Option<String>,
    /// Due time.
    run_at: DateTime<Utc>,
    /// Creation time.
    created_at: DateTime<Utc>,
    /// Start time of the first attempt; null if not started.
    #[oai(skip_serializing_if_is_none)]
    started_at: Option<DateTime<Utc>>,
    /// End time; null if not finished.
    #[oai(skip_serializing_if_is_none)]
    finished_at: Option<DateTime<Utc>>,
    /// Error message of the last failed attempt; null if none has failed.
    #[oai(skip_serializing_if_is_none)]
    last_error_message: Option<String>,
    /// Reason for waiting; null if the job is not waiting. Only in answers about a single job.
    #[oai(skip_serializing_if_is_none)]
    waiting: Option<Waiting>,
    /// URL of the job's events, for `EventSource`: includes a ticket of the caller that is valid for this job only.
    stream_url: String,
}

impl ShownJob for Job {
    fn shown(access: &Access, snapshot: Snapshot) -> Self {
        let stream_url = access.stream_url(snapshot.event.job_id);
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
            last_error_message: snapshot.error.and_then(message),
            waiting: None,
            stream_url,
        }
    }
}

/// An event of one of the workspace's jobs.
#[derive(Debug, Clone, Object)]
struct JobOfWorkspaceEvent {
    #[oai(flatten)]
    event: Event,
    /// Job kind, for example `records.import`.
    kind: String,
}

impl ShownJobEvent for JobOfWorkspaceEvent {
    fn of(kind: &str, event: Event) -> Self {
        Self { event, kind: kind.to_owned() }
    }
}

/// Changes to a job; absent fields stay unchanged.
#[derive(Debug, Object)]
struct JobChanges {
    /// Priority, from 0 (first) to 9 (last), among the waiting jobs of the workspace in its pool.
    priority: Option<i16>,
}

#[derive(Tags)]
enum Tag {
    /// Long-running work: list, follow, cancel and retry it.
    Jobs,
}

/// Routes of the section.
pub struct JobsApi;

#[OpenApi(prefix_path = "/jobs", tag = "Tag::Jobs")]
impl JobsApi {
    /// List the workspace's jobs, newest first
    ///
    /// `total` counts up to 10,000 jobs; with more, `total_is_capped` is true.
    #[allow(clippy::too_many_arguments)] // the filters of the list
    #[oai(path = "/", method = "get", operation_id = "list_jobs")]
    async fn list(
        &self,
        can: Can<ViewJobs>,
        /// Status filter.
        status: Query<Option<Status>>,
        /// Kind filter, for example `records.import`.
        kind: Query<Option<String>>,
        /// Parent filter: id of a batch, for its children only.
        batch_id: Query<Option<JobId>>,
        /// Earliest creation time, inclusive.
        since: Query<Option<DateTime<Utc>>>,
        /// Latest creation time, exclusive.
        until: Query<Option<DateTime<Utc>>>,
        /// Text in the kind, the latest message or the error message.
        search: Query<Option<String>>,
        /// Page number, from 1.
        #[oai(default)]
        page: Query<PageNumber>,
        /// Jobs per page, at most 200.
        #[oai(default)]
        page_size: Query<PageSize>,
    ) -> Answer<Json<CappedPage<Job>>> {
        let filter = Filter {
            kinds: kind.0.into_iter().collect(),
            status: status.0,
            batch: batch_id.0,
            since: since.0,
            until: until.0,
            text: search.0,
            ..Filter::default()
        };
        can.jobs_of_all_kinds().list(filter, page_request(page.0, page_size.0)).await.map(Json)
    }

    /// Show a job, or wait for a change
    ///
    /// With `since` and `wait`, answers as soon as there is an event after `since`, or at the end of the
    /// wait. The answer is the same snapshot, with the same `seq`, that the stream sends.
    #[oai(path = "/:job_id", method = "get", operation_id = "get_job", transform = "watching")]
    async fn get(
        &self,
        can: Can<ViewJobs>,
        job_id: Path<JobId>,
        /// `seq` of the newest event that the client has received.
        since: Query<Option<i64>>,
        /// Maximum wait in seconds, at most 30.
        wait: Query<Option<u64>>,
    ) -> Answer<Json<Job>> {
        let snapshot = can.jobs_of_all_kinds().look(job_id.0, since.0, wait.0).await?;
        let waiting = match snapshot.event.status {
            Status::Pending | Status::Queued => why(&can.app().database, snapshot.event.job_id).await?,
            _ => None,
        };
        Ok(Json(Job { waiting, ..Job::shown(&can, snapshot) }))
    }

    /// Get a link to the stream of all jobs
    ///
    /// For `EventSource`, which cannot send headers. The ticket in the link is valid for 24 hours; an open stream
    /// continues beyond that.
    #[allow(clippy::unused_async)] // a handler is async
    #[oai(path = "/stream-url", method = "get", operation_id = "get_jobs_stream_url")]
    async fn stream_url(&self, can: Can<ViewJobs>) -> Answer<Json<JobsStreamUrl>> {
        Ok(Json(can.jobs_stream_url()))
    }

    /// Stream the events of all jobs of the workspace
    ///
    /// Server-Sent Events, unnamed, each with a job's newest event. Begins with the newest 100 unfinished jobs.
    /// The id of an event is its position in this stream, from which `Last-Event-ID` resumes; if later events
    /// are no longer retained, or the caller may view other job kinds than before, a `GAP` event is sent and
    /// the stream begins anew. For a caller who may not view all kinds, the id has a mark after the number, and
    /// `since`, which takes the number alone, is the position for a caller who may. `seq` is the job's own: an
    /// event whose `seq` is not greater than the last one received of its job is a repetition. The ticket of
    /// `GET /api/v1/jobs/stream-url` replaces the headers.
    #[oai(path = "/stream", method = "get", operation_id = "stream_jobs", transform = "watching")]
    async fn stream_all(
        &self,
        watcher: Watcher,
        /// Kind filter, for example `records.import`.
        kind: Query<Option<String>>,
        /// Status filter.
        status: Query<Option<Status>>,
        /// Number of the event after which to begin.
        since: Query<Option<i64>>,
        /// Id of the last event that the client has received, as `EventSource` sends it.
        #[oai(name = "Last-Event-ID")]
        last_event_id: Header<Option<String>>,
    ) -> Answer<JobsStream<JobOfWorkspaceEvent>> {
        let start = JobsStart::asked(last_event_id.as_deref(), since.0);
        let filter = JobsFilter { kind: kind.0, status: status.0 };
        watcher.open_all(start, filter).await
    }

    /// Stream a job's events
    ///
    /// Server-Sent Events, unnamed, each with its `seq` as id. `Last-Event-ID` resumes; `since=0` sends
    /// all retained events. The ticket in a job's `stream_url` replaces the headers.
    #[oai(path = "/:job_id/stream", method = "get", operation_id = "stream_job", transform = "watching")]
    async fn stream(
        &self,
        watcher: Watcher,
        job_id: Path<JobId>,
        /// `seq` of the event after which to begin; 0 sends all retained events.
        since: Query<Option<i64>>,
        /// Id of the last event that the client has received, as `EventSource` sends it.
        #[oai(name = "Last-Event-ID")]
        last_event_id: Header<Option<String>>,
    ) -> Answer<JobStream> {
        let start = Start::asked(last_event_id.as_deref(), since.0);
        watcher.jobs_of_all_kinds().stream(job_id.0, start).await
    }

    /// List the lines of a job's log
    #[oai(path = "/:job_id/logs", method = "get", operation_id = "list_job_logs", transform = "watching")]
    async fn logs(
        &self,
        can: Can<ViewJobs>,
        job_id: Path<JobId>,
        /// Id of the line after which to begin.
        #[oai(default)]
        after: Query<i64>,
    ) -> Answer<Json<JobLog>> {
        can.jobs_of_all_kinds().log(job_id.0, after.0).await.map(Json)
    }

    /// Stream a job's log
    ///
    /// Server-Sent Events, unnamed, each a line with its id as id. Begins with the oldest line, or after
    /// `Last-Event-ID`. Closes after the job's end, with an event that has the job's status and the last line's id.
    /// The ticket in a job's `stream_url` replaces the headers.
    #[oai(
        path = "/:job_id/logs/stream",
        method = "get",
        operation_id = "stream_job_logs",
        transform = "watching"
    )]
    async fn stream_logs(
        &self,
        watcher: Watcher,
        job_id: Path<JobId>,
        /// Id of the line after which to begin.
        after: Query<Option<i64>>,
        #[oai(name = "Last-Event-ID")] last_event_id: Header<Option<String>>,
    ) -> Answer<LogStream> {
        let seen = last_event_id.as_deref().and_then(|id| id.trim().parse().ok());
        watcher.jobs_of_all_kinds().log(job_id.0, seen.or(after.0)).await
    }

    /// Cancel a job
    ///
    /// A waiting job ends at once. A running job is signalled to stop: the answer has
    /// `cancel_requested`, and the job ends within about two seconds.
    #[oai(path = "/:job_id/cancel", method = "post", operation_id = "cancel_job", tag = "Fails::JobOver")]
    async fn cancel(&self, can: Can<CancelJobs>, job_id: Path<JobId>) -> Answer<Json<Job>> {
        can.jobs_of_all_kinds().cancel(job_id.0).await.map(Json)
    }

    /// Cancel many jobs
    ///
    /// Waiting jobs end at once, running ones receive a cancel request. At most 10,000 at a time, with an
    /// `Idempotency-Key` 1,000; if `more`, call again. Jobs whose kind needs a permission that the caller lacks are skipped.
    #[oai(path = "/cancel", method = "post", operation_id = "cancel_jobs")]
    async fn cancel_many(
        &self,
        can: Can<CancelJobs>,
        selection: Body<JobSelection>,
    ) -> Answer<Json<JobsCancelled>> {
        let filter = selection.0.into_filter()?;
        Ok(Json(can.jobs_of_all_kinds().cancel_all(filter, CANCELLED_AT_MOST).await?.into()))
    }

    /// Change a waiting job's priority
    #[oai(path = "/:job_id", method = "patch", operation_id = "update_job", tag = "Fails::JobNotWaiting")]
    async fn update(
        &self,
        can: Can<EditJobs>,
        job_id: Path<JobId>,
        changes: Body<JobChanges>,
    ) -> Answer<Json<Job>> {
        let jobs = can.jobs_of_all_kinds();
        let Some(priority) = changes.priority else { return jobs.find(job_id.0).await.map(Json) };
        let before = jobs.snapshot(Act::Start, job_id.0).await?;
        if !(0..=9).contains(&priority) {
            return Err(ApiError::invalid("priority", "must be a whole number from 0 to 9"));
        }
        let (owner, seen) = (can.owner(), &before.event);
        let prioritize =
            async |tx: &mut Tx, by: &Origin| control::prioritize(tx, owner, seen, priority, by).await?.done();
        jobs.change(&before, prioritize).await.map(Json)
    }

    /// Retry a failed or cancelled job
    ///
    /// The job resumes after the last batch that it committed.
    #[oai(
        path = "/:job_id/retry",
        method = "post",
        operation_id = "retry_job",
        tag = "Fails::JobNotFailed",
        tag = "Fails::DuplicateJob"
    )]
    async fn retry(&self, can: Can<RetryJobs>, job_id: Path<JobId>) -> Answer<Json<Job>> {
        can.jobs_of_all_kinds().retry(job_id.0).await.map(Json)
    }

    /// Remove a finished job from the history
    #[oai(path = "/:job_id", method = "delete", operation_id = "delete_job", tag = "Fails::JobNotOver")]
    async fn delete(&self, can: Can<DeleteJobs>, job_id: Path<JobId>) -> Answer<NoContent> {
        can.jobs_of_all_kinds().delete(job_id.0).await.map(|()| NoContent)
    }
}
