//! Job handlers, each under the name of its area, and what the binaries in `src/bin` share.
//!
//! A handler's docs say what happens when its process is killed at any line. The engine in `jobs`
//! does the rest: claiming, leases, retries, progress, cancelling.

pub mod engine;
pub mod export;
pub mod import;
pub mod maintenance;
pub mod process;

use std::sync::Arc;

use domain::storage::Storage;
use jobs::Registry;

/// What handlers work with.
#[derive(Debug)]
pub struct Services {
    /// The database and the bus.
    pub database: jobs::Database,
    /// Where files' bytes are.
    pub storage: Storage,
}

/// Every kind that this release handles.
#[must_use]
pub fn registry(services: &Arc<Services>) -> Registry {
    Registry::new()
        .on(services, engine::no_op)
        .on(services, import::import_records)
        .on(services, import::discard_import)
        .on(services, export::export_records)
        .on(services, maintenance::sweep_uploads)
}
