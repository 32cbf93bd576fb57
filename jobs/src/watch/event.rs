//! The shape of a job's event, which is also the shape of its snapshot.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::JobId;

/// Events of one epoch: maximum number of progress events, plus one.
const PER_EPOCH: i64 = 1 << 20;

/// Job status, as its watchers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(poem_openapi::Enum),
    oai(rename = "JobStatus", rename_all = "UPPERCASE")
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// Not due yet, or held back.
    Pending,
    /// Due, waiting for a worker.
    Queued,
    /// Running on a worker.
    Running,
    /// Completed with success.
    Completed,
    /// Failed finally.
    Failed,
    /// Cancelled on request.
    Cancelled,
}

impl Status {
    /// The status of a state of the ledger.
    pub(crate) fn of_state(state: &str, due: bool) -> Self {
        match state {
            "running" => Self::Running,
            "completed" => Self::Completed,
            "failed" => Self::Failed,
            "cancelled" => Self::Cancelled,
            _ if due => Self::Queued,
            _ => Self::Pending,
        }
    }

    /// Whether the job has ended.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// The name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Queued => "QUEUED",
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

/// Numbers of processed items (rows, records, addresses) so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Object), oai(rename = "JobCounts"))]
pub struct Counts {
    /// Number of items that were written, or processed with success.
    pub done: i64,
    /// Number of rejected items, each with a reason.
    pub failed: i64,
    /// Number of items that were skipped on purpose.
    pub skipped: i64,
    /// Total number of items; absent if not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

/// Workspace and kind of a job, for watchers of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Of {
    /// Workspace; null for a job of the installation.
    pub workspace: Option<Uuid>,
    /// The job's kind.
    pub kind: String,
}

/// An event in a job's sequence. A snapshot is the newest event, complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Object), oai(rename = "JobEvent"))]
pub struct Event {
    /// Job id.
    pub job_id: JobId,
    /// Job status as of this event.
    pub status: Status,
    /// Progress in percent, 0–100; never decreases within a run.
    pub progress: i32,
    /// Description of the current step; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_step: Option<String>,
    /// Numbers of processed items so far.
    #[serde(default)]
    pub counts: Counts,
    /// Recent rate in items per second; absent if not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Estimated remaining time in seconds at the present rate; absent if not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,
    /// Message for display; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether cancellation was requested and is about to take effect.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancel_requested: bool,
    /// Number of the running or latest attempt; 0 before the first.
    #[serde(default)]
    pub attempt: i32,
    /// Result; absent unless the status is COMPLETED.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Stable error code; absent unless the status is FAILED.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// Error message; absent unless the status is FAILED.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Time of the event.
    #[serde(with = "millis")]
    pub timestamp: DateTime<Utc>,
    /// Workspace and kind, where its worker sends them: for the transport over the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", oai(skip))]
    pub of: Option<Box<Of>>,
    /// Sequence number of the event; strictly increasing within a job.
    pub seq: i64,
    /// Sequence number of the event before this one, by which a reader detects a gap.
    pub prev: i64,
}

impl Event {
    /// Whether it has no more than the job's row in the ledger.
    pub(crate) fn is_bare(&self) -> bool {
        self.counts == Counts::default() && self.current_step.is_none() && self.progress % 100 == 0
    }

    /// The event n = 0 of an epoch. Its `prev` is the transition before; if there was progress in
    /// between, the history has it, and the publisher replaces the number.
    pub(crate) fn transition(job_id: JobId, status: Status, epoch: i64, timestamp: DateTime<Utc>) -> Self {
        Self {
            job_id,
            status,
            progress: 0,
            current_step: None,
            counts: Counts::default(),
            rate: None,
            eta_seconds: None,
            message: None,
            cancel_requested: false,
            attempt: 0,
            result: None,
            error_code: None,
            error_message: None,
            timestamp: crate::clock::in_millis(timestamp),
            of: None,
            seq: Self::seq_of(epoch, 0),
            prev: Self::seq_of(epoch - 1, 0),
        }
    }

    /// The same transition, with the job's previous progress.
    pub(crate) fn carrying_on(self, before: Option<Self>) -> Self {
        let Some(before) = before else { return self };
        Self {
            prev: before.seq.min(self.seq - 1),
            progress: before.progress.min(99),
            current_step: before.current_step,
            counts: before.counts,
            message: before.message,
            ..self
        }
    }

    /// The number of the n-th event of an epoch.
    pub(crate) fn seq_of(epoch: i64, n: i64) -> i64 {
        epoch * PER_EPOCH + n.min(PER_EPOCH - 1)
    }

    /// The epoch of a number.
    pub(crate) fn epoch_of(seq: i64) -> i64 {
        seq / PER_EPOCH
    }
}

/// RFC 3339 in UTC with milliseconds, as everywhere on the wire.
mod millis {
    use super::{DateTime, SecondsFormat, Utc};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(at: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&at.to_rfc3339_opts(SecondsFormat::Millis, true))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DateTime<Utc>, D::Error> {
        DateTime::<Utc>::deserialize(from)
    }
}
