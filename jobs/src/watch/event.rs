//! The shape of a job's event, which is also the shape of its snapshot.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::JobId;

/// Events of one epoch: progress may be numbered up to this.
const PER_EPOCH: i64 = 1 << 20;

/// A job's status as its watchers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(poem_openapi::Enum),
    oai(rename = "JobStatus", rename_all = "UPPERCASE")
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// Later, or held.
    Pending,
    /// Due, waiting for a worker.
    Queued,
    /// A worker has it.
    Running,
    /// Done.
    Completed,
    /// Over, without success.
    Failed,
    /// Over, because someone asked.
    Cancelled,
}

impl Status {
    /// What a state of the ledger is to watchers.
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

    /// Whether nothing comes after it.
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

/// What became of the items (rows, records, addresses) so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Object), oai(rename = "JobCounts"))]
pub struct Counts {
    /// Written, or otherwise finished well.
    pub done: i64,
    /// Refused, each with a reason.
    pub failed: i64,
    /// Passed over on purpose.
    pub skipped: i64,
    /// How many there are altogether, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

/// Whose a job is, for those who watch a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Of {
    /// The workspace; null for a job of the installation.
    pub workspace: Option<Uuid>,
    /// The job's kind.
    pub kind: String,
}

/// One event of a job's sequence. A snapshot is the newest event, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Object), oai(rename = "JobEvent"))]
pub struct Event {
    /// The job.
    pub job_id: JobId,
    /// Its status with this event.
    pub status: Status,
    /// Percent, 0–100; never goes back within a run.
    pub progress: i32,
    /// What it is doing, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_step: Option<String>,
    /// Items so far.
    #[serde(default)]
    pub counts: Counts,
    /// Items a second, lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Seconds until the end, if it goes on like this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,
    /// A sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Someone has asked the job to stop, and it is about to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancel_requested: bool,
    /// The attempt that is running or ran last; 0 before the first.
    #[serde(default)]
    pub attempt: i32,
    /// With COMPLETED: what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// With FAILED: a stable code, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// With FAILED: why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// When the event was made.
    #[serde(with = "millis")]
    pub timestamp: DateTime<Utc>,
    /// Whose the job is, where its worker tells: for the way over the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", oai(skip))]
    pub of: Option<Box<Of>>,
    /// Strictly increases within a job.
    pub seq: i64,
    /// The `seq` of the event before it, by which a reader notices a hole.
    pub prev: i64,
}

impl Event {
    /// Whether it says no more than the job's row in the ledger does.
    pub(crate) fn is_bare(&self) -> bool {
        self.counts == Counts::default() && self.current_step.is_none() && self.progress % 100 == 0
    }

    /// The event n = 0 of an epoch. Its `prev` is the transition before; where there was progress in
    /// between, the history knows, and the publisher puts that number in its place.
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

    /// The same transition, with what the job's progress was before it.
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
