//! Requests that need an unreachable database fail at once, instead of waiting for a connection.

use std::time::Duration;

use tokio::time::timeout;

use crate::App;

/// Duration of a request after which the reachability of PostgreSQL is checked.
const USUAL: Duration = Duration::from_millis(250);
/// Paths that are answered without PostgreSQL, or that report its state themselves.
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
    // For a long poll, the intervals between the checks grow.
    let mut patience = USUAL;
    while timeout(patience, reach.lost()).await.is_err() {
        reach.doubt();
        patience *= 4;
    }
}
