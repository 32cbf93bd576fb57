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

/// Within what time the ready jobs should be through, in seconds, unless asked otherwise, and at the most.
const TARGET: (u64, u64) = (60, 86_400);

/// What an autoscaler goes by.
#[derive(Debug, Clone, Object)]
struct Scaling {
    /// The pool.
    pool: String,
    /// Due and not paused.
    ready: i64,
    /// With a worker.
    running: i64,
    /// Slots of the live workers that take jobs.
    slots: i64,
    /// How long the one that has been ready longest has been due; 0 without any.
    oldest_seconds: f64,
    /// How long the live slots will take for what is ready; with none, as for one.
    backlog_seconds: f64,
    /// Slots that the pool should have: divided by those of a process, the number of processes.
    desired: i64,
}

pub(crate) struct ScalingApi;

#[OpenApi(prefix_path = "/pools", tag = "Tag::Queues")]
impl ScalingApi {
    /// Tell how large a pool should be
    ///
    /// `desired` counts slots: those that are busy, and as many more as it takes to be through with what
    /// is ready within `target`, but not more than there are jobs; 0 when there is nothing to do.
    #[oai(path = "/:pool/scaling", method = "get", operation_id = "get_pool_scaling")]
    async fn scaling(
        &self,
        _operator: Operator,
        gauge: Data<&Gauge>,
        pool: Path<Pool>,
        /// Seconds, 60 unless said otherwise, at most a day.
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
