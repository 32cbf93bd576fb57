//! DLQ: dead letters as messages of a dead-letter queue. Contract section "DLQ" (P-DLQ).

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

/// A job that has failed finally, as a message of the dead-letter queue.
#[derive(Debug, Clone, Object)]
#[oai(skip_serializing_if_is_none)]
struct DlqMessage {
    /// Job id, also valid at `/v1/jobs`.
    id: TypeId<JobId>,
    /// Job kind, for example `records.import`.
    kind: String,
    /// Stable error code.
    error_code: String,
    /// Error message.
    error_message: String,
    /// Number of attempts so far.
    attempts: i32,
    /// Payload in the shape of its kind, for callers who may start jobs of its kind; null for others. Secrets are
    /// replaced by `***`.
    payload: Option<Value>,
    /// Id of the request that started the job; null if there was none.
    request_id: Option<String>,
    /// Creation time.
    created_at: DateTime<Utc>,
    /// Time of the final failure.
    failed_at: DateTime<Utc>,
    /// URL of the job's events, for `EventSource`: includes a ticket of the caller that is valid for this job only.
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

/// A page of the dead-letter queue.
#[derive(Debug, Clone, Object)]
struct DlqMessages {
    /// Messages, the latest first.
    messages: Vec<DlqMessage>,
    /// Number of messages in the whole queue.
    total: i64,
}

/// Confirmation that a message was discarded.
#[derive(Debug, Clone, Object)]
struct DlqDiscarded {
    /// Always true.
    discarded: bool,
}

/// Confirmation that a message's job waits to run again.
#[derive(Debug, Clone, Object)]
struct DlqRetried {
    /// Always true.
    retried: bool,
    /// URL of the job's events, for `EventSource`: includes a ticket of the caller that is valid for this job only.
    stream_url: String,
}

#[derive(Tags)]
enum Tag {
    /// Jobs that have failed finally, as messages of a dead-letter queue.
    #[oai(rename = "DLQ")]
    Dlq,
}

/// Routes of the section.
pub struct DlqApi;

#[OpenApi(prefix_path = "/v1/dlq", tag = "Tag::Dlq")]
impl DlqApi {
    /// List the messages of the dead-letter queue, the latest first
    #[oai(path = "/", method = "get", operation_id = "list_dlq_messages")]
    async fn list(
        &self,
        can: Can<ViewDeadLetters>,
        /// Maximum number of messages in the answer, at most 200.
        #[oai(default)]
        limit: Query<Limit>,
        /// Number of messages to skip.
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

    /// Retry a message
    ///
    /// The job waits again with a fresh set of attempts, and resumes after the last batch that it
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
    /// The job stays in the history as failed.
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
