//! Scheduled jobs, each to come once, spread over some seconds.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::{Findings, Lot, Tally, Workload, count};
use crate::{Client, cluster::Cluster};

const SCHEDULES: usize = 40;
/// The first comes after this long, and then one after the other.
const FIRST: TimeDelta = TimeDelta::milliseconds(1500);
const STEP: TimeDelta = TimeDelta::milliseconds(150);
/// What has not come this long after the last was due is forgotten.
const PATIENCE: TimeDelta = TimeDelta::seconds(30);

/// Each lot has schedules of its own, identified by their name.
#[derive(Default)]
pub struct Schedules {
    owner: Option<Client>,
    lots: usize,
    last: DateTime<Utc>,
}

impl Schedules {
    fn name_of_lot(&self) -> String {
        format!("lot {}", self.lots)
    }
}

#[async_trait]
impl Workload for Schedules {
    fn name(&self) -> &'static str {
        "40 schedules"
    }

    fn worker(&self) -> &'static str {
        "maintenance"
    }

    async fn prepare(&mut self, cluster: &Cluster) {
        self.owner = Some(cluster.owner().await);
        // More than a plan allows.
        sqlx::query("update control.plan_limits set schedules = null")
            .execute(&cluster.pool)
            .await
            .expect("limits are data");
    }

    async fn start(&mut self, _: &Cluster) -> Lot {
        self.lots += 1;
        let owner = self.owner.as_ref().expect("prepared");
        let mut at = jobs::clock::now() + FIRST;
        for _ in 0..SCHEDULES {
            let schedule = json!({ "name": self.name_of_lot(), "run_at": at, "action_type": "no_op" });
            owner.post("/v1/scheduled-jobs", schedule).await.expect(201);
            self.last = at;
            at += STEP;
        }
        Lot { total: count(SCHEDULES), at_least: 3, watches: Vec::new() }
    }

    async fn done(&self, cluster: &Cluster) -> i64 {
        let ended = format!(
            "select count(*) from shard.schedules s join shard.schedule_runs r on r.schedule_id = s.id
               join shard.finished_jobs f on f.id = r.job_id
              where s.name = '{}'",
            self.name_of_lot()
        );
        cluster.number(&ended).await
    }

    /// A row is an occurrence's job that has ended well. Between two occurrences no job is left, so the
    /// last is waited for.
    async fn verify(&mut self, cluster: &Cluster) -> Findings {
        while self.done(cluster).await < count(SCHEDULES) && jobs::clock::now() < self.last + PATIENCE {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let of_lot = format!(
            "from shard.schedules s join shard.schedule_runs r on r.schedule_id = s.id
               join shard.all_jobs j on j.id = r.job_id and j.state = 'completed'
              where s.name = '{}'",
            self.name_of_lot()
        );
        let rows = Tally {
            expected: count(SCHEDULES),
            found: cluster.number(&format!("select count(*) {of_lot}")).await,
            distinct: cluster.number(&format!("select count(distinct s.id) {of_lot}")).await,
        };
        Findings { rows, effects: None }
    }
}
