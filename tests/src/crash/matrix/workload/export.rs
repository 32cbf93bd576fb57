//! The records of a recordset into a file.

use std::collections::HashSet;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Findings, Lot, Tally, Workload, count, rows_done};
use crate::{
    Client,
    cluster::Cluster,
    crash::{start_import, watch},
};

/// Enough for several segments.
const RECORDS: usize = 250_000;

/// One export at a time, of the same records.
#[derive(Default)]
pub struct Exports {
    owner: Option<Client>,
    recordset: Value,
    started: Value,
}

#[async_trait]
impl Workload for Exports {
    fn name(&self) -> &'static str {
        "export"
    }

    fn worker(&self) -> &'static str {
        "exports"
    }

    async fn prepare(&mut self, cluster: &Cluster) {
        let owner = cluster.owner().await;
        let imported = start_import(&owner, RECORDS).await;
        owner.follow(&imported).await;
        self.recordset = imported["recordset"]["id"].clone();
        self.owner = Some(owner);
    }

    async fn start(&mut self, _: &Cluster) -> Lot {
        let owner = self.owner.as_ref().expect("prepared");
        let body = json!({ "recordset_id": self.recordset });
        self.started = owner.post("/recordsets/export", body).await.expect(202);
        Lot { total: count(RECORDS), at_least: 1, watches: vec![watch(owner, &self.started)] }
    }

    async fn done(&self, _: &Cluster) -> i64 {
        rows_done(self.owner.as_ref().expect("prepared"), &self.started).await
    }

    /// The file is what the outside gets: each record is one line of it.
    async fn verify(&mut self, _: &Cluster) -> Findings {
        let owner = self.owner.as_ref().expect("prepared");
        let job = self.started["job_id"].as_str().expect("an answer that starts a job names it");
        let detail = owner.get(&format!("/recordsets/import/jobs/{job}")).await.expect(200);
        let mut numbers = Vec::new();
        if let Some(url) = detail["download_url"].as_str() {
            let file = owner.get(url).await;
            assert_eq!(file.status, 200);
            numbers =
                file.text.lines().skip(1).map(|line| line.split(',').next().unwrap().to_owned()).collect();
        }
        let distinct = numbers.iter().collect::<HashSet<_>>().len();
        let rows = Tally { expected: count(RECORDS), found: count(numbers.len()), distinct: count(distinct) };
        Findings { rows, effects: None }
    }
}
