//! Twenty thousand jobs that do nothing, all due at once.

use async_trait::async_trait;
use jobs::{JobId, NewJob, kinds::NoOp};
use uuid::Uuid;

use super::{Findings, Lot, Tally, Workload, count};
use crate::{Client, cluster::Cluster, crash::watch_to_the_end};

const JOBS: usize = 20_000;
/// Some that are watched: of the first, of the middle, of the last.
const WATCHED: [usize; 5] = [0, 10, JOBS / 2, JOBS * 3 / 4, JOBS - 1];

/// A flood of no-ops.
#[derive(Default)]
pub struct Flood {
    owner: Option<Client>,
    first: Option<Uuid>,
    last: Option<Uuid>,
}

impl Flood {
    /// The lot's jobs, for a query: ids grow.
    fn lot(&self) -> String {
        let (first, last) = (self.first.expect("started"), self.last.expect("started"));
        format!("kind = 'engine.no_op' and priority = 9 and id between '{first}' and '{last}'")
    }
}

#[async_trait]
impl Workload for Flood {
    fn name(&self) -> &'static str {
        "20,000 no-ops"
    }

    fn worker(&self) -> &'static str {
        "maintenance"
    }

    async fn prepare(&mut self, cluster: &Cluster) {
        self.owner = Some(cluster.owner().await);
    }

    async fn start(&mut self, cluster: &Cluster) -> Lot {
        let owner = self.owner.as_ref().expect("prepared");
        let workspace = owner.workspace.as_ref().and_then(|id| id.parse().ok());
        let ids: Vec<_> = (0..JOBS).map(|_| JobId::new()).collect();
        self.first = ids.iter().map(|id| id.0).min();
        self.last = ids.iter().map(|id| id.0).max();
        let database = cluster.database().await;
        let mut tx = database.begin().await.expect("PostgreSQL answers");
        let nothing = NoOp::default();
        for ids in ids.chunks(1000) {
            let jobs = ids.iter().map(|&id| NewJob::new(&nothing).id(id).workspace(workspace)).collect();
            jobs::enqueue_all(&mut tx, jobs).await.expect("PostgreSQL answers");
        }
        tx.commit().await.expect("PostgreSQL answers");
        database.pool.close().await;
        let watches = WATCHED
            .map(|n| tokio::spawn(watch_to_the_end(owner.clone(), format!("/jobs/{}/stream", ids[n]))))
            .into();
        Lot { total: count(JOBS), at_least: 1, watches }
    }

    async fn done(&self, cluster: &Cluster) -> i64 {
        cluster.number(&format!("select count(*) from shard.finished_jobs where {}", self.lot())).await
    }

    /// A row is a job: it is in one place, once.
    async fn verify(&mut self, cluster: &Cluster) -> Findings {
        let lot = self.lot();
        let rows = Tally {
            expected: count(JOBS),
            found: cluster.number(&format!("select count(*) from shard.all_jobs where {lot}")).await,
            distinct: cluster
                .number(&format!(
                    "select count(distinct id) from shard.all_jobs where {lot} and state = 'completed'"
                ))
                .await,
        };
        Findings { rows, effects: None }
    }
}
