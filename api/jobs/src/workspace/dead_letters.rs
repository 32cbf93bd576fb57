//! Dead letters: jobs of the workspace that have failed for good. Ours; the Platform API has them as its
//! section DLQ.

use api_kit::{
    Access, Answer, ApiError, Body, Can, Fails, JobLogLine, NoContent, Page, PageNumber, PageSize,
    page_request, permissions,
};
use chrono::{DateTime, Utc};
use domain::{Acting, page::PageOf};
use jobs::{
    Act, JobId, Surface, Tx,
    control::{self, Retry},
    dead_letters::{self, DiscardAll, DiscardedAll, Filter, RetriedAll, RetryAll},
    watch::Snapshot,
};
use poem_openapi::{
    Object, OpenApi, Tags,
    param::{Path, Query},
    payload::Json,
};
use serde_json::Value;
use uuid::Uuid;

use super::jobs::{Job, RetryJobs, find, selection::nothing_said, within};

permissions! { ViewDeadLetters = "dead_letters:view", DiscardDeadLetters = "dead_letters:discard" }

/// Dead letters that one request moves, about.
const AT_MOST: i64 = 10_000;
/// The newest log lines that a dead letter is shown with.
const LOG_LINES: i64 = 100;

/// A job that has failed for good.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct DeadLetter {
    /// The job.
    job_id: JobId,
    /// What it was to do, for example `records.import`.
    kind: String,
    /// The workers that ran it.
    pool: String,
    /// 0 (first) to 9 (last).
    priority: i16,
    /// Why it failed, for programs.
    error_code: String,
    /// Why it failed, for people.
    error_message: String,
    /// Attempts that it has had.
    attempts: i32,
    /// Attempts that it has altogether.
    max_attempts: i32,
    /// Worker processes that died with it, in a row.
    crashes: i32,
    /// The job whose child it is.
    batch_id: Option<JobId>,
    /// The request that started it.
    request_id: Option<String>,
    /// When it was asked for.
    created_at: DateTime<Utc>,
    /// When its first attempt began.
    started_at: Option<DateTime<Utc>>,
    /// When it failed for good.
    failed_at: DateTime<Utc>,
    /// Its events, for `EventSource`: carries a ticket, made for this caller, that reads this one job.
    stream_url: String,
}

impl DeadLetter {
    fn shown(access: &Access, letter: dead_letters::DeadLetter) -> Self {
        Self {
            stream_url: access.stream_url(letter.id),
            job_id: letter.id,
            kind: letter.kind,
            pool: letter.pool,
            priority: letter.priority,
            error_code: letter.code,
            error_message: letter.message,
            attempts: letter.attempts,
            max_attempts: letter.max_attempts,
            crashes: letter.crashes,
            batch_id: letter.batch,
            request_id: letter.origin.request_id,
            created_at: letter.created_at,
            started_at: letter.started_at,
            failed_at: letter.failed_at,
        }
    }
}

/// A dead letter with all that helps to understand it.
#[derive(Debug, Clone, Object)]
pub struct DeadLetterDetail {
    #[oai(flatten)]
    letter: DeadLetter,
    /// Payload in the shape of its kind and version, for callers who may start jobs of its kind. What is
    /// secret is `***`.
    #[oai(skip_serializing_if_is_none)]
    payload: Option<Value>,
    /// The version of the payload's shape.
    version: i16,
    /// The person who asked for it, or else the API key.
    #[oai(skip_serializing_if_is_none)]
    actor_id: Option<Uuid>,
    /// What asked for it.
    actor_type: String,
    /// The surface that it was asked for on: `workspace` or `platform`.
    surface: String,
    /// The newest lines of its log, oldest first.
    log: Vec<JobLogLine>,
}

/// The dead letters meant: those that match all that is given.
#[derive(Debug, Object)]
struct DeadLetterSelection {
    /// Only this kind, for example `records.import`.
    kind: Option<String>,
    /// Only with this error code.
    error_code: Option<String>,
    /// Only those that failed at this time or later.
    since: Option<DateTime<Utc>>,
    /// Only those that failed before this time.
    until: Option<DateTime<Utc>>,
    /// Must be true where nothing else is given: all dead letters of the workspace.
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

/// What came of retrying many dead letters.
#[derive(Debug, Object)]
struct DeadLettersRetried {
    /// They wait again.
    retried: i64,
    /// Another job does the same meanwhile; they stay dead letters.
    duplicates: i64,
    /// There may be more: call again.
    more: bool,
}

/// What came of discarding many dead letters.
#[derive(Debug, Object)]
struct DeadLettersDiscarded {
    /// They are no dead letters any more.
    discarded: i64,
    /// There may be more: call again.
    more: bool,
}

#[derive(Tags)]
enum Tag {
    /// Jobs that have failed for good: look why, try again, or put away.
    #[oai(rename = "Dead Letters")]
    DeadLetters,
}

/// See the module.
pub struct DeadLettersApi;

#[OpenApi(prefix_path = "/dead-letters", tag = "Tag::DeadLetters")]
impl DeadLettersApi {
    /// List the workspace's dead letters, the latest first
    #[allow(clippy::too_many_arguments)] // they are what a list can be narrowed by
    #[oai(path = "/", method = "get", operation_id = "list_dead_letters")]
    async fn list(
        &self,
        can: Can<ViewDeadLetters>,
        /// Only this kind, for example `records.import`.
        kind: Query<Option<String>>,
        /// Only with this error code.
        error_code: Query<Option<String>>,
        /// Only those that failed at this time or later.
        since: Query<Option<DateTime<Utc>>>,
        /// Only those that failed before this time.
        until: Query<Option<DateTime<Utc>>>,
        /// Which page, from 1.
        #[oai(default)]
        page: Query<PageNumber>,
        /// Dead letters on a page, at most 200.
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
        let whose = Some(can.workspace.0);
        let (items, total) =
            dead_letters::list(&can.app().database, whose, &filter, request.limit, request.offset).await?;
        let page = PageOf {
            items: items.into_iter().map(|letter| DeadLetter::shown(&can, letter)).collect(),
            total,
        };
        Ok(Json(Page::new(request, page)))
    }

    /// Look at a dead letter: its error, payload, origin and log
    #[oai(path = "/:job_id", method = "get", operation_id = "get_dead_letter")]
    async fn get(&self, can: Can<ViewDeadLetters>, job_id: Path<JobId>) -> Answer<Json<DeadLetterDetail>> {
        let (database, job) = (&can.app().database, job_id.0);
        let letter = dead_letters::find(database, Some(can.workspace.0), job).await?;
        let letter = letter.ok_or_else(ApiError::not_found)?;
        can.need_for(Act::View, &letter.kind)?;
        let log = control::last_logs(database, job, LOG_LINES).await?;
        Ok(Json(DeadLetterDetail {
            payload: shown_payload(&can, &letter),
            version: letter.version,
            actor_id: letter.origin.user_id.or(letter.origin.credential_id),
            actor_type: letter.origin.actor_type().name().to_owned(),
            surface: match letter.origin.surface {
                Surface::Workspace => "workspace".to_owned(),
                Surface::Ops => "ops".to_owned(),
                Surface::Platform => "platform".to_owned(),
            },
            log: log.into_iter().map(JobLogLine::from).collect(),
            letter: DeadLetter::shown(&can, letter),
        }))
    }

    /// Try a dead letter again
    ///
    /// Its attempts are given back, and it goes on after the last batch that it committed.
    #[oai(
        path = "/:job_id/retry",
        method = "post",
        operation_id = "retry_dead_letter",
        tag = "Fails::DuplicateJob"
    )]
    async fn retry(&self, can: Can<RetryJobs>, job_id: Path<JobId>) -> Answer<Json<Job>> {
        let job = job_id.0;
        Ok(Json(Job::shown(&can, retry_one(&can, job).await?)))
    }

    /// Discard a dead letter
    ///
    /// The job stays in the history as failed.
    #[oai(path = "/:job_id", method = "delete", operation_id = "discard_dead_letter")]
    async fn discard(&self, can: Can<DiscardDeadLetters>, job_id: Path<JobId>) -> Answer<NoContent> {
        discard_one(&can, job_id.0).await?;
        Ok(NoContent)
    }

    /// Try many dead letters again, the oldest first
    ///
    /// At most about 10,000 at a time, with an `Idempotency-Key` 1,000; `more` tells whether to call again.
    #[oai(path = "/retry", method = "post", operation_id = "retry_dead_letters")]
    async fn retry_many(
        &self,
        can: Can<RetryJobs>,
        selection: Body<DeadLetterSelection>,
    ) -> Answer<Json<DeadLettersRetried>> {
        let filter = selection.0.into_filter()?.without(&can.kinds_denied(Act::Start));
        let (whose, by) = (Some(can.workspace.0), can.origin());
        let RetriedAll { retried, duplicates, more } =
            can.change_in_steps(RetryAll::new(whose, &filter, AT_MOST, &by)).await?;
        Ok(Json(DeadLettersRetried { retried, duplicates, more }))
    }

    /// Discard many dead letters, the oldest first
    ///
    /// At most about 10,000 at a time, with an `Idempotency-Key` 1,000; `more` tells whether to call again.
    #[oai(path = "/discard", method = "post", operation_id = "discard_dead_letters")]
    async fn discard_many(
        &self,
        can: Can<DiscardDeadLetters>,
        selection: Body<DeadLetterSelection>,
    ) -> Answer<Json<DeadLettersDiscarded>> {
        let filter = selection.0.into_filter()?.without(&can.kinds_denied(Act::Delete));
        let (whose, by) = (Some(can.workspace.0), can.origin());
        let DiscardedAll { discarded, more } =
            can.change_in_steps(DiscardAll::new(whose, &filter, AT_MOST, &by)).await?;
        Ok(Json(DeadLettersDiscarded { discarded, more }))
    }
}

/// The payload of a dead letter, for callers who may start such jobs: those of webhooks hold what the receiver takes
/// for a secret.
pub(crate) fn shown_payload(access: &Access, dead: &dead_letters::DeadLetter) -> Option<Value> {
    access.need_for(Act::Start, &dead.kind).is_ok().then(|| dead.payload.clone())
}

/// Tries a dead letter of the caller's workspace again, and shows its job as it is then.
pub(crate) async fn retry_one(access: &Access, job: JobId) -> Answer<Snapshot> {
    let before = access.allowed(Act::Start, find(access, job).await?)?;
    let (whose, by) = (Some(access.workspace.0), access.origin());
    let retry = async |tx: &mut Tx, _: &Acting<'_>| match dead_letters::retry(tx, whose, job, &by).await? {
        Retry::Queued => within(tx, &before).await,
        Retry::Duplicate(_) => {
            Err(ApiError::conflict("duplicate_job", "another job does the same meanwhile"))
        }
        Retry::NotOver | Retry::NotFound => Err(ApiError::not_found()),
    };
    access.change_shared(retry).await
}

/// Discards a dead letter of the caller's workspace.
pub(crate) async fn discard_one(access: &Access, job: JobId) -> Answer<()> {
    access.allowed(Act::Delete, find(access, job).await?)?;
    let (whose, by) = (Some(access.workspace.0), access.origin());
    let discarded =
        access.change_shared(async |tx, _| dead_letters::discard(tx, whose, job, &by).await).await?;
    if discarded { Ok(()) } else { Err(ApiError::not_found()) }
}
