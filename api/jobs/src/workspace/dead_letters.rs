//! Dead letters: jobs of the workspace that have failed finally. An addition to the contract; the Platform API has
//! them as its section DLQ.

use api_kit::{
    Access, Answer, ApiError, Body, Can, Fails, JobLogLine, JobOutcome, NoContent, Page, PageNumber,
    PageSize, ShownJob, page_request, permissions,
};
use chrono::{DateTime, Utc};
use domain::page::PageOf;
use jobs::{
    Act, JobId, Origin, Surface, Tx,
    control::{self, Retry},
    dead_letters::{self, DiscardAll, DiscardedAll, Filter, RetriedAll, RetryAll},
};
use poem_openapi::{
    Object, OpenApi, Tags,
    param::{Path, Query},
    payload::Json,
};
use serde_json::Value;
use uuid::Uuid;

use super::jobs::{Job, RetryJobs, selection::nothing_said};

permissions! { ViewDeadLetters = "dead_letters:view", DiscardDeadLetters = "dead_letters:discard" }

/// Approximate maximum number of dead letters that one request moves.
const MAX_AT_ONCE: i64 = 10_000;
/// Number of log lines, the newest, shown with a dead letter.
const LOG_LINES: i64 = 100;

/// A job that has failed finally.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct DeadLetter {
    /// Job id.
    job_id: JobId,
    /// Job kind, for example `records.import`.
    kind: String,
    /// Pool of workers that runs its kind.
    pool: String,
    /// Priority, from 0 (first) to 9 (last).
    priority: i16,
    /// Stable error code.
    error_code: String,
    /// Error message.
    error_message: String,
    /// Number of attempts so far.
    attempts: i32,
    /// Maximum number of attempts.
    max_attempts: i32,
    /// Number of consecutive worker crashes while the job ran.
    crashes: i32,
    /// Id of the batch, which is its parent job; null if it is not in one.
    batch_id: Option<JobId>,
    /// Id of the request that started the job; null if there was none.
    request_id: Option<String>,
    /// Creation time.
    created_at: DateTime<Utc>,
    /// Start time of the first attempt; null if not started.
    started_at: Option<DateTime<Utc>>,
    /// Time of the final failure.
    failed_at: DateTime<Utc>,
    /// URL of the job's events, for `EventSource`: includes a ticket of the caller that is valid for this job only.
    stream_url: String,
}

impl DeadLetter {
    fn shown(access: &Access, dead_letter: dead_letters::DeadLetter) -> Self {
        Self {
            stream_url: access.stream_url(dead_letter.id),
            job_id: dead_letter.id,
            kind: dead_letter.kind,
            pool: dead_letter.pool,
            priority: dead_letter.priority,
            error_code: dead_letter.code,
            error_message: dead_letter.message,
            attempts: dead_letter.attempts,
            max_attempts: dead_letter.max_attempts,
            crashes: dead_letter.crashes,
            batch_id: dead_letter.batch,
            request_id: dead_letter.origin.request_id,
            created_at: dead_letter.created_at,
            started_at: dead_letter.started_at,
            failed_at: dead_letter.failed_at,
        }
    }
}

/// A dead letter with the details for diagnosing it.
#[derive(Debug, Clone, Object)]
pub struct DeadLetterDetail {
    #[oai(flatten)]
    dead_letter: DeadLetter,
    /// Payload in the shape of its kind and version, for callers who may start jobs of its kind; null for
    /// others. Secrets are replaced by `***`.
    #[oai(skip_serializing_if_is_none)]
    payload: Option<Value>,
    /// Version of the payload's shape.
    version: i16,
    /// Id of the requester, a user or an API key; null if there is none.
    #[oai(skip_serializing_if_is_none)]
    actor_id: Option<Uuid>,
    /// Type of the requester.
    actor_type: String,
    /// API surface of the request: `workspace` or `platform`.
    surface: String,
    /// Newest lines of its log, the oldest of them first.
    log: Vec<JobLogLine>,
}

/// The selected dead letters: those that match all given filters.
#[derive(Debug, Object)]
struct DeadLetterSelection {
    /// Kind filter, for example `records.import`.
    kind: Option<String>,
    /// Error code filter.
    error_code: Option<String>,
    /// Earliest time of the failure, inclusive.
    since: Option<DateTime<Utc>>,
    /// Latest time of the failure, exclusive.
    until: Option<DateTime<Utc>>,
    /// Whether all dead letters of the workspace are selected. Must be true if no filter is given.
    #[oai(default)]
    all: bool,
}

impl DeadLetterSelection {
    fn into_filter(self) -> Answer<Filter> {
        let Self { kind, error_code, since, until, all } = self;
        let says_which = kind.is_some() || error_code.is_some() || since.is_some() || until.is_some();
        if !says_which && !all {
            return Err(nothing_said());
        }
        let (kinds, codes) = (kind.into_iter().collect(), error_code.into_iter().collect());
        Ok(Filter { kinds, except: Vec::new(), codes, since, until })
    }
}

/// Result of retrying many dead letters.
#[derive(Debug, Object)]
struct DeadLettersRetried {
    /// Number of jobs that wait again.
    retried: i64,
    /// Number of dead letters that were not retried because another job does the same work.
    duplicates: i64,
    /// Whether there may be more; repeat the request then, with another `Idempotency-Key` if it had one.
    more: bool,
}

/// Result of discarding many dead letters.
#[derive(Debug, Object)]
struct DeadLettersDiscarded {
    /// Number of discarded dead letters.
    discarded: i64,
    /// Whether there may be more; repeat the request then, with another `Idempotency-Key` if it had one.
    more: bool,
}

#[derive(Tags)]
enum Tag {
    /// Jobs that have failed finally: diagnose, retry or discard them.
    #[oai(rename = "Dead Letters")]
    DeadLetters,
}

/// Routes of the section.
pub struct DeadLettersApi;

#[OpenApi(prefix_path = "/dead-letters", tag = "Tag::DeadLetters")]
impl DeadLettersApi {
    /// List the workspace's dead letters, the latest first
    #[allow(clippy::too_many_arguments)] // the filters of the list
    #[oai(path = "/", method = "get", operation_id = "list_dead_letters")]
    async fn list(
        &self,
        can: Can<ViewDeadLetters>,
        /// Kind filter, for example `records.import`.
        kind: Query<Option<String>>,
        /// Error code filter.
        error_code: Query<Option<String>>,
        /// Earliest time of the failure, inclusive.
        since: Query<Option<DateTime<Utc>>>,
        /// Latest time of the failure, exclusive.
        until: Query<Option<DateTime<Utc>>>,
        /// Page number, from 1.
        #[oai(default)]
        page: Query<PageNumber>,
        /// Dead letters per page, at most 200.
        #[oai(default)]
        page_size: Query<PageSize>,
    ) -> Answer<Json<Page<DeadLetter>>> {
        let filter = Filter {
            kinds: kind.0.into_iter().collect(),
            codes: error_code.0.into_iter().collect(),
            since: since.0,
            until: until.0,
            ..Filter::default()
        };
        let filter = filter.without(&can.kinds_denied(Act::View));
        let request = page_request(page.0, page_size.0);
        let (items, total) =
            dead_letters::list(&can.app().database, can.owner(), &filter, request.limit, request.offset)
                .await?;
        let page = PageOf {
            items: items.into_iter().map(|dead_letter| DeadLetter::shown(&can, dead_letter)).collect(),
            total,
        };
        Ok(Json(Page::new(request, page)))
    }

    /// Show a dead letter with its error, payload, origin and log
    #[oai(path = "/:job_id", method = "get", operation_id = "get_dead_letter")]
    async fn get(&self, can: Can<ViewDeadLetters>, job_id: Path<JobId>) -> Answer<Json<DeadLetterDetail>> {
        let (database, job) = (&can.app().database, job_id.0);
        let dead_letter = dead_letters::find(database, can.owner(), job).await?;
        let dead_letter = dead_letter.ok_or_else(ApiError::not_found)?;
        can.need_for(Act::View, &dead_letter.kind)?;
        let log = control::last_logs(database, job, LOG_LINES).await?;
        Ok(Json(DeadLetterDetail {
            payload: shown_payload(&can, &dead_letter),
            version: dead_letter.version,
            actor_id: dead_letter.origin.user_id.or(dead_letter.origin.credential_id),
            actor_type: dead_letter.origin.actor_type().name().to_owned(),
            surface: match dead_letter.origin.surface {
                Surface::Workspace => "workspace".to_owned(),
                Surface::Ops => "ops".to_owned(),
                Surface::Platform => "platform".to_owned(),
            },
            log: log.into_iter().map(JobLogLine::from).collect(),
            dead_letter: DeadLetter::shown(&can, dead_letter),
        }))
    }

    /// Retry a dead letter
    ///
    /// The job gets a fresh set of attempts and resumes after the last batch that it committed.
    #[oai(
        path = "/:job_id/retry",
        method = "post",
        operation_id = "retry_dead_letter",
        tag = "Fails::DuplicateJob"
    )]
    async fn retry(&self, can: Can<RetryJobs>, job_id: Path<JobId>) -> Answer<Json<Job>> {
        retry_one(&can, job_id.0).await.map(Json)
    }

    /// Discard a dead letter
    ///
    /// The job stays in the history as failed.
    #[oai(path = "/:job_id", method = "delete", operation_id = "discard_dead_letter")]
    async fn discard(&self, can: Can<DiscardDeadLetters>, job_id: Path<JobId>) -> Answer<NoContent> {
        discard_one(&can, job_id.0).await.map(|()| NoContent)
    }

    /// Retry many dead letters, the oldest first
    ///
    /// At most about 10,000 at a time, with an `Idempotency-Key` 1,000; if `more`, call again.
    #[oai(path = "/retry", method = "post", operation_id = "retry_dead_letters")]
    async fn retry_many(
        &self,
        can: Can<RetryJobs>,
        selection: Body<DeadLetterSelection>,
    ) -> Answer<Json<DeadLettersRetried>> {
        let filter = selection.0.into_filter()?.without(&can.kinds_denied(Act::Start));
        let by = can.origin();
        let RetriedAll { retried, duplicates, more } =
            can.change_in_steps(RetryAll::new(can.owner(), &filter, MAX_AT_ONCE, &by)).await?;
        Ok(Json(DeadLettersRetried { retried, duplicates, more }))
    }

    /// Discard many dead letters, the oldest first
    ///
    /// At most about 10,000 at a time, with an `Idempotency-Key` 1,000; if `more`, call again.
    #[oai(path = "/discard", method = "post", operation_id = "discard_dead_letters")]
    async fn discard_many(
        &self,
        can: Can<DiscardDeadLetters>,
        selection: Body<DeadLetterSelection>,
    ) -> Answer<Json<DeadLettersDiscarded>> {
        let filter = selection.0.into_filter()?.without(&can.kinds_denied(Act::Delete));
        let by = can.origin();
        let DiscardedAll { discarded, more } =
            can.change_in_steps(DiscardAll::new(can.owner(), &filter, MAX_AT_ONCE, &by)).await?;
        Ok(Json(DeadLettersDiscarded { discarded, more }))
    }
}

/// The payload of a dead letter, for callers who may start such jobs: those of webhooks hold secrets of the
/// receiver.
pub(crate) fn shown_payload(access: &Access, dead: &dead_letters::DeadLetter) -> Option<Value> {
    access.need_for(Act::Start, &dead.kind).is_ok().then(|| dead.payload.clone())
}

/// Retries a dead letter of the caller's workspace, and shows its job in the new state.
pub(crate) async fn retry_one<J: ShownJob>(access: &Access, job: JobId) -> Answer<J> {
    let jobs = access.jobs_of_all_kinds();
    let before = jobs.snapshot(Act::Start, job).await?;
    let owner = access.owner();
    let retry = async |tx: &mut Tx, by: &Origin| match dead_letters::retry(tx, owner, job, by).await? {
        Retry::Duplicate(_) => {
            Err(ApiError::conflict("duplicate_job", "another job already does the same work"))
        }
        Retry::NotOver => Err(ApiError::not_found()),
        outcome => outcome.done(),
    };
    jobs.change(&before, retry).await
}

/// Discards a dead letter of the caller's workspace.
pub(crate) async fn discard_one(access: &Access, job: JobId) -> Answer<()> {
    access.jobs_of_all_kinds().snapshot(Act::Delete, job).await?;
    let (owner, by) = (access.owner(), access.origin());
    let discarded =
        access.change_shared(async |tx, _| dead_letters::discard(tx, owner, job, &by).await).await?;
    if discarded { Ok(()) } else { Err(ApiError::not_found()) }
}
