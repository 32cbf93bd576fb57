//! The HTTP front end: the surfaces, their documents, health and metrics, in one process.
//!
//! [`endpoint`] is the complete front end over an [`App`]; [`start`] makes the app from a [`Config`]; [`serve()`]
//! serves it, in the binary and in the tests' own process.

pub mod config;
pub mod documents;

mod figures;
mod pages;
mod public;
mod serve;

use std::time::Duration;

use api_kit::{Admissions, App, Edge, RateLimiter, Services, Signer};
use jobs::{Surface, places::Places, queues::Gauge, watch::Hub};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use poem::{Endpoint, EndpointExt, Route, get};
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use serve::{Crowd, listen, serve};

use pages::Pages;

/// Maximum duration of a statement for a request: shorter than that of a request, so that the client gets an answer.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(20);

/// Maximum silence of PostgreSQL, and of a request's open transaction.
const SILENCE: Duration = Duration::from_secs(10);

/// Connects to all that the front end needs.
///
/// # Errors
/// When PostgreSQL, Redis or the file storage is unreachable.
pub async fn start(config: &Config) -> Result<App, StartError> {
    domain_jobs::install_kinds();
    config.storage.probe().await?;
    let fair = config.servers.fair_use(STATEMENT_TIMEOUT);
    let database = config.servers.connect(SILENCE, Some(fair)).await?;
    let database = database.with_keys(config.payload_keys.clone());
    let hub = Hub::start(database.clone());
    let keys = Signer::new(&config.secret);
    let admissions = Admissions::start(database.clone(), &hub);
    Ok(App::new(Services {
        database,
        config: config.api.clone(),
        keys,
        rates: RateLimiter::default(),
        lookups: Places::of(fair.per_workspace),
        admissions,
        hub,
        storage: config.storage.clone(),
        payments: config.payments.clone(),
    }))
}

/// A service that the front end needs is unreachable.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// PostgreSQL or Redis.
    #[error(transparent)]
    Connect(#[from] jobs::ConnectError),
    /// The file storage.
    #[error("STORAGE_URL: {0}")]
    Storage(#[from] runtime::storage::StorageError),
}

/// The recorder of the process's metrics.
///
/// # Errors
/// When the process has a recorder already.
pub fn figures() -> Result<PrometheusHandle, BuildError> {
    domain_jobs::install_kinds();
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &jobs::figures::SECONDS)?
        .install_recorder()?;
    jobs::figures::begin();
    Ok(handle)
}

/// All routes of the front end.
pub fn endpoint(app: App, figures: PrometheusHandle) -> impl Endpoint {
    endpoint_until(app, figures, CancellationToken::new())
}

/// The same, not ready any more once `leaving` is cancelled.
pub fn endpoint_until(app: App, figures: PrometheusHandle, leaving: CancellationToken) -> impl Endpoint {
    let (workspace, platform, ops) = (documents::workspace(), documents::platform(), documents::ops());
    let workspace_pages = Pages::of(&workspace, Surface::Workspace, "/api/v1/openapi.json");
    let platform_pages = Pages::of(&platform, Surface::Platform, "/docs/openapi.json");
    let ops_pages = Pages::of(&ops, Surface::Ops, "/ops/openapi.json");
    let gauge = Gauge::new((*app.database).clone());
    pages::add_viewer(Route::new())
        .nest("/api/v1", workspace)
        .at("/api/v1/docs", get(workspace_pages.send_page()))
        .at("/api/v1/openapi.json", get(workspace_pages.send_document()))
        .nest("/ops", ops)
        .at("/ops/docs", get(ops_pages.send_page()))
        .at("/ops/openapi.json", get(ops_pages.send_document()))
        .nest("/", platform)
        .at("/metrics", get(figures::render))
        .data(public::Process::new(platform_pages, (*app.database).clone(), leaving))
        .data(figures)
        .data(gauge)
        .with(Edge::of(app))
}
