//! Jobs on the Platform API: the targets of the links in answers that start jobs. An addition to the contract; the
//! same jobs as the Workspace API's, with ids in this surface's form.

use api_kit::{
    Access, Answer, Can, Fails, JobStarted, JobStream, JobsFilter, JobsStart, JobsStream, JobsStreamUrl,
    ShownEvent, ShownJob, ShownJobEvent, Start, TypeId, ViewJobs, Watcher, Wrapped, watching, with_type_ids,
};
use chrono::{DateTime, Utc};
use jobs::{
    JobId,
    watch::{Counts, Event, Snapshot, Status},
};
use poem_openapi::{
    Object, OpenApi, Tags,
    param::{Header, Path, Query},
    payload::Json,
};
use serde_json::{Value, json};

use crate::workspace::jobs::CancelJobs;

/// A started job, and its links.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
#[oai(rename = "JobStarted")]
pub struct StartedJob {
    /// Job id.
    pub job_id: TypeId<JobId>,
    /// URL of the job's snapshot, for polling.
    pub status_url: String,
    /// URL of the job's events, for `EventSource`: includes a ticket that is valid for this job only.
    pub stream_url: String,
}

impl StartedJob {
    /// Links to a job for the caller that started it.
    #[must_use]
    pub fn new(access: &Access, job: JobId) -> Self {
        let JobStarted { job_id, status_url, stream_url } = access.job_started(job);
        Self { job_id: TypeId(job_id), status_url, stream_url }
    }
}

/// An event in a job's sequence. A snapshot is the newest event, complete.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
struct JobEvent {
    /// Job id.
    job_id: TypeId<JobId>,
    /// Job status as of this event.
    status: Status,
    /// Progress in percent, 0–100; never decreases within a run.
    progress: i32,
    /// Description of the current step; null if there is none.
    current_step: Option<String>,
    /// Numbers of processed items so far.
    counts: Counts,
    /// Recent rate in items per second; null if not known.
    rate: Option<f64>,
    /// Estimated remaining time in seconds at the present rate; null if not known.
    eta_seconds: Option<i64>,
    /// Message for display; null if there is none.
    message: Option<String>,
    /// Whether cancellation was requested and is about to take effect.
    cancel_requested: bool,
    /// Number of the running or latest attempt; 0 before the first.
    attempt: i32,
    /// Result; null unless the status is COMPLETED.
    result: Option<Value>,
    /// Stable error code; null unless the status is FAILED.
    error_code: Option<String>,
    /// Error message; null unless the status is FAILED.
    error_message: Option<String>,
    /// Time of the event.
    timestamp: DateTime<Utc>,
    /// Sequence number of the event; strictly increasing within a job.
    seq: i64,
    /// Sequence number of the event before this one, by which a reader detects a gap.
    prev: i64,
}

impl From<Event> for JobEvent {
    fn from(event: Event) -> Self {
        Self {
            job_id: TypeId(event.job_id),
            status: event.status,
            progress: event.progress,
            current_step: event.current_step,
            counts: event.counts,
            rate: event.rate,
            eta_seconds: event.eta_seconds,
            message: event.message,
            cancel_requested: event.cancel_requested,
            attempt: event.attempt,
            result: event.result.map(|result| with_type_ids(result, None)),
            error_code: event.error_code,
            error_message: event.error_message,
            timestamp: event.timestamp,
            seq: event.seq,
            prev: event.prev,
        }
    }
}

impl ShownEvent for JobEvent {
    fn job_id(job: JobId) -> Value {
        json!(TypeId(job).to_string())
    }
}

/// A job: its newest event, with further data from the ledger.
#[derive(Debug, Clone, Object)]
struct Job {
    #[oai(flatten)]
    event: JobEvent,
    /// Job kind, for example `records.import`.
    kind: String,
    /// Id of the request that started the job; null if there was none.
    #[oai(skip_serializing_if_is_none)]
    request_id: Option<String>,
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
    /// URL of the job's events, for `EventSource`: includes a ticket of the caller that is valid for this job only.
    stream_url: String,
}

impl ShownJob for Job {
    fn shown(access: &Access, snapshot: Snapshot) -> Self {
        Self {
            stream_url: access.stream_url(snapshot.event.job_id),
            event: snapshot.event.into(),
            kind: snapshot.kind,
            request_id: snapshot.origin.request_id,
            run_at: snapshot.run_at,
            created_at: snapshot.created_at,
            started_at: snapshot.started_at,
            finished_at: snapshot.finished_at,
        }
    }
}

/// An event of one of the workspace's jobs.
#[derive(Debug, Clone, Object)]
struct JobOfWorkspaceEvent {
    #[oai(flatten)]
    event: JobEvent,
    /// Job kind, for example `records.import`.
    kind: String,
}

impl ShownJobEvent for JobOfWorkspaceEvent {
    fn of(kind: &str, event: Event) -> Self {
        Self { event: event.into(), kind: kind.to_owned() }
    }
}

#[derive(Tags)]
enum Tag {
    /// Long-running work: list, follow, cancel and retry it.
    Jobs,
}

/// Routes of the section.
pub struct JobsApi;

#[OpenApi(prefix_path = "/v1/jobs", tag = "Tag::Jobs")]
impl JobsApi {
    /// Show a job, or wait for a change
    ///
    /// With `since` and `wait`, answers as soon as there is an event after `since`, or at the end of the
    /// wait. The answer is the same snapshot, with the same `seq`, that the stream sends.
    #[oai(path = "/:job_id", method = "get", operation_id = "get_job", transform = "watching")]
    async fn get(
        &self,
        can: Can<ViewJobs>,
        job_id: Path<TypeId<JobId>>,
        /// `seq` of the newest event that the client has received.
        since: Query<Option<i64>>,
        /// Maximum wait in seconds, at most 30.
        wait: Query<Option<u64>>,
    ) -> Wrapped<Job> {
        let job = can.jobs_of_all_kinds().look(job_id.0.0, since.0, wait.0).await?;
        Ok(Json(can.wrap(Job::shown(&can, job))))
    }

    /// Get a link to the stream of all jobs
    ///
    /// For `EventSource`, which cannot send headers. The ticket in the link is valid for 24 hours; an open stream
    /// continues beyond that.
    #[allow(clippy::unused_async)] // a handler is async
    #[oai(path = "/stream-url", method = "get", operation_id = "get_jobs_stream_url")]
    async fn stream_url(&self, can: Can<ViewJobs>) -> Wrapped<JobsStreamUrl> {
        Ok(Json(can.wrap(can.jobs_stream_url())))
    }

    /// Stream the events of all jobs of the workspace
    ///
    /// Server-Sent Events, unnamed, each with a job's newest event. Begins with the newest 100 unfinished jobs.
    /// The id of an event is its position in this stream, from which `Last-Event-ID` resumes; if later events
    /// are no longer retained, or the caller may view other job kinds than before, a `GAP` event is sent and
    /// the stream begins anew. For a caller who may not view all kinds, the id has a mark after the number, and
    /// `since`, which takes the number alone, is the position for a caller who may. `seq` is the job's own: an
    /// event whose `seq` is not greater than the last one received of its job is a repetition. The ticket of
    /// `GET /v1/jobs/stream-url` replaces the headers.
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
        job_id: Path<TypeId<JobId>>,
        since: Query<Option<i64>>,
        #[oai(name = "Last-Event-ID")] last_event_id: Header<Option<String>>,
    ) -> Answer<JobStream<JobEvent>> {
        let start = Start::asked(last_event_id.as_deref(), since.0);
        watcher.jobs_of_all_kinds().stream(job_id.0.0, start).await
    }

    /// Cancel a job
    ///
    /// A waiting job ends at once. A running job is signalled to stop: the answer has
    /// `cancel_requested`, and the job ends within about two seconds.
    #[oai(path = "/:job_id/cancel", method = "post", operation_id = "cancel_job", tag = "Fails::JobOver")]
    async fn cancel(&self, can: Can<CancelJobs>, job_id: Path<TypeId<JobId>>) -> Wrapped<Job> {
        Ok(Json(can.wrap(can.jobs_of_all_kinds().cancel(job_id.0.0).await?)))
    }
}
