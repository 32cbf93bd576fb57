//! Which jobs a request about many means. One that says nothing must say that it means all.

use api_kit::{Answer, ApiError};
use chrono::{DateTime, Utc};
use jobs::{
    JobId,
    control::{CancelledAll, Filter},
    watch::Status,
};
use poem_openapi::Object;

/// The jobs to cancel: those that match all that is given.
#[derive(Debug, Object)]
pub struct JobSelection {
    /// Only this kind, for example `records.import`.
    kind: Option<String>,
    /// Only this status: PENDING, QUEUED or RUNNING.
    status: Option<Status>,
    /// Only the children of this job.
    batch_id: Option<JobId>,
    /// Only those asked for at this time or later.
    since: Option<DateTime<Utc>>,
    /// Only those asked for before this time.
    until: Option<DateTime<Utc>>,
    /// Only those with this in their kind, or in what they last said or failed with.
    search: Option<String>,
    /// Must be true where nothing else is given: all jobs of the workspace.
    #[oai(default)]
    all: bool,
}

/// What came of cancelling many jobs.
#[derive(Debug, Object)]
pub struct JobsCancelled {
    /// They were waiting, and are over.
    cancelled: i64,
    /// They are running and have been asked to stop.
    requested: i64,
    /// There may be more: call again.
    more: bool,
}

impl JobSelection {
    /// As the engine takes it.
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
            // An empty text is in everything and says nothing.
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

/// The refusal of a request about many that doesn't say about which.
pub(crate) fn nothing_said() -> ApiError {
    ApiError::invalid("all", "must be true where nothing else says which ones")
}

impl From<CancelledAll> for JobsCancelled {
    fn from(CancelledAll { cancelled, requested, more }: CancelledAll) -> Self {
        Self { cancelled, requested, more }
    }
}
