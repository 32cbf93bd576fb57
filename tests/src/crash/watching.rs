//! What a watcher is sent where the bus and the ledger are heard of at different times.

use jobs::{
    NewJob,
    kinds::NoOp,
    watch::{Event, Hub},
};

use crate::{Cluster, cluster::wait_until};

/// The job's events of that hub's history from the number on, by number.
async fn kept(hub: &Hub, from: &Event) -> Vec<i64> {
    hub.history(from.job_id, from.seq - 1).await.0.iter().map(|event| event.seq).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_is_sent_what_the_bus_has_lost_before_what_the_ledger_says() {
    let cluster = Cluster::start().await;
    let (redis, postgres) = (cluster.link_to_redis().await, cluster.link_to_postgres().await);
    let hub = Hub::start(cluster.database_behind_both(&redis, &postgres).await);
    let database = cluster.database().await;
    let elsewhere = Hub::start(database.clone());
    let job = NoOp { sleep_ms: 600_000, report_ms: 200, ..NoOp::default() };
    let job = database.enqueue(NewJob::new(&job)).await.unwrap().id();
    let mut watch = hub.watch(job);
    let first = loop {
        let event = watch.next().await.unwrap();
        if event.counts.done > 0 {
            break event;
        }
    };

    redis.cut();
    postgres.cut();
    let before = kept(&elsewhere, &first).await.len();
    wait_until("it reports unheard", || async { kept(&elsewhere, &first).await.len() > before + 3 }).await;
    jobs::testing::cancel(&database, jobs::Owner::Installation, job).await;
    let ended = || async { elsewhere.snapshot(job).await.unwrap().unwrap().event.status.is_terminal() };
    wait_until("it has ended", ended).await;
    redis.mend();
    wait_until("Redis answers", || async { !kept(&hub, &first).await.is_empty() }).await;
    // Nothing comes by the bus any more: what is missing shows in the ledger alone.
    postgres.mend();

    let mut sent = vec![first.seq];
    loop {
        let event = watch.next().await.unwrap();
        sent.push(event.seq);
        if event.status.is_terminal() {
            break;
        }
    }
    assert_eq!(sent, kept(&elsewhere, &first).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_is_sent_an_end_by_the_ledger_while_redis_does_not_answer() {
    let mut cluster = Cluster::start().await;
    let link = cluster.link_to_redis().await;
    let hub = Hub::start(cluster.database_behind(&link).await);
    let database = cluster.database().await;
    cluster.terminate("scheduler");
    let jobs = jobs_that_wait(&database).await;
    let mut watches: Vec<_> = jobs.iter().map(|job| hub.watch(*job)).collect();

    link.cut();
    for job in &jobs {
        jobs::testing::cancel(&database, jobs::Owner::Installation, *job).await;
    }
    for watch in &mut watches {
        while !watch.next().await.unwrap().status.is_terminal() {}
    }
    cluster.start_process("scheduler");
}

async fn jobs_that_wait(database: &jobs::Database) -> Vec<jobs::JobId> {
    let mut jobs = Vec::new();
    for _ in 0..40 {
        jobs.push(database.enqueue(NewJob::new(&NoOp::default())).await.unwrap().id());
    }
    jobs
}
