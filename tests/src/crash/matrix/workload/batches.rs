//! A batch of thousands, after which one mail goes out.

use async_trait::async_trait;
use domain::job_kinds::SendMail;
use jobs::{
    JobId, NewJob,
    batch::{self, NewBatch},
    kinds::NoOp,
};

use super::{Findings, Lot, Tally, Workload, count, outbox};
use crate::{Client, cluster::Cluster, crash::watch_to_the_end};

const CHILDREN: usize = 5000;

/// One batch at a time.
#[derive(Default)]
pub struct Batches {
    owner: Option<Client>,
    parent: Option<JobId>,
    address: String,
}

impl Batches {
    fn parent(&self) -> JobId {
        self.parent.expect("started")
    }
}

#[async_trait]
impl Workload for Batches {
    fn name(&self) -> &'static str {
        "batch of 5,000"
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
        self.address = format!("{}@example.com", JobId::new());
        let mail = SendMail {
            to: self.address.clone(),
            subject: "Done".into(),
            text: "All is done.".into(),
            html: None,
        };
        let database = cluster.database().await;
        let new = NewBatch::new("Matrix").workspace(workspace);
        let new = new.on_complete(&database, NewJob::new(&mail)).expect("a mail can be enqueued");
        let mut tx = database.begin().await.expect("PostgreSQL answers");
        let parent = batch::open(&mut tx, new).await.expect("PostgreSQL answers");
        let nothing = NoOp::default();
        let children = (0..CHILDREN).map(|_| NewJob::new(&nothing).workspace(workspace)).collect();
        batch::add(&mut tx, parent, children).await.expect("the batch is open");
        batch::seal(&mut tx, parent).await.expect("the batch is open");
        tx.commit().await.expect("PostgreSQL answers");
        database.pool.close().await;
        self.parent = Some(parent);
        let watch = tokio::spawn(watch_to_the_end(owner.clone(), format!("/jobs/{parent}/stream")));
        Lot { total: count(CHILDREN), at_least: 1, watches: vec![watch] }
    }

    async fn done(&self, cluster: &Cluster) -> i64 {
        let ended = format!("select count(*) from shard.finished_jobs where batch_id = '{}'", self.parent());
        cluster.number(&ended).await
    }

    /// A row is a child, as often as its parent has counted it.
    async fn verify(&mut self, cluster: &Cluster) -> Findings {
        let parent = self.parent();
        let counted = format!(
            "select coalesce(max((result->>'completed')::bigint), 0) from shard.finished_jobs where id = '{parent}'"
        );
        let children = format!("select count(*) from shard.all_jobs where batch_id = '{parent}'");
        let rows = Tally {
            expected: count(CHILDREN),
            found: cluster.number(&children).await,
            distinct: cluster.number(&counted).await,
        };
        let sent = outbox::mails_to(&cluster.folder, std::slice::from_ref(&self.address));
        let effects = Tally { expected: 1, found: count(sent.len()), distinct: count(sent.len().min(1)) };
        Findings { rows, effects: Some(effects) }
    }
}
