//! Looking at a job, and waiting for it to change.

use std::time::Duration;

use jobs::{Act, JobId, watch::Snapshot};
use tokio::time::{Instant, timeout_at};

use super::JobViews;
use crate::Answer;

/// Longest wait of a long poll, in seconds.
const MAX_WAIT: u64 = 30;

impl JobViews<'_> {
    /// A job's snapshot: at once or, given both, as soon as there is an event after `since` or `wait` seconds have passed.
    ///
    /// # Errors
    /// As of [`JobViews::find`]; 401 or 403 if the caller's access ends meanwhile.
    pub async fn look(&self, job: JobId, since: Option<i64>, wait: Option<u64>) -> Answer<Snapshot> {
        let mut snapshot = self.snapshot(Act::View, job).await?;
        let (Some(since), Some(seconds)) = (since, wait) else { return Ok(snapshot) };
        let hub = &self.access.app().hub;
        let mut watch = hub.watch(job);
        let admitted = self.access.admitted_to(&snapshot.kind);
        let deadline = Instant::now() + Duration::from_secs(seconds.min(MAX_WAIT));
        while snapshot.event.seq <= since && !snapshot.event.status.is_terminal() {
            let next = tokio::select! {
                next = timeout_at(deadline, watch.next()) => next,
                () = admitted.over() => break,
            };
            match next {
                Ok(Some(event)) if event.seq <= since => continue,
                Ok(Some(_)) => {}
                Ok(None) => watch = hub.watch(job),
                Err(_) => break,
            }
            snapshot = self.snapshot(Act::View, job).await?;
        }
        match admitted.why() {
            Some(ended) => Err(ended.refusal()),
            None => Ok(snapshot),
        }
    }
}
