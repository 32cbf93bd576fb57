//! Waiting for a job within a request.

use std::time::Duration;

use jobs::{
    JobId,
    watch::{Hub, Snapshot},
};
use tokio::time::{Instant, timeout_at};

use crate::{ApiError, Visitor};

/// The job's snapshot once it has ended; none when that takes longer than `patience`, or when this process
/// stops, or at once where the request has an `Idempotency-Key`. For routes that are `no_deadline`.
///
/// # Errors
/// 404 when there is no such job.
pub async fn wait_for_end(
    hub: &Hub,
    visitor: &Visitor,
    job: JobId,
    patience: Duration,
) -> Result<Option<Snapshot>, ApiError> {
    if visitor.claim.is_some() {
        // The job isn't committed before this request is answered.
        return Ok(None);
    }
    let deadline = Instant::now() + patience;
    // Subscribe first, then read the state, so that no event is missed.
    let mut watch = hub.watch(job);
    loop {
        let snapshot = hub.snapshot(job).await?.ok_or_else(ApiError::not_found)?;
        if snapshot.event.status.is_terminal() {
            return Ok(Some(snapshot));
        }
        loop {
            let next = tokio::select! {
                next = timeout_at(deadline, watch.next()) => next,
                () = hub.closing() => return Ok(None),
            };
            match next {
                Ok(Some(event)) if !event.status.is_terminal() => {}
                Ok(Some(_)) => break,
                // Fallen behind: read the state again.
                Ok(None) => {
                    watch = hub.watch(job);
                    break;
                }
                Err(_) => return Ok(None),
            }
        }
    }
}
