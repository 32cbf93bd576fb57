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

/// The deadline of one request.
#[derive(Debug, Clone)]
pub(super) struct Deadline {
    after: Duration,
    lifted: Arc<AtomicBool>,
}

impl Deadline {
    pub(super) fn new(after: Duration) -> Self {
        Self { after, lifted: Arc::default() }
    }

    /// Resolves when it has passed; never when it was lifted.
    pub(super) async fn passed(&self) {
        tokio::time::sleep(self.after).await;
        if self.lifted.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
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
