//! Jobs: long work of a workspace, whatever its kind. Ours; the contract's job routes are views of it.

pub(crate) mod selection;

use std::time::Duration;

use api_kit::{
    Access, Answer, ApiError, Body, Can, CappedPage, Fails, JobLogLine, JobStream, JobsFilter, JobsStart,
    JobsStream, JobsStreamUrl, LogStream, NoContent, PageNumber, PageSize, ShownJobEvent, Start, ViewJobs,
    Watcher, page_request, permissions, watching,
};
use chrono::{DateTime, Utc};
use domain::{Acting, page::PageOf};
use jobs::{
    Act, JobId, Tx,
    control::{self, Cancel, CancelAll, Delete, Filter, Prioritize, Retry},
    waiting::{Waiting, why},
    watch::{Event, Snapshot, Status},
};
use poem_openapi::{
    Object, OpenApi, Tags,
    param::{Header, Path, Query},
    payload::Json,
};

use selection::{JobSelection, JobsCancelled};

permissions! {
    CancelJobs = "jobs:cancel",
    RetryJobs = "jobs:retry",
    EditJobs = "jobs:edit",
    DeleteJobs = "jobs:delete",
}

/// The longest that a long poll waits.
const LONGEST_WAIT: u64 = 30;
/// Jobs that one request cancels at the most.
const CANCELLED_AT_MOST: i64 = 10_000;
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
    last_error_message: Option<String>,
    /// Why it is waiting, while it is; only where one job is asked for.
    #[oai(skip_serializing_if_is_none)]
    waiting: Option<Waiting>,
    /// Its events, for `EventSource`: carries a ticket, made for this caller, that reads this one job.
    stream_url: String,
}

impl Job {
    /// A job as it is shown to that caller.
    pub(crate) fn shown(access: &Access, snapshot: Snapshot) -> Self {
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
    /// What the job does, for example `records.import`.
    kind: String,
}

impl ShownJobEvent for JobOfWorkspaceEvent {
    fn of(kind: &str, event: Event) -> Self {
        Self { event, kind: kind.to_owned() }
    }
}

/// Lines of a job's log.
#[derive(Debug, Clone, Object)]
pub struct JobLog {
    /// Oldest first.
    items: Vec<JobLogLine>,
}

/// What to change about a job. What is absent stays.
#[derive(Debug, Object)]
struct JobChanges {
    /// 0 (first) to 9 (last), among the waiting jobs of the workspace in its pool.
    priority: Option<i16>,
}

#[derive(Tags)]
enum Tag {
    /// Long work: watch it, cancel it, try it again.
    Jobs,
}

/// See the module.
pub struct JobsApi;

#[OpenApi(prefix_path = "/jobs", tag = "Tag::Jobs")]
impl JobsApi {
    /// List the workspace's jobs, newest first
    ///
    /// `total` counts up to 10,000 jobs; with more, `total_is_capped` is true.
    #[allow(clippy::too_many_arguments)] // they are what a list can be narrowed by
    #[oai(path = "/", method = "get", operation_id = "list_jobs")]
    async fn list(
        &self,
        can: Can<ViewJobs>,
        /// Only with this status.
        status: Query<Option<Status>>,
        /// Only this kind, for example `records.import`.
        kind: Query<Option<String>>,
        /// Only the children of this job.
        batch_id: Query<Option<JobId>>,
        /// Only those asked for at this time or later.
        since: Query<Option<DateTime<Utc>>>,
        /// Only those asked for before this time.
        until: Query<Option<DateTime<Utc>>>,
        /// Only those with this in their kind, or in what they last said or failed with.
        search: Query<Option<String>>,
        /// Which page, from 1.
        #[oai(default)]
        page: Query<PageNumber>,
        /// Jobs on a page, at most 200.
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
        let filter = filter.without(&can.kinds_denied(Act::View));
        let request = page_request(page.0, page_size.0);
        let workspace = Some(can.workspace.0);
        let (jobs, total) =
            control::list(&can.app().database, workspace, &filter, request.limit, request.offset).await?;
        let page = PageOf { items: jobs.into_iter().map(|job| Job::shown(&can, job)).collect(), total };
        Ok(Json(CappedPage::new(request, page, control::MAX_COUNTED)))
    }

    /// Look at a job, or wait for it to change
    ///
    /// With `since` and `wait`, answers as soon as there is an event after `since`, or when the wait is
    /// over. The answer is the same snapshot, with the same `seq`, that the stream would send.
    #[oai(path = "/:job_id", method = "get", operation_id = "get_job", transform = "watching")]
    async fn get(
        &self,
        can: Can<ViewJobs>,
        job_id: Path<JobId>,
        /// The newest `seq` seen.
        since: Query<Option<i64>>,
        /// Seconds, at most 30.
        wait: Query<Option<u64>>,
    ) -> Answer<Json<Job>> {
        let snapshot = look(&can, job_id.0, since.0, wait.0).await?;
        let waiting = match snapshot.event.status {
            Status::Pending | Status::Queued => why(&can.app().database, snapshot.event.job_id).await?,
            _ => None,
        };
        Ok(Json(Job { waiting, ..Job::shown(&can, snapshot) }))
    }

    /// Get a link to the stream of all jobs
    ///
    /// For `EventSource`, which can't send headers. The ticket in the link is good for 24 hours; an open stream
    /// goes on beyond that.
    #[allow(clippy::unused_async)] // a handler is async
    #[oai(path = "/stream-url", method = "get", operation_id = "get_jobs_stream_url")]
    async fn stream_url(&self, can: Can<ViewJobs>) -> Answer<Json<JobsStreamUrl>> {
        Ok(Json(can.jobs_stream_url()))
    }

    /// Stream the events of all jobs of the workspace
    ///
    /// Server-Sent Events, unnamed, each a job as its newest event shows it. Begins with the newest 100 jobs
    /// that are not over. The id of an event is its place in this stream, by which `Last-Event-ID` resumes;
    /// where what came after it is not kept any more, or the caller may view other kinds of job than before, `GAP`
    /// tells so, and the stream begins anew. For a caller who may not view all kinds the id has a mark after the
    /// number, and `since`, which takes the number alone, is the place of one who may. `seq` is the job's own: an event whose
    /// `seq` is not greater than the last seen of its job comes again. The ticket of
    /// `GET /api/v1/jobs/stream-url` stands in for the headers.
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
        job_id: Path<JobId>,
        /// Begin after this `seq`; 0 for all that is kept.
        since: Query<Option<i64>>,
        /// The id of the last event seen, as `EventSource` sends it.
        #[oai(name = "Last-Event-ID")]
        last_event_id: Header<Option<String>>,
    ) -> Answer<JobStream> {
        let start = Start::asked(last_event_id.as_deref(), since.0);
        watcher.open(job_id.0, start, None).await
    }

    /// Read a job's log
    #[oai(path = "/:job_id/logs", method = "get", operation_id = "list_job_logs", transform = "watching")]
    async fn logs(
        &self,
        can: Can<ViewJobs>,
        job_id: Path<JobId>,
        /// Lines after this one.
        #[oai(default)]
        after: Query<i64>,
    ) -> Answer<Json<JobLog>> {
        let job = find(&can, job_id.0).await?.event.job_id;
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
        transform = "watching"
    )]
    async fn stream_logs(
        &self,
        watcher: Watcher,
        job_id: Path<JobId>,
        /// Lines after this one.
        after: Query<Option<i64>>,
        #[oai(name = "Last-Event-ID")] last_event_id: Header<Option<String>>,
    ) -> Answer<LogStream> {
        let seen = last_event_id.as_deref().and_then(|id| id.trim().parse().ok());
        watcher.open_log(job_id.0, seen.or(after.0)).await
    }

    /// Cancel a job
    ///
    /// A waiting job is over at once. A running one is asked to stop: the answer says
    /// `cancel_requested`, and the end follows within about two seconds.
    #[oai(path = "/:job_id/cancel", method = "post", operation_id = "cancel_job", tag = "Fails::JobOver")]
    async fn cancel(&self, can: Can<CancelJobs>, job_id: Path<JobId>) -> Answer<Json<Job>> {
        let job = job_id.0;
        let before = can.allowed(Act::Cancel, find(&can, job).await?)?;
        Ok(Json(Job::shown(&can, cancel(&can, &before).await?)))
    }

    /// Cancel many jobs
    ///
    /// Waiting ones are over at once, running ones are asked to stop. At most 10,000 at a time, with an
    /// `Idempotency-Key` 1,000; `more` tells whether to call again. Jobs whose kind asks for a permission that the caller lacks are left alone.
    #[oai(path = "/cancel", method = "post", operation_id = "cancel_jobs")]
    async fn cancel_many(
        &self,
        can: Can<CancelJobs>,
        selection: Body<JobSelection>,
    ) -> Answer<Json<JobsCancelled>> {
        let filter = selection.0.into_filter()?.without(&can.kinds_denied(Act::Cancel));
        let (whose, by) = (Some(can.workspace.0), can.origin());
        let all = CancelAll::new(whose, &filter, CANCELLED_AT_MOST, &by);
        Ok(Json(can.change_in_steps(all).await?.into()))
    }

    /// Change a waiting job's priority
    #[oai(path = "/:job_id", method = "patch", operation_id = "update_job", tag = "Fails::JobNotWaiting")]
    async fn update(
        &self,
        can: Can<EditJobs>,
        job_id: Path<JobId>,
        changes: Body<JobChanges>,
    ) -> Answer<Json<Job>> {
        let job = job_id.0;
        let before = find(&can, job).await?;
        let Some(priority) = changes.priority else { return Ok(Json(Job::shown(&can, before))) };
        let before = can.allowed(Act::Start, before)?;
        if !(0..=9).contains(&priority) {
            return Err(ApiError::invalid("priority", "must be a whole number from 0 to 9"));
        }
        let (whose, by) = (Some(can.workspace.0), can.origin());
        let prioritize = async |tx: &mut Tx, _: &Acting<'_>| match control::prioritize(
            tx,
            whose,
            &before.event,
            priority,
            &by,
        )
        .await?
        {
            Prioritize::Done => within(tx, &before).await,
            Prioritize::NotWaiting => {
                Err(ApiError::conflict("job_not_waiting", "the job runs already, or is over"))
            }
            Prioritize::NotFound => Err(ApiError::not_found()),
        };
        Ok(Json(Job::shown(&can, can.change_shared(prioritize).await?)))
    }

    /// Run a failed or cancelled job again
    ///
    /// It goes on after the last batch that it committed.
    #[oai(
        path = "/:job_id/retry",
        method = "post",
        operation_id = "retry_job",
        tag = "Fails::JobNotFailed",
        tag = "Fails::DuplicateJob"
    )]
    async fn retry(&self, can: Can<RetryJobs>, job_id: Path<JobId>) -> Answer<Json<Job>> {
        let job = job_id.0;
        let before = can.allowed(Act::Start, find(&can, job).await?)?;
        let (whose, by) = (Some(can.workspace.0), can.origin());
        let retry = async |tx: &mut Tx, _: &Acting<'_>| match control::retry(tx, whose, job, &by).await? {
            Retry::Queued => within(tx, &before).await,
            Retry::NotOver => {
                Err(ApiError::conflict("job_not_failed", "only a failed or cancelled job can be retried"))
            }
            Retry::Duplicate(other) => {
                Err(ApiError::conflict("duplicate_job", format!("job {other} has taken its place")))
            }
            Retry::NotFound => Err(ApiError::not_found()),
        };
        Ok(Json(Job::shown(&can, can.change_shared(retry).await?)))
    }

    /// Remove a finished job from the history
    #[oai(path = "/:job_id", method = "delete", operation_id = "delete_job", tag = "Fails::JobNotOver")]
    async fn delete(&self, can: Can<DeleteJobs>, job_id: Path<JobId>) -> Answer<NoContent> {
        let job = job_id.0;
        can.allowed(Act::Delete, find(&can, job).await?)?;
        delete(&can, job).await?;
        Ok(NoContent)
    }
}

/// The job as it is, or, given both, as soon as there is an event after `since` or the wait is over.
pub(crate) async fn look(
    access: &Access,
    job: JobId,
    since: Option<i64>,
    wait: Option<u64>,
) -> Answer<Snapshot> {
    let mut snapshot = find(access, job).await?;
    if let (Some(since), Some(seconds)) = (since, wait) {
        let mut watch = access.app().hub.watch(job);
        let admitted = access.admitted_to(&snapshot.kind);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds.min(LONGEST_WAIT));
        while snapshot.event.seq <= since && !snapshot.event.status.is_terminal() {
            let next = tokio::select! {
                next = tokio::time::timeout_at(deadline, watch.next()) => next,
                () = admitted.over() => break,
            };
            match next {
                Ok(Some(event)) if event.seq <= since => continue,
                Ok(Some(_)) => {}
                Ok(None) => watch = access.app().hub.watch(job),
                Err(_) => break,
            }
            snapshot = find(access, job).await?;
        }
        if let Some(ended) = admitted.why() {
            return Err(ended.refusal());
        }
    }
    Ok(snapshot)
}

/// Stops a job of the caller's workspace, and shows it as it is then.
///
/// # Errors
/// 409 for a job that is over.
pub(crate) async fn cancel(access: &Access, before: &Snapshot) -> Answer<Snapshot> {
    let (whose, by) = (Some(access.workspace.0), access.origin());
    let cancel =
        async |tx: &mut Tx, _: &Acting<'_>| match control::cancel(tx, whose, before.event.job_id, &by).await?
        {
            Cancel::Cancelled | Cancel::Requested => within(tx, before).await,
            Cancel::AlreadyOver => Err(ApiError::conflict("job_over", "the job is over")),
            Cancel::NotFound => Err(ApiError::not_found()),
        };
    access.change_shared(cancel).await
}

/// Removes a finished job of the caller's workspace from the history.
///
/// # Errors
/// 409 for a job that is not over.
async fn delete(access: &Access, job: JobId) -> Answer<()> {
    let delete = async |tx: &mut Tx, _: &Acting<'_>| match control::delete(
        tx,
        Some(access.workspace.0),
        job,
        &access.origin(),
    )
    .await?
    {
        Delete::Deleted => Ok(()),
        Delete::NotOver => Err(ApiError::conflict("job_not_over", "the job is not over; cancel it first")),
        Delete::NotFound => Err(ApiError::not_found()),
    };
    access.change_shared(delete).await
}

/// A job as it will be when the transaction commits, which has found it in the caller's workspace.
pub(crate) async fn within(tx: &mut Tx, before: &Snapshot) -> Answer<Snapshot> {
    before.within(tx).await?.ok_or_else(ApiError::not_found)
}

/// The job, if it is one of the caller's workspace and of a kind that they may look at.
pub(crate) async fn find(access: &Access, job: JobId) -> Answer<Snapshot> {
    let found = access.app().hub.snapshot(job).await?;
    let found = found.filter(|snapshot| snapshot.workspace == Some(access.workspace.0));
    access.allowed(Act::View, found.ok_or_else(ApiError::not_found)?)
}
