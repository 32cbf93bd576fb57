//! What killed workers leave in Redis: nothing, after a while.

use std::time::Duration;

use jobs::{Database, NewJob, kinds::NoOp};

use crate::{
    Cluster,
    cluster::{entries_in_redis, wait_until},
};

const LEFT: &str = "select count(*) from shard.jobs where kind = 'engine.no_op'";

#[tokio::test(flavor = "multi_thread")]
async fn workers_killed_again_and_again_leave_nothing_in_redis() {
    let mut cluster = Cluster::start().await;
    let database = cluster.database().await;
    flood(&database, 100).await;
    wait_until("the first jobs are done", || async { cluster.number(LEFT).await == 0 }).await;
    let at_rest = settled(&database).await;

    for _ in 0..5 {
        flood(&database, 1000).await;
        let waiting = cluster.number(LEFT).await;
        wait_until("it is in the middle of them", || async { cluster.number(LEFT).await <= waiting - 100 })
            .await;
        cluster.kill("maintenance");
        cluster.start_process("maintenance");
    }
    wait_until("all are done", || async { cluster.number(LEFT).await == 0 }).await;

    let mut entries = entries_in_redis(&database).await;
    for _ in 0..120 {
        if entries <= at_rest {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        entries = entries_in_redis(&database).await;
    }
    panic!("{entries} entries are in Redis after a minute, {at_rest} were before");
}

/// The number of entries, once it no longer changes.
async fn settled(database: &Database) -> usize {
    let (mut entries, mut same) = (entries_in_redis(database).await, 0);
    while same < 10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = entries_in_redis(database).await;
        same = if now == entries { same + 1 } else { 0 };
        entries = now;
    }
    entries
}

async fn flood(database: &Database, jobs: usize) {
    let job = NoOp { sleep_ms: 5, ..NoOp::default() };
    let mut tx = database.begin().await.unwrap();
    jobs::enqueue_all(&mut tx, (0..jobs).map(|_| NewJob::new(&job)).collect()).await.unwrap();
    tx.commit().await.unwrap();
}
