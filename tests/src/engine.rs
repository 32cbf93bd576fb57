//! The engine by itself: a dispatcher and workers over kinds of the test's own, without an API.

mod border;
mod ends;
mod ledger;
mod lookups;
mod payloads;
mod plans;

use std::{collections::HashMap, time::Duration};

use jobs::{
    Database, JobId, PayloadKeys, Pool, Registry,
    dispatch::{DispatchConfig, dispatch},
    worker::{WorkerConfig, work},
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::database::{TestDatabase, variable};

/// A database and a Redis prefix of the test's own, with a dispatcher.
struct Engine {
    database: Database,
    clone: TestDatabase,
    stop: CancellationToken,
}

impl Engine {
    async fn start(keys: PayloadKeys) -> Self {
        let clone = TestDatabase::create().await;
        let prefix = format!("t{}", Uuid::now_v7().simple());
        let database = clone.connect(&variable("REDIS_URL"), &prefix).await.with_keys(keys);
        let stop = CancellationToken::new();
        let (scheduler, url, stopped) = (database.clone(), clone.url.clone(), stop.clone());
        tokio::spawn(async move { dispatch(scheduler, &url, DispatchConfig::default(), stopped).await });
        Self { database, clone, stop }
    }

    /// Starts a worker of every pool, until the token is cancelled or the engine stops.
    fn worker(&self, database: Database, registry: Registry) -> CancellationToken {
        let stop = self.stop.child_token();
        let slots: HashMap<_, _> = Pool::all().iter().copied().map(|pool| (pool, 4)).collect();
        tokio::spawn(work(database, registry, WorkerConfig::new(slots), stop.clone()));
        stop
    }

    /// Waits for the job's end; answers with its state, attempts, result and error.
    async fn end_of(&self, job: JobId) -> (String, i32, Option<Value>, Option<Value>) {
        for _ in 0..3000 {
            let ended =
                sqlx::query_as("select state, attempt, result, error from finished_jobs where id = $1")
                    .bind(job.0)
                    .fetch_optional(&self.database.pool)
                    .await
                    .unwrap();
            if let Some(ended) = ended {
                return ended;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("job {job} did not end within 30 s");
    }

    async fn stop(self) {
        self.stop.cancel();
        self.database.pool.close().await;
        self.clone.remove().await;
    }
}
