//! Jobs on the Platform API: what the links of an answer that starts one lead to. Ours; the same jobs as
//! the Workspace API's, with ids as this surface shows them.

use api_kit::{
    Access, Answer, Can, Fails, JobStarted, JobStream, JobsFilter, JobsStart, JobsStream, JobsStreamUrl,
    ShownEvent, ShownJobEvent, Start, TypeId, ViewJobs, Watcher, Wrapped, watching, with_type_ids,
};
use chrono::{DateTime, Utc};
use jobs::{
    Act, JobId,
    watch::{Counts, Event, Snapshot, Status},
};
use poem_openapi::{
    Object, OpenApi, Tags,
    param::{Header, Path, Query},
    payload::Json,
};
use serde_json::{Value, json};

use crate::workspace::jobs::{CancelJobs, cancel, find, look};

/// A job that a request started, and where to watch it.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
#[oai(rename = "JobStarted")]
pub struct StartedJob {
    /// The job.
    pub job_id: TypeId<JobId>,
    /// Its snapshot, for polling.
    pub status_url: String,
    /// Its events, for `EventSource`: carries a ticket that reads this one job.
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

/// One event of a job's sequence. A snapshot is the newest event, whole.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
struct JobEvent {
    /// The job.
    job_id: TypeId<JobId>,
    /// Its status with this event.
    status: Status,
    /// Percent, 0–100; never goes back within a run.
    progress: i32,
    /// What it is doing, for people.
    current_step: Option<String>,
    /// Items so far.
    counts: Counts,
    /// Items a second, lately.
    rate: Option<f64>,
    /// Seconds until the end, if it goes on like this.
    eta_seconds: Option<i64>,
    /// A sentence for people.
    message: Option<String>,
    /// Someone has asked the job to stop, and it is about to.
    cancel_requested: bool,
    /// The attempt that is running or ran last; 0 before the first.
    attempt: i32,
    /// With COMPLETED: what came of it.
    result: Option<Value>,
    /// With FAILED: a stable code, for programs.
    error_code: Option<String>,
    /// With FAILED: why, for people.
    error_message: Option<String>,
    /// When the event was made.
    timestamp: DateTime<Utc>,
    /// Strictly increases within a job.
    seq: i64,
    /// The `seq` of the event before it, by which a reader notices a hole.
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

/// A job, as its newest event shows it, with what the ledger knows beside.
#[derive(Debug, Clone, Object)]
struct Job {
    #[oai(flatten)]
    event: JobEvent,
    /// What it does, for example `records.import`.
    kind: String,
    /// The request that started it.
    #[oai(skip_serializing_if_is_none)]
    request_id: Option<String>,
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
    /// Its events, for `EventSource`: carries a ticket, made for this caller, that reads this one job.
    stream_url: String,
}

impl Job {
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
    /// What the job does, for example `records.import`.
    kind: String,
}

impl ShownJobEvent for JobOfWorkspaceEvent {
    fn of(kind: &str, event: Event) -> Self {
        Self { event: event.into(), kind: kind.to_owned() }
    }
}

#[derive(Tags)]
enum Tag {
    /// Long work: watch it, cancel it, try it again.
    Jobs,
}

/// See the module.
pub struct JobsApi;

#[OpenApi(prefix_path = "/v1/jobs", tag = "Tag::Jobs")]
impl JobsApi {
    /// Look at a job, or wait for it to change
    ///
    /// With `since` and `wait`, answers as soon as there is an event after `since`, or when the wait is
    /// over. The answer is the same snapshot, with the same `seq`, that the stream would send.
    #[oai(path = "/:job_id", method = "get", operation_id = "get_job", transform = "watching")]
    async fn get(
        &self,
        can: Can<ViewJobs>,
        job_id: Path<TypeId<JobId>>,
        since: Query<Option<i64>>,
        /// Seconds, at most 30.
        wait: Query<Option<u64>>,
    ) -> Wrapped<Job> {
        Ok(Json(can.wrap(Job::shown(&can, look(&can, job_id.0.0, since.0, wait.0).await?))))
    }

    /// Get a link to the stream of all jobs
    ///
    /// For `EventSource`, which can't send headers. The ticket in the link is good for 24 hours; an open stream
    /// goes on beyond that.
    #[allow(clippy::unused_async)] // a handler is async
    #[oai(path = "/stream-url", method = "get", operation_id = "get_jobs_stream_url")]
    async fn stream_url(&self, can: Can<ViewJobs>) -> Wrapped<JobsStreamUrl> {
        Ok(Json(can.wrap(can.jobs_stream_url())))
    }

    /// Stream the events of all jobs of the workspace
    ///
    /// Server-Sent Events, unnamed, each a job as its newest event shows it. Begins with the newest 100 jobs
    /// that are not over. The id of an event is its place in this stream, by which `Last-Event-ID` resumes;
    /// where what came after it is not kept any more, or the caller may view other kinds of job than before, `GAP`
    /// tells so, and the stream begins anew. For a caller who may not view all kinds the id has a mark after the
    /// number, and `since`, which takes the number alone, is the place of one who may. `seq` is the job's own: an event whose
    /// `seq` is not greater than the last seen of its job comes again. The ticket of
    /// `GET /v1/jobs/stream-url` stands in for the headers.
    #[oai(path = "/stream", method = "get", operation_id = "stream_jobs", transform = "watching")]
    async fn stream_all(
        &self,
        watcher: Watcher,
        /// Only of this kind, for example `records.import`.
        kind: Query<Option<String>>,
        /// Only events with this status.
        status: Query<Option<Status>>,
        /// Begin after the event whose id has this number.
        since: Query<Option<i64>>,
        /// The id of the last event seen, as `EventSource` sends it.
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
    /// all that is kept. The ticket in a job's `stream_url` stands in for the headers.
    #[oai(path = "/:job_id/stream", method = "get", operation_id = "stream_job", transform = "watching")]
    async fn stream(
        &self,
        watcher: Watcher,
        job_id: Path<TypeId<JobId>>,
        since: Query<Option<i64>>,
        #[oai(name = "Last-Event-ID")] last_event_id: Header<Option<String>>,
    ) -> Answer<JobStream<JobEvent>> {
        let start = Start::asked(last_event_id.as_deref(), since.0);
        watcher.open(job_id.0.0, start, None).await
    }

    /// Cancel a job
    ///
    /// A waiting job is over at once. A running one is asked to stop: the answer says
    /// `cancel_requested`, and the end follows within about two seconds.
    #[oai(path = "/:job_id/cancel", method = "post", operation_id = "cancel_job", tag = "Fails::JobOver")]
    async fn cancel(&self, can: Can<CancelJobs>, job_id: Path<TypeId<JobId>>) -> Wrapped<Job> {
        let job = job_id.0.0;
        let before = can.allowed(Act::Cancel, find(&can, job).await?)?;
        Ok(Json(can.wrap(Job::shown(&can, cancel(&can, &before).await?))))
    }
}
