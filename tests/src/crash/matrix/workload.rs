//! What may be going on when a fault strikes. A further workload is one type here and a line in [`all`].

mod batches;
mod export;
mod flood;
mod import;
mod mails;
mod outbox;
mod schedules;
mod sign_ups;

use async_trait::async_trait;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::{Client, cluster::Cluster};

/// A kind of work. One value serves a whole column: each `start` begins a fresh lot.
#[async_trait]
pub trait Workload: Send + Sync {
    /// As the table names it.
    fn name(&self) -> &'static str;

    /// The process that does it.
    fn worker(&self) -> &'static str;

    /// Makes what all lots need, once per cluster.
    async fn prepare(&mut self, cluster: &Cluster);

    /// Sets a fresh lot going.
    async fn start(&mut self, cluster: &Cluster) -> Lot;

    /// How much of the lot is done, in units of its total.
    async fn done(&self, cluster: &Cluster) -> i64;

    /// Counts what came of the lot, once no job is left.
    async fn verify(&mut self, cluster: &Cluster) -> Findings;
}

/// All workloads.
pub fn all() -> Vec<Box<dyn Workload>> {
    vec![
        Box::new(import::Imports::default()),
        Box::new(export::Exports::default()),
        Box::new(sign_ups::SignUps::default()),
        Box::new(flood::Flood::default()),
        Box::new(mails::Mails::default()),
        Box::new(batches::Batches::default()),
        Box::new(schedules::Schedules::default()),
    ]
}

/// Work under way.
pub struct Lot {
    /// How much there is to do.
    pub total: i64,
    /// How much must be done before the fault strikes, so that it strikes something.
    pub at_least: i64,
    /// Watchers of some of its jobs, who go on to the end.
    pub watches: Vec<JoinHandle<Value>>,
}

/// What came of a lot.
pub struct Findings {
    /// Rows, or what else the work leaves in the database.
    pub rows: Tally,
    /// External effects.
    pub effects: Option<Tally>,
}

/// Things counted by their keys.
#[derive(Debug, Clone, Copy)]
pub struct Tally {
    /// Keys that there must be.
    pub expected: i64,
    /// Things that there are.
    pub found: i64,
    /// Keys of those.
    pub distinct: i64,
}

impl Tally {
    /// Keys of which there is nothing.
    pub fn lost(self) -> i64 {
        (self.expected - self.distinct).max(0)
    }

    /// Things beyond one per key, and things that were not requested.
    pub fn duplicated(self) -> i64 {
        self.found - self.distinct + (self.distinct - self.expected).max(0)
    }
}

/// How many rows a started job has done, as its watchers see it.
async fn rows_done(owner: &Client, started: &Value) -> i64 {
    let status_url = started["status_url"].as_str().expect("an answer that starts a job has a status_url");
    owner.get(status_url).await.expect(200)["counts"]["done"].as_i64().unwrap_or(0)
}

fn count(n: usize) -> i64 {
    i64::try_from(n).expect("a count")
}
