//! Queues: how each pool stands, and why.

use api_kit::{Answer, ApiError, Operator};
use chrono::{DateTime, Utc};
use jobs::{
    Pool,
    queues::{self, Gauge, KindQueue, PoolQueue, TenantQueue},
};
use poem::web::Data;
use poem_openapi::{
    Object, OpenApi, Tags,
    param::{Path, Query},
    payload::Json,
};

/// Tenants shown unless asked otherwise, and at the most.
const TENANTS: (i64, i64) = (20, 200);

/// Every pool.
#[derive(Debug, Clone, Object)]
struct Queues {
    /// One for each pool, also for those without jobs or workers.
    pools: Vec<PoolQueue>,
    /// Whether a scheduler leads. Without one nothing new begins.
    led: bool,
    /// When this was counted: two seconds ago at the most, or a little more when counting takes long.
    at: DateTime<Utc>,
}

/// One pool.
#[derive(Debug, Clone, Object)]
struct Queue {
    /// The pool as a whole.
    #[oai(flatten)]
    pool: PoolQueue,
    /// Its kinds that have live jobs.
    kinds: Vec<KindQueue>,
    /// The workspaces with the most live jobs in it, counted now.
    workspaces: Vec<TenantQueue>,
    /// When the others were counted.
    at: DateTime<Utc>,
}

#[derive(Tags)]
pub(crate) enum Tag {
    /// What waits and runs in each pool.
    Queues,
}

pub(crate) struct QueuesApi;

#[OpenApi(prefix_path = "/queues", tag = "Tag::Queues")]
impl QueuesApi {
    /// See how every pool stands
    #[oai(path = "/", method = "get", operation_id = "list_queues")]
    async fn list(&self, _operator: Operator, gauge: Data<&Gauge>) -> Answer<Json<Queues>> {
        let figures = gauge.read().await?;
        Ok(Json(Queues { pools: figures.pools.clone(), led: figures.led, at: figures.at }))
    }

    /// See how a pool stands, by kind and by workspace
    #[oai(path = "/:pool", method = "get", operation_id = "get_queue")]
    async fn get(
        &self,
        operator: Operator,
        gauge: Data<&Gauge>,
        pool: Path<Pool>,
        /// Workspaces to show: 20, and at the most 200.
        limit: Query<Option<i64>>,
    ) -> Answer<Json<Queue>> {
        let figures = gauge.read().await?;
        let kinds = figures.kinds.iter().filter(|kind| kind.pool == pool.name()).cloned().collect();
        let limit = limit.unwrap_or(TENANTS.0).clamp(1, TENANTS.1);
        Ok(Json(Queue {
            pool: figures.pool(*pool).cloned().ok_or_else(ApiError::not_found)?,
            kinds,
            workspaces: queues::tenants(operator.database(), *pool, limit).await?,
            at: figures.at,
        }))
    }
}
