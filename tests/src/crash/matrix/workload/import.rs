//! A file's rows into a new recordset.

use async_trait::async_trait;
use serde_json::Value;

use super::{Findings, Lot, Tally, Workload, count, rows_done};
use crate::{
    Client,
    cluster::Cluster,
    crash::{ROWS, schema_of, start_import, watch},
};

/// One import at a time.
#[derive(Default)]
pub struct Imports {
    owner: Option<Client>,
    started: Value,
}

#[async_trait]
impl Workload for Imports {
    fn name(&self) -> &'static str {
        "import"
    }

    fn worker(&self) -> &'static str {
        "imports"
    }

    async fn prepare(&mut self, cluster: &Cluster) {
        self.owner = Some(cluster.owner().await);
    }

    async fn start(&mut self, _: &Cluster) -> Lot {
        let owner = self.owner.as_ref().expect("prepared");
        self.started = start_import(owner, ROWS).await;
        Lot { total: count(ROWS), at_least: 1, watches: vec![watch(owner, &self.started)] }
    }

    async fn done(&self, _: &Cluster) -> i64 {
        rows_done(self.owner.as_ref().expect("prepared"), &self.started).await
    }

    async fn verify(&mut self, cluster: &Cluster) -> Findings {
        let schema = schema_of(self.owner.as_ref().expect("prepared"));
        let recordset = self.started["recordset"]["id"].as_str().expect("an import has a recordset");
        let records = format!("from {schema}.live_records where recordset_id = '{recordset}'");
        let rows = Tally {
            expected: count(ROWS),
            found: cluster.number(&format!("select count(*) {records}")).await,
            distinct: cluster.number(&format!("select count(distinct data->>'number') {records}")).await,
        };
        Findings { rows, effects: None }
    }
}
