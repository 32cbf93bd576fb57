//! Where a fault meets a workload: the work begins, the fault strikes at some moment of it, and when
//! nothing is left to do, what came of it is counted.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use futures::future::join_all;
use jobs::{Database, JobId, NewJob, kinds::NoOp};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    fault::Fault,
    workload::{Findings, Lot, Tally, Workload},
};
use crate::cluster::{Cluster, LEASE};

/// How long work may take before what is left of it counts as lost.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What happened.
#[derive(Debug, Clone)]
pub struct Cell {
    pub fault: Fault,
    pub workload: &'static str,
    /// Jobs that the cell enqueued, directly and through others.
    pub jobs: i64,
    /// Jobs that did not complete, rows and outside effects that are not there.
    pub lost: i64,
    /// Rows and outside effects beyond one per key.
    pub duplicated: i64,
    /// Outside effects by distinct key, and how many there must be.
    pub effects: Option<(i64, i64)>,
    /// Watchers that missed something without a word, saw the sequence or the percent go back, or never
    /// saw the end.
    pub gaps: usize,
    /// Attempts spent by jobs, none of which was to blame.
    pub attempts: i64,
    /// Processes that ended without having been struck.
    pub fallen: Vec<&'static str>,
    /// Seconds from the fault until everything went on; none: not within the patience.
    pub whole_after: Option<f64>,
}

impl Cell {
    /// Lets the fault strike when that share of the work is done.
    pub async fn run(
        cluster: &mut Cluster,
        workload: &mut dyn Workload,
        fault: Fault,
        mut share: f64,
    ) -> Self {
        let database = cluster.database().await;
        let (mut since, mut lot, mut struck) = begin(cluster, workload, share).await;
        while struck.live == 0 {
            // It ended before the fault could strike; sooner, then.
            collect(lot.watches).await;
            share /= 2.0;
            (since, lot, struck) = begin(cluster, workload, share).await;
        }
        fault.strike(cluster, workload.worker()).await;
        struck.look_again(cluster).await;
        let whole_after = struck.wait_until_whole(cluster, &database).await;

        let left = wait_for_all(&cluster.pool, since).await;
        let (ends, gaps) = collect(lot.watches).await;
        let Findings { rows, effects } = workload.verify(cluster).await;
        let ledger = Ledger::since(&cluster.pool, since).await;
        database.pool.close().await;
        let unseen = ends.iter().filter(|end| end["status"] != "COMPLETED").count();
        Self {
            fault,
            workload: workload.name(),
            jobs: ledger.jobs,
            lost: left.max(ledger.jobs - ledger.completed) + rows.lost() + effects.map_or(0, Tally::lost),
            duplicated: rows.duplicated() + effects.map_or(0, Tally::duplicated),
            effects: effects.map(|effects| (effects.distinct, effects.expected)),
            gaps: gaps + unseen,
            attempts: ledger.attempts,
            fallen: cluster.restart_the_fallen(),
            whole_after,
        }
    }

    /// Whether nothing happened.
    pub fn is_clean(&self) -> bool {
        self.lost == 0
            && self.duplicated == 0
            && self.effects.is_none_or(|(distinct, expected)| distinct == expected)
            && self.gaps == 0
            && self.attempts == 0
            && self.fallen.is_empty()
            && self.whole_after.is_some()
    }
}

/// Begins a lot and waits for its moment.
async fn begin(cluster: &Cluster, workload: &mut dyn Workload, share: f64) -> (DateTime<Utc>, Lot, Struck) {
    let since = database_time(&cluster.pool).await.expect("PostgreSQL answers");
    let lot = workload.start(cluster).await;
    wait_for_share(cluster, workload, &lot, share).await;
    let struck = Struck::now(cluster, since).await;
    (since, lot, struck)
}

/// Waits for the moment at which the fault strikes: a share of the work between a hundredth and six tenths.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // a share of a count
async fn wait_for_share(cluster: &Cluster, workload: &dyn Workload, lot: &Lot, share: f64) {
    let target = ((lot.total as f64 * (0.01 + 0.59 * share)) as i64).max(lot.at_least);
    let began = Instant::now();
    while workload.done(cluster).await < target {
        assert!(began.elapsed() < PATIENCE, "{} stands still before anything has struck", workload.name());
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The moment of the fault: what ran then has to go on.
struct Struck {
    at: Instant,
    /// When whatever ended had been started again.
    over: DateTime<Utc>,
    running: HashMap<Uuid, i64>,
    /// Jobs that had not ended, running or not.
    live: i64,
}

impl Struck {
    async fn now(cluster: &Cluster, since: DateTime<Utc>) -> Self {
        let running = running(&cluster.pool).await;
        let live = live(&cluster.pool, since).await;
        let over = database_time(&cluster.pool).await.expect("PostgreSQL answers");
        Self { at: Instant::now(), over, running, live }
    }

    /// Adds what began to run until the fault had struck.
    async fn look_again(&mut self, cluster: &Cluster) {
        self.running.extend(running(&cluster.pool).await);
        self.over = database_time(&cluster.pool).await.expect("PostgreSQL answers");
    }

    /// Waits until the API is ready, every job that ran has ended, has a new holder, or its holder has been
    /// heard, and a job enqueued since is done.
    async fn wait_until_whole(&self, cluster: &Cluster, database: &Database) -> Option<f64> {
        let mut probe = None;
        while self.at.elapsed() < PATIENCE {
            match probe {
                None => probe = enqueue_probe(database).await.ok(),
                Some(probe) => {
                    if self.is_whole(cluster, probe).await.unwrap_or(false) && cluster.is_ready().await {
                        return Some(self.at.elapsed().as_secs_f64());
                    }
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        None
    }

    async fn is_whole(&self, cluster: &Cluster, probe: JobId) -> Result<bool, sqlx::Error> {
        let (ids, fences): (Vec<Uuid>, Vec<i64>) = self.running.iter().unzip();
        sqlx::query_scalar(
            "select exists (select from shard.finished_jobs where id = $1)
                and not exists (
                    select from unnest($2::uuid[], $3::bigint[]) as ran(id, fence) join shard.jobs j using (id)
                     where j.fence = ran.fence
                       and (j.state <> 'running' or j.lease_until <= $4::timestamptz + $5 * interval '1 second'))",
        )
        .bind(probe.0)
        .bind(ids)
        .bind(fences)
        .bind(self.over)
        .bind(LEASE.as_secs_f64())
        .fetch_one(&cluster.pool)
        .await
    }
}

/// The jobs that run, by id, with their fences.
async fn running(pool: &PgPool) -> HashMap<Uuid, i64> {
    let running: Vec<(Uuid, i64)> =
        sqlx::query_as("select id, fence from shard.jobs where state = 'running'")
            .fetch_all(pool)
            .await
            .expect("PostgreSQL answers");
    running.into_iter().collect()
}

/// A job that goes all the way: ledger, leader, Redis, worker.
async fn enqueue_probe(database: &Database) -> Result<JobId, sqlx::Error> {
    let probe = database.enqueue(NewJob::new(&NoOp::default()).priority(0)).await?;
    Ok(probe.id())
}

/// Waits until no job of the cell is live; returns how many still are after the timeout.
async fn wait_for_all(pool: &PgPool, since: DateTime<Utc>) -> i64 {
    let began = Instant::now();
    loop {
        let left = live(pool, since).await;
        if left == 0 || began.elapsed() > PATIENCE {
            return left;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The cell's jobs that have not ended.
async fn live(pool: &PgPool, since: DateTime<Utc>) -> i64 {
    sqlx::query_scalar("select count(*) from shard.jobs where created_at >= $1")
        .bind(since)
        .fetch_one(pool)
        .await
        .expect("PostgreSQL answers")
}

/// The last events that the watchers saw, and how many watchers missed some.
async fn collect(watches: Vec<tokio::task::JoinHandle<Value>>) -> (Vec<Value>, usize) {
    let aborts: Vec<_> = watches.iter().map(tokio::task::JoinHandle::abort_handle).collect();
    let ended = join_all(watches.into_iter().map(|watch| tokio::time::timeout(PATIENCE, watch))).await;
    aborts.iter().for_each(tokio::task::AbortHandle::abort);
    let all = ended.len();
    let ends: Vec<_> = ended.into_iter().filter_map(|end| end.ok()?.ok()).collect();
    let gaps = all - ends.len();
    (ends, gaps)
}

/// The state of a cell's jobs in the ledger.
struct Ledger {
    jobs: i64,
    completed: i64,
    attempts: i64,
}

impl Ledger {
    async fn since(pool: &PgPool, since: DateTime<Utc>) -> Self {
        let (jobs, completed, attempts) = sqlx::query_as(
            "select count(*), count(*) filter (where state = 'completed'),
                    coalesce(sum(attempt - 1) filter (where attempt > 1), 0)::bigint
               from shard.all_jobs where created_at >= $1",
        )
        .bind(since)
        .fetch_one(pool)
        .await
        .expect("PostgreSQL answers");
        Self { jobs, completed, attempts }
    }
}

async fn database_time(pool: &PgPool) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar("select clock_timestamp()").fetch_one(pool).await
}
