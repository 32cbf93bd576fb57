//! DLQ: jobs that have finally failed, as messages of a dead-letter queue. Contract section "DLQ" (P-DLQ).

use api_kit::{Access, Can, Fails, Limit, Offset, TypeId, Wrapped, part_request};
use chrono::{DateTime, Utc};
use jobs::{
    Act, JobId,
    dead_letters::{self, DeadLetter, Filter},
    watch::Snapshot,
};
use poem_openapi::{
    Object, OpenApi, Tags,
    param::{Path, Query},
    payload::Json,
};
use serde_json::Value;

use crate::workspace::{
    dead_letters::{DiscardDeadLetters, ViewDeadLetters, discard_one, retry_one, shown_payload},
    jobs::RetryJobs,
};

/// A job that has failed for good.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
struct DlqMessage {
    /// The job, also at `/v1/jobs`.
    id: TypeId<JobId>,
    /// What it was to do, for example `records.import`.
    kind: String,
    /// Why it failed, for programs.
    error_code: String,
    /// Why it failed, for people.
    error_message: String,
    /// Attempts that it has had.
    attempts: i32,
    /// Payload in the shape of its kind, for callers who may start jobs of its kind. What is secret is `***`.
    payload: Option<Value>,
    /// The request that started it.
    request_id: Option<String>,
    /// When it was asked for.
    created_at: DateTime<Utc>,
    /// When it failed for good.
    failed_at: DateTime<Utc>,
    /// Its events, for `EventSource`: carries a ticket, made for this caller, that reads this one job.
    stream_url: String,
}

impl DlqMessage {
    fn shown(access: &Access, letter: DeadLetter) -> Self {
        let payload = shown_payload(access, &letter);
        Self {
            stream_url: access.stream_url(letter.id),
            id: TypeId(letter.id),
            kind: letter.kind,
            error_code: letter.code,
            error_message: letter.message,
            attempts: letter.attempts,
            payload,
            request_id: letter.origin.request_id,
            created_at: letter.created_at,
            failed_at: letter.failed_at,
        }
    }
}

/// Messages of the dead-letter queue.
#[derive(Debug, Clone, Object)]
struct DlqMessages {
    /// The latest first.
    messages: Vec<DlqMessage>,
    /// Messages in the whole queue.
    total: i64,
}

/// That a message has been discarded.
#[derive(Debug, Clone, Object)]
struct DlqDiscarded {
    /// Always true.
    discarded: bool,
}

/// That a message's job waits again.
#[derive(Debug, Clone, Object)]
struct DlqRetried {
    /// Always true.
    retried: bool,
    /// Its events, for `EventSource`: carries a ticket, made for this caller, that reads this one job.
    stream_url: String,
}

#[derive(Tags)]
enum Tag {
    /// Jobs that have failed for good, as messages of a dead-letter queue.
    #[oai(rename = "DLQ")]
    Dlq,
}

/// See the module.
pub struct DlqApi;

#[OpenApi(prefix_path = "/v1/dlq", tag = "Tag::Dlq")]
impl DlqApi {
    /// List the messages of the dead-letter queue, the latest first
    #[oai(path = "/", method = "get", operation_id = "list_dlq_messages")]
    async fn list(
        &self,
        can: Can<ViewDeadLetters>,
        /// Messages in the answer, at most 200.
        #[oai(default)]
        limit: Query<Limit>,
        /// Messages to pass over.
        #[oai(default)]
        offset: Query<Offset>,
    ) -> Wrapped<DlqMessages> {
        let part = part_request(limit.0, offset.0);
        let filter = Filter::default().without(&can.kinds_denied(Act::View));
        let (letters, total) =
            dead_letters::list(&can.app().database, can.owner(), &filter, part.limit, part.offset).await?;
        let messages = letters.into_iter().map(|letter| DlqMessage::shown(&can, letter)).collect();
        Ok(Json(can.wrap(DlqMessages { messages, total })))
    }

    /// Try a message again
    ///
    /// Its job waits again with its attempts given back, and goes on after the last batch that it
    /// committed.
    #[oai(
        path = "/:msg_id/retry",
        method = "post",
        operation_id = "retry_dlq_message",
        tag = "Fails::DuplicateJob"
    )]
    async fn retry(&self, can: Can<RetryJobs>, msg_id: Path<TypeId<JobId>>) -> Wrapped<DlqRetried> {
        let job = msg_id.0.0;
        retry_one::<Snapshot>(&can, job).await?;
        Ok(Json(can.wrap(DlqRetried { retried: true, stream_url: can.stream_url(job) })))
    }

    /// Discard a message
    ///
    /// Its job stays in the history as failed.
    #[oai(path = "/:msg_id", method = "delete", operation_id = "discard_dlq_message")]
    async fn discard(
        &self,
        can: Can<DiscardDeadLetters>,
        msg_id: Path<TypeId<JobId>>,
    ) -> Wrapped<DlqDiscarded> {
        discard_one(&can, msg_id.0.0).await?;
        Ok(Json(can.wrap(DlqDiscarded { discarded: true })))
    }
}
