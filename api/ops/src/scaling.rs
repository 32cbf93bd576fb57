//! Scaling: one small answer per pool for an autoscaler, such as KEDA's `metrics-api` scaler.

use std::time::Duration;

use api_kit::{Answer, ApiError, Operator};
use jobs::{Pool, queues::Gauge};
use poem::web::Data;
use poem_openapi::{
    Object, OpenApi,
    param::{Path, Query},
    payload::Json,
};

use crate::queues::Tag;

/// Default and maximum target time for working off the ready jobs, in seconds.
const TARGET: (u64, u64) = (60, 86_400);

/// Figures for an autoscaler.
#[derive(Debug, Clone, Object)]
struct Scaling {
    /// Name of the pool.
    pool: String,
    /// Number of jobs that are due and not paused.
    ready: i64,
    /// Number of running jobs.
    running: i64,
    /// Number of slots of the live workers that accept jobs.
    slots: i64,
    /// Time in seconds for which the oldest ready job has been due; 0 if there is none.
    oldest_seconds: f64,
    /// Estimated time in seconds for the live slots to work off the ready jobs; without live slots, for one slot.
    backlog_seconds: f64,
    /// Number of slots that the pool should have; divided by the slots of a process, the number of processes.
    desired: i64,
}

pub(crate) struct ScalingApi;

#[OpenApi(prefix_path = "/pools", tag = "Tag::Queues")]
impl ScalingApi {
    /// Show the desired size of a pool
    ///
    /// `desired` counts slots: the busy ones, and as many more as are needed to work off the
    /// ready jobs within `target`, but no more than there are jobs; 0 without jobs.
    #[oai(path = "/:pool/scaling", method = "get", operation_id = "get_pool_scaling")]
    async fn scaling(
        &self,
        _operator: Operator,
        gauge: Data<&Gauge>,
        pool: Path<Pool>,
        /// Target time in seconds: 60 by default, at most a day.
        target: Query<Option<u64>>,
    ) -> Answer<Json<Scaling>> {
        let target = Duration::from_secs(target.unwrap_or(TARGET.0).clamp(1, TARGET.1));
        let figures = gauge.read().await?;
        let queue = figures.pool(*pool).ok_or_else(ApiError::not_found)?;
        Ok(Json(Scaling {
            pool: queue.pool.clone(),
            ready: queue.ready,
            running: queue.running,
            slots: queue.slots,
            oldest_seconds: queue.oldest_seconds,
            backlog_seconds: queue.backlog_seconds,
            desired: queue.desired(target),
        }))
    }
}
