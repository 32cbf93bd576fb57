//! Whether the service is up, and whether it can do its work.

use api_kit::{Answer, ApiError, App, Tag};
use poem::web::Data;
use poem_openapi::{Object, OpenApi, payload::Json};

/// The service is up.
#[derive(Debug, Object)]
pub struct Health {
    /// Always `ok`.
    status: String,
    /// The release that answers.
    version: String,
}

/// See the module.
pub struct HealthApi;

#[OpenApi(tag = "Tag::Health")]
#[allow(clippy::unused_async)] // a handler is async
impl HealthApi {
    /// Tell whether the process is up
    ///
    /// Asks nobody else: for a supervisor that would restart it.
    #[oai(path = "/health", method = "get", operation_id = "health")]
    async fn health(&self) -> Json<Health> {
        Json(Health::ok())
    }

    /// Tell whether the process can take requests
    ///
    /// Asks PostgreSQL and Redis: for a load balancer that would send requests elsewhere.
    #[oai(path = "/ready", method = "get", operation_id = "ready")]
    async fn ready(&self, app: Data<&App>) -> Answer<Json<Health>> {
        let database = &app.database;
        sqlx::query!("select 1 as one")
            .fetch_one(&database.pool)
            .await
            .map_err(|_| ApiError::unavailable("database_unreachable", "PostgreSQL does not answer"))?;
        database
            .bus
            .ping()
            .await
            .map_err(|_| ApiError::unavailable("redis_unreachable", "Redis does not answer"))?;
        Ok(Json(Health::ok()))
    }
}

impl Health {
    fn ok() -> Self {
        Self { status: "ok".into(), version: env!("CARGO_PKG_VERSION").into() }
    }
}
