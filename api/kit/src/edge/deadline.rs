//! How long a request may take. Routes that take uploads, stream or poll long lift the deadline with
//! `transform = "unhurried"`.

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

    /// When the whole body must be there: early enough for an answer, which says so.
    pub(super) fn of_body(&self) -> Instant {
        self.began + self.after * 5 / 6
    }

    /// Resolves when it has passed; never when it was lifted.
    pub(super) async fn passed(&self) {
        tokio::time::sleep_until(self.began + self.after).await;
        if self.lifted.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

/// Marks a route by which clients look at jobs: `#[oai(…, transform = "watching")]`. It takes its time, as
/// an [`unhurried`] one does, and looks are counted apart from what the caller's plan allows.
pub fn watching(endpoint: impl Endpoint) -> impl Endpoint {
    unhurried(endpoint).before(|mut request| async move {
        request.set_data(Watching);
        Ok(request)
    })
}

/// Lifts the deadline of a route: `#[oai(…, transform = "unhurried")]`. Such a handler must see to it
/// by itself that it ends.
pub fn unhurried(endpoint: impl Endpoint) -> impl Endpoint {
    endpoint.before(|request| async move {
        if let Some(deadline) = request.data::<Deadline>() {
            deadline.lifted.store(true, Ordering::Relaxed);
        }
        Ok(request)
    })
}
