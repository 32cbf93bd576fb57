//! Health, readiness, documentation and landing page of the service.
//! Contract section "Public" (P-PUB-01 to 05).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use api_accounts::platform::PublicTag;
use api_kit::{Answer, ApiError, App, Envelope, RequestId, Wrapped};
use chrono::{DateTime, Utc};
use domain::installation::{Installation, Probe};
use jobs::Database;
use poem::{IntoResponse, Request, Response, http::StatusCode, web::Data};
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    payload::Json,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry},
};
use runtime::storage::Storage;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::pages::{self, Asset, Pages};

/// Maximum age of a result of the probe of the file storage.
const PROBE_AGE: Duration = Duration::from_secs(10);
/// Name of this service.
const SERVICE: &str = "millrace";
const HTML: &str = "text/html";
const JSON: &str = "application/json";

/// Start time of this process, and its pages.
#[derive(Clone)]
pub(crate) struct Process {
    started: Instant,
    pages: Pages,
    landing: Asset,
    store: Arc<StoreProbe>,
    probe: Arc<Probe>,
    /// Cancelled when the process is about to stop.
    leaving: CancellationToken,
}

impl Process {
    /// A process that starts now.
    pub(crate) fn new(pages: Pages, database: Database, leaving: CancellationToken) -> Self {
        Self {
            started: Instant::now(),
            pages,
            landing: pages::landing(),
            store: Arc::default(),
            probe: Arc::new(Probe::new(database)),
            leaving,
        }
    }
}

/// The latest result of the probe of the file storage.
#[derive(Default)]
struct StoreProbe(Mutex<Option<(Instant, bool)>>);

impl StoreProbe {
    /// Fails while the file storage accepts no writes; probes it again after [`PROBE_AGE`].
    async fn check(&self, storage: &Storage) -> Result<(), ApiError> {
        let mut last = self.0.lock().await;
        let takes_writes = match *last {
            Some((at, answer)) if at.elapsed() < PROBE_AGE => answer,
            _ => {
                let answer = storage.probe().await;
                if let Err(error) = &answer {
                    tracing::warn!(%error, "not ready");
                }
                *last = Some((Instant::now(), answer.is_ok()));
                answer.is_ok()
            }
        };
        let refused = || ApiError::unavailable("storage_unreachable", "the file storage accepts no writes");
        if takes_writes { Ok(()) } else { Err(refused()) }
    }
}

/// The process is up.
#[derive(Debug, Object)]
struct Health {
    /// Status: always `ok`.
    status: String,
    /// Name of the service: always `millrace`.
    service: String,
    /// Version of the running release.
    version: String,
    /// Current time.
    timestamp: DateTime<Utc>,
    /// Region of the installation.
    region: String,
    /// Uptime of the process in seconds.
    uptime: u64,
}

/// The process can serve requests.
#[derive(Debug, Object)]
struct Readiness {
    /// Status: always `ready`.
    status: String,
    /// Name of the service: always `millrace`.
    service: String,
    /// Current time.
    timestamp: DateTime<Utc>,
}

/// A page of HTML.
struct Page(Response);

/// A document.
struct Document(Response);

/// The documentation of a body of that type, which a client may have cached.
fn documented(content_type: &'static str, schema: MetaSchema) -> MetaResponses {
    let answer = |status: StatusCode, description, content| MetaResponse {
        description,
        status: Some(status.as_u16()),
        status_range: None,
        content,
        headers: vec![],
    };
    let content = vec![MetaMediaType { content_type, schema: MetaSchemaRef::Inline(Box::new(schema)) }];
    MetaResponses {
        responses: vec![
            answer(StatusCode::OK, "", content),
            answer(StatusCode::NOT_MODIFIED, "Unchanged since the `ETag` in `If-None-Match`", vec![]),
        ],
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        self.0
    }
}

impl ApiResponse for Page {
    fn meta() -> MetaResponses {
        documented(HTML, MetaSchema::new("string"))
    }

    fn register(_: &mut Registry) {}
}

impl IntoResponse for Document {
    fn into_response(self) -> Response {
        self.0
    }
}

impl ApiResponse for Document {
    fn meta() -> MetaResponses {
        documented(JSON, MetaSchema::new("object"))
    }

    fn register(_: &mut Registry) {}
}

/// Routes of the section.
pub struct PublicApi;

#[OpenApi(tag = "PublicTag::Public")]
#[allow(clippy::unused_async)] // a handler is async
impl PublicApi {
    /// Check whether the process is up
    ///
    /// Checks no other service: for a supervisor that restarts the process.
    #[oai(path = "/health", method = "get", operation_id = "health")]
    async fn health(
        &self,
        app: Data<&App>,
        process: Data<&Process>,
        request: Data<&RequestId>,
    ) -> Wrapped<Health> {
        let health = Health {
            status: "ok".to_owned(),
            service: SERVICE.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            timestamp: jobs::clock::now(),
            region: app.config.region.clone(),
            uptime: process.started.elapsed().as_secs(),
        };
        Ok(Json(Envelope::new(health, request.0.0.to_string())))
    }

    /// Check whether the process can serve requests
    ///
    /// Checks PostgreSQL, whose schemas must be up to date, writing to Redis, and at most every ten seconds the
    /// file storage: for a load balancer that directs requests elsewhere. 503 `stopping` once the process is
    /// about to stop.
    #[oai(path = "/ready", method = "get", operation_id = "ready")]
    async fn ready(
        &self,
        app: Data<&App>,
        process: Data<&Process>,
        request: Data<&RequestId>,
    ) -> Wrapped<Readiness> {
        if process.leaving.is_cancelled() {
            return Err(ApiError::unavailable("stopping", "the process is stopping"));
        }
        let database = &app.database;
        let installation = match process.probe.look().await {
            Ok(installation) if database.reach.away().is_none() => installation,
            _ => {
                database.reach.doubt();
                return Err(ApiError::database_unreachable());
            }
        };
        if matches!(installation, Installation::Behind | Installation::Restored) {
            return Err(ApiError::unavailable(
                "migration_required",
                "the database lacks migrations of this release; run migrate",
            ));
        }
        database.bus.probe().await.map_err(|error| {
            ApiError::unavailable("redis_unreachable", format!("Redis accepts no writes: {error}"))
        })?;
        process.store.check(&app.storage).await?;
        let readiness = Readiness {
            status: "ready".to_owned(),
            service: SERVICE.to_owned(),
            timestamp: jobs::clock::now(),
        };
        Ok(Json(Envelope::new(readiness, request.0.0.to_string())))
    }

    /// Show the landing page
    #[oai(path = "/", method = "get", operation_id = "landing_page")]
    async fn landing(&self, process: Data<&Process>, request: &Request) -> Answer<Page> {
        Ok(Page(process.landing.answer(request)))
    }

    /// Show this documentation
    #[oai(path = "/docs", method = "get", operation_id = "api_docs")]
    async fn docs(&self, process: Data<&Process>, request: &Request) -> Answer<Page> {
        Ok(Page(process.pages.page.answer(request)))
    }

    /// Show this document
    #[oai(path = "/docs/openapi.json", method = "get", operation_id = "openapi_document")]
    async fn document(&self, process: Data<&Process>, request: &Request) -> Answer<Document> {
        Ok(Document(process.pages.document.answer(request)))
    }
}
