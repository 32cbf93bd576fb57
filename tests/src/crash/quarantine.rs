//! A job that ends the process it runs in: it is found out and put away, and its neighbours never suffer.

use std::time::Duration;

use jobs::{
    Database, JobId, NewJob,
    kinds::{Crash, NoOp},
};

use crate::{
    Cluster,
    cluster::{ADDRESS_SPACE, wait_until},
};

/// Jobs that happen to be in the same process. One tenant may have all slots of a worker but one.
const NEIGHBOURS: usize = 49;
const RUNNING: &str = "select count(*) from shard.jobs where kind = 'engine.no_op' and state = 'running'";

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_aborts_its_process_is_quarantined_and_its_neighbours_bear_no_mark() {
    one_bad_job_among_good_ones(Crash::Abort, &[("MAINTENANCE_CONCURRENCY", "51")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_eats_all_memory_is_quarantined_and_its_neighbours_bear_no_mark() {
    // The worker may have 2 GiB, and a process that runs a job alone 1 GiB of them.
    let limits =
        [("MAINTENANCE_CONCURRENCY", "51"), (ADDRESS_SPACE, "2097152"), ("JOB_MEMORY_LIMIT_MB", "1024")];
    one_bad_job_among_good_ones(Crash::EatMemory, &limits).await;
}

async fn one_bad_job_among_good_ones(crash: Crash, variables: &[(&str, &str)]) {
    let mut cluster = Cluster::start().await;
    let database = cluster.database().await;
    cluster.start_process_with("maintenance", variables);
    let good = NoOp { sleep_ms: 600_000, ..NoOp::default() };
    for _ in 0..NEIGHBOURS {
        enqueue(&database, &good).await;
    }
    wait_for(&cluster, RUNNING, NEIGHBOURS).await;
    let culprit = enqueue(&database, &NoOp { crash: Some(crash), ..NoOp::default() }).await;
    wait_for_death(&mut cluster).await;

    // They have slept long enough.
    sqlx::query("update jobs set payload = payload || '{\"sleep_ms\": 100}' where kind = 'engine.no_op'")
        .execute(&database.pool)
        .await
        .unwrap();
    cluster.start_process_with("maintenance", variables);
    let over = "select count(*) from shard.finished_jobs where kind = 'engine.no_op'";
    wait_for(&cluster, over, NEIGHBOURS + 1).await;

    assert!(cluster.is_running("maintenance"), "the worker survives what runs beside it");
    let ended: (String, i32, serde_json::Value) =
        sqlx::query_as("select state, crashes, error from finished_jobs where id = $1")
            .bind(culprit.0)
            .fetch_one(&database.pool)
            .await
            .unwrap();
    assert_eq!((ended.0.as_str(), ended.1), ("failed", 3), "{}", ended.2);
    assert_eq!(ended.2["code"], "quarantined", "{}", ended.2);
    let unmarked = "select count(*) from shard.finished_jobs
                     where kind = 'engine.no_op' and state = 'completed' and attempt = 1 and crashes = 0
                       and error is null";
    assert_eq!(cluster.number(unmarked).await, i64::try_from(NEIGHBOURS).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantined_job_that_is_tried_again_runs_alone_from_the_start() {
    let mut cluster = Cluster::start().await;
    let database = cluster.database().await;
    let bad = enqueue(&database, &NoOp { crash: Some(Crash::Abort), ..NoOp::default() }).await;
    wait_for_death(&mut cluster).await;
    cluster.start_process("maintenance");
    let dead = "select count(*) from shard.finished_jobs where error ->> 'code' = 'quarantined'";
    wait_for(&cluster, dead, 1).await;

    let mut tx = database.begin().await.unwrap();
    jobs::control::retry(&mut tx, jobs::Owner::Installation, bad, &jobs::Origin::default()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(cluster.number(dead).await, 0);
    wait_for(&cluster, dead, 1).await;

    assert!(cluster.is_running("maintenance"), "it never ran beside others again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_runs_alone_hears_of_a_cancel_and_dies_with_its_worker() {
    let mut cluster = Cluster::start().await;
    let database = cluster.database().await;
    let long = NoOp { sleep_ms: 600_000, ..NoOp::default() };
    let (cancelled, killed) = (enqueue(&database, &long).await, enqueue(&database, &long).await);
    wait_for(&cluster, RUNNING, 2).await;
    cluster.kill("maintenance");
    cluster.start_process("maintenance");
    let alone = "select count(*) from shard.jobs where state = 'running' and ran_alone = fence";
    wait_for(&cluster, alone, 2).await;

    jobs::testing::cancel(&database, jobs::Owner::Installation, cancelled).await;
    let over = "select count(*) from shard.finished_jobs where state = 'cancelled'";
    wait_for(&cluster, over, 1).await;
    assert_eq!(cluster.number(RUNNING).await, 1, "the other one goes on");

    let worker = cluster.pid("maintenance");
    wait_until("one process is left", || async { children_of(worker).len() == 1 }).await;
    let children = children_of(worker);
    cluster.kill("maintenance");
    wait_until("the child ends with its worker", || async { parent_of(children[0]).is_none() }).await;
    cluster.start_process("maintenance");
    wait_for(&cluster, alone, 1).await;
    jobs::testing::cancel(&database, jobs::Owner::Installation, killed).await;
    wait_for(&cluster, over, 2).await;
}

/// The processes that a process has started and that live.
fn children_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("Linux");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

/// The parent of a process that lives: one that has ended may wait to be reaped.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    fields.next()?.parse().ok().filter(|_| !["Z", "X"].contains(&state))
}

async fn wait_for_death(cluster: &mut Cluster) {
    while cluster.is_running("maintenance") {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn enqueue(database: &Database, job: &NoOp) -> JobId {
    database.enqueue(NewJob::new(job)).await.unwrap().id()
}

/// Waits until a count is that, for two minutes.
async fn wait_for(cluster: &Cluster, query: &str, count: usize) {
    for _ in 0..4 {
        for _ in 0..300 {
            if cluster.number(query).await == i64::try_from(count).unwrap() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    panic!("not within two minutes: {count} = {query}, it is {}", cluster.number(query).await);
}
