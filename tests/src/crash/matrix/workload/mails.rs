//! Mails, into the outbox: an effect that no transaction can take back.

use std::collections::HashSet;

use async_trait::async_trait;
use domain::job_kinds::SendMail;
use jobs::{JobId, NewJob};

use super::{Findings, Lot, Tally, Workload, count, outbox};
use crate::{Client, cluster::Cluster, crash::watch_to_the_end};

const MAILS: usize = 4000;
const WATCHED: [usize; 3] = [0, MAILS / 2, MAILS - 1];

/// A day's mail at once.
#[derive(Default)]
pub struct Mails {
    owner: Option<Client>,
    ids: Vec<JobId>,
    addresses: Vec<String>,
}

#[async_trait]
impl Workload for Mails {
    fn name(&self) -> &'static str {
        "4,000 mails"
    }

    fn worker(&self) -> &'static str {
        "deliveries"
    }

    async fn prepare(&mut self, cluster: &Cluster) {
        self.owner = Some(cluster.owner().await);
    }

    async fn start(&mut self, cluster: &Cluster) -> Lot {
        let owner = self.owner.as_ref().expect("prepared");
        let workspace = owner.workspace.as_ref().and_then(|id| id.parse().ok());
        self.ids = (0..MAILS).map(|_| JobId::new()).collect();
        let mails: Vec<_> = self
            .ids
            .iter()
            .map(|id| SendMail {
                to: format!("{id}@example.com"),
                subject: "Hello".into(),
                text: "Hello.".into(),
                html: None,
            })
            .collect();
        self.addresses = mails.iter().map(|mail| mail.to.clone()).collect();
        let database = cluster.database().await;
        let mut tx = database.begin().await.expect("PostgreSQL answers");
        let jobs =
            self.ids.iter().zip(&mails).map(|(&id, mail)| NewJob::new(mail).id(id).workspace(workspace));
        jobs::enqueue_all(&mut tx, jobs.collect()).await.expect("PostgreSQL answers");
        tx.commit().await.expect("PostgreSQL answers");
        database.pool.close().await;
        let watches = WATCHED
            .map(|n| tokio::spawn(watch_to_the_end(owner.clone(), format!("/jobs/{}/stream", self.ids[n]))))
            .into();
        Lot { total: count(MAILS), at_least: 1, watches }
    }

    async fn done(&self, cluster: &Cluster) -> i64 {
        let ids = self.ids.iter().map(|id| id.0);
        let (first, last) = (ids.clone().min().expect("mails"), ids.max().expect("mails"));
        cluster
            .number(&format!(
                "select count(*) from shard.finished_jobs
                  where kind = 'mail.send' and id between '{first}' and '{last}'"
            ))
            .await
    }

    /// A mail is known by its Message-ID, which is its job's.
    async fn verify(&mut self, cluster: &Cluster) -> Findings {
        let sent = outbox::mails_to(&cluster.folder, &self.addresses);
        let asked: HashSet<_> = self.ids.iter().map(ToString::to_string).collect();
        let known: HashSet<_> = sent
            .iter()
            .filter_map(|mail| mail.message_id.split('@').next())
            .filter(|id| asked.contains(*id))
            .collect();
        let effects =
            Tally { expected: count(MAILS), found: count(sent.len()), distinct: count(known.len()) };
        Findings { rows: Tally { expected: 0, found: 0, distinct: 0 }, effects: Some(effects) }
    }
}
