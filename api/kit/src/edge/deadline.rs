//! The deadline of a request. Routes for uploads, streams and long polls lift it with
//! `transform = "no_deadline"`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use poem::{Endpoint, EndpointExt};
use tokio::time::Instant;

use crate::rate_limit::Watching;

/// The deadline of one request.
#[derive(Debug, Clone)]
pub(super) struct Deadline {
    began: Instant,
    after: Duration,
    lifted: Arc<AtomicBool>,
}

impl Deadline {
    pub(super) fn new(began: Instant, after: Duration) -> Self {
        Self { began, after, lifted: Arc::default() }
    }

    /// Time by which the whole body must have arrived: early enough for an answer that reports it.
    pub(super) fn of_body(&self) -> Instant {
        self.began + self.after * 5 / 6
    }

    /// Resolves when the deadline has passed; never when it was lifted.
    pub(super) async fn passed(&self) {
        tokio::time::sleep_until(self.began + self.after).await;
        if self.lifted.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

/// Marks a route for watching jobs: `#[oai(…, transform = "watching")]`. It has no deadline, as
/// a [`no_deadline`] one, and is counted separately from the caller's plan.
pub fn watching(endpoint: impl Endpoint) -> impl Endpoint {
    no_deadline(endpoint).before(|mut request| async move {
        request.set_data(Watching);
        Ok(request)
    })
}

/// Lifts the deadline of a route: `#[oai(…, transform = "no_deadline")]`. Such a handler must limit
/// its duration itself.
pub fn no_deadline(endpoint: impl Endpoint) -> impl Endpoint {
    endpoint.before(|request| async move {
        if let Some(deadline) = request.data::<Deadline>() {
            deadline.lifted.store(true, Ordering::Relaxed);
        }
        Ok(request)
    })
}
