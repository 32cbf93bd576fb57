//! Filters of jobs.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    JobId,
    kinds::{self, Denied},
    watch::Status,
};

/// A filter of a workspace's jobs: those that match all that is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// These kinds only; empty: all.
    pub kinds: Vec<String>,
    /// None of these kinds.
    pub except: Vec<String>,
    /// This status only.
    pub status: Option<Status>,
    /// Children of that job only.
    pub batch: Option<JobId>,
    /// Earliest creation time, inclusive.
    pub since: Option<DateTime<Utc>>,
    /// Latest creation time, exclusive.
    pub until: Option<DateTime<Utc>>,
    /// Text in the kind's name, the latest message or the error message, regardless of case.
    pub text: Option<String>,
}

impl Filter {
    /// The same without the denied kinds.
    #[must_use]
    pub fn without(mut self, denied: &Denied) -> Self {
        self.except = denied.narrow(&mut self.kinds);
        self
    }

    /// Whether all jobs match, but for those of kinds that this release does not know.
    pub(crate) fn is_none(&self) -> bool {
        let is_of_all_kinds = self.kinds.is_empty() || kinds::are_all_known(&self.kinds);
        is_of_all_kinds && Self { kinds: Vec::new(), ..self.clone() } == Self::default()
    }

    /// The status in the ledger's form: the state, and whether it is due.
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
