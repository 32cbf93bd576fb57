//! The selection of a request about many jobs. A selection without a filter must say that it means all.

use api_kit::{Answer, ApiError};
use chrono::{DateTime, Utc};
use jobs::{
    JobId,
    control::{CancelledAll, Filter},
    watch::Status,
};
use poem_openapi::Object;

/// The jobs to cancel: those that match all given filters.
#[derive(Debug, Object)]
pub struct JobSelection {
    /// Kind filter, for example `records.import`.
    kind: Option<String>,
    /// Status filter: PENDING, QUEUED or RUNNING.
    status: Option<Status>,
    /// Parent filter: id of a batch, for its children only.
    batch_id: Option<JobId>,
    /// Earliest creation time, inclusive.
    since: Option<DateTime<Utc>>,
    /// Latest creation time, exclusive.
    until: Option<DateTime<Utc>>,
    /// Text in the kind, the latest message or the error message.
    search: Option<String>,
    /// Whether all jobs of the workspace are selected. Must be true if no filter is given.
    #[oai(default)]
    all: bool,
}

/// Result of cancelling many jobs.
#[derive(Debug, Object)]
pub struct JobsCancelled {
    /// Number of waiting jobs that were cancelled.
    cancelled: i64,
    /// Number of running jobs that were signalled to stop.
    requested: i64,
    /// Whether there may be more; repeat the request then, with another `Idempotency-Key` if it had one.
    more: bool,
}

impl JobSelection {
    /// The selection in the engine's form.
    pub(super) fn into_filter(self) -> Answer<Filter> {
        let Self { kind, status, batch_id, since, until, search, all } = self;
        if status.is_some_and(Status::is_terminal) {
            return Err(ApiError::invalid("status", "must be PENDING, QUEUED or RUNNING"));
        }
        let filter = Filter {
            kinds: kind.into_iter().collect(),
            except: Vec::new(),
            status,
            batch: batch_id,
            since,
            until,
            // Every text contains an empty one, so it is no filter.
            text: search.filter(|text| !text.is_empty()),
        };
        let says_which = !filter.kinds.is_empty()
            || filter.status.is_some()
            || filter.batch.is_some()
            || filter.since.is_some()
            || filter.until.is_some()
            || filter.text.is_some();
        if says_which || all { Ok(filter) } else { Err(nothing_said()) }
    }
}

/// The refusal of a request about many jobs without a selection.
pub(crate) fn nothing_said() -> ApiError {
    ApiError::invalid("all", "must be true where nothing else says which ones")
}

impl From<CancelledAll> for JobsCancelled {
    fn from(CancelledAll { cancelled, requested, more }: CancelledAll) -> Self {
        Self { cancelled, requested, more }
    }
}
