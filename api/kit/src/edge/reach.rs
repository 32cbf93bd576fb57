//! Requests that need a database that is out of reach are told so at once, instead of waiting for a connection.

use std::time::Duration;

use tokio::time::timeout;

use crate::App;

/// How long a request runs before it is doubted that PostgreSQL answers it.
const USUAL: Duration = Duration::from_millis(250);
/// What is answered without PostgreSQL, or says by itself that it is out of reach.
const WITHOUT: [&str; 9] = [
    "/",
    "/health",
    "/ready",
    "/metrics",
    "/docs",
    "/docs/openapi.json",
    "/api/v1/docs",
    "/api/v1/openapi.json",
    "/ops/docs",
];

/// Resolves when a request to that path can't be answered because PostgreSQL is out of reach.
pub(super) async fn lost(app: Option<&App>, path: &str) {
    let Some(app) = app.filter(|_| !WITHOUT.contains(&path)) else { return std::future::pending().await };
    let reach = &app.database.reach;
    // One that polls long is in doubt more and more seldom.
    let mut patience = USUAL;
    while timeout(patience, reach.lost()).await.is_err() {
        reach.doubt();
        patience *= 4;
    }
}
