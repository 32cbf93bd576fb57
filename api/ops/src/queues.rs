//! Queues: the state of each pool.

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

/// Default and maximum number of workspaces shown.
const TENANTS: (i64, i64) = (20, 200);

/// All pools.
#[derive(Debug, Clone, Object)]
struct Queues {
    /// Pools, including those without jobs or workers.
    pools: Vec<PoolQueue>,
    /// Whether a scheduler is active. Without one no job starts.
    led: bool,
    /// Time of the count: at most two seconds ago, or slightly more while counting takes long.
    at: DateTime<Utc>,
}

/// A pool in detail.
#[derive(Debug, Clone, Object)]
struct Queue {
    /// Totals of the pool.
    #[oai(flatten)]
    pool: PoolQueue,
    /// Kinds with unfinished jobs in the pool.
    kinds: Vec<KindQueue>,
    /// Workspaces with the most unfinished jobs in the pool, counted now.
    workspaces: Vec<TenantQueue>,
    /// Time of the count of the other figures.
    at: DateTime<Utc>,
}

#[derive(Tags)]
pub(crate) enum Tag {
    /// Waiting and running jobs of each pool.
    Queues,
}

pub(crate) struct QueuesApi;

#[OpenApi(prefix_path = "/queues", tag = "Tag::Queues")]
impl QueuesApi {
    /// Show the state of all pools
    #[oai(path = "/", method = "get", operation_id = "list_queues")]
    async fn list(&self, _operator: Operator, gauge: Data<&Gauge>) -> Answer<Json<Queues>> {
        let figures = gauge.read().await?;
        Ok(Json(Queues { pools: figures.pools.clone(), led: figures.led, at: figures.at }))
    }

    /// Show the state of a pool, by kind and by workspace
    #[oai(path = "/:pool", method = "get", operation_id = "get_queue")]
    async fn get(
        &self,
        operator: Operator,
        gauge: Data<&Gauge>,
        pool: Path<Pool>,
        /// Maximum number of workspaces in the answer: 20 by default, at most 200.
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
