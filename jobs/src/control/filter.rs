//! Which jobs are meant.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{JobId, kinds::Denied, watch::Status};

/// Which of a workspace's jobs: those that match all that is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only these kinds; empty: all.
    pub kinds: Vec<String>,
    /// None of these kinds.
    pub except: Vec<String>,
    /// Only this status.
    pub status: Option<Status>,
    /// Only children of that job.
    pub batch: Option<JobId>,
    /// Asked for at that time or later.
    pub since: Option<DateTime<Utc>>,
    /// Asked for before that time.
    pub until: Option<DateTime<Utc>>,
    /// With this in the kind's name, or in what the job last said or failed with; case doesn't matter.
    pub text: Option<String>,
}

impl Filter {
    /// The same without the kinds that are denied.
    #[must_use]
    pub fn without(mut self, denied: &Denied) -> Self {
        self.except = denied.narrow(&mut self.kinds);
        self
    }

    /// Whether all jobs match.
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The status as the ledger has it: the state, and whether it is due.
    pub(crate) fn state(&self) -> (Option<&'static str>, Option<bool>) {
        match self.status {
            None => (None, None),
            Some(Status::Pending) => (Some("waiting"), Some(false)),
            Some(Status::Queued) => (Some("waiting"), Some(true)),
            Some(Status::Running) => (Some("running"), None),
            Some(Status::Completed) => (Some("completed"), None),
            Some(Status::Failed) => (Some("failed"), None),
            Some(Status::Cancelled) => (Some("cancelled"), None),
        }
    }

    pub(crate) fn batch_id(&self) -> Option<Uuid> {
        self.batch.map(|batch| batch.0)
    }
}
