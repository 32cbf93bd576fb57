//! Leadership ends with the leader's silence.

use std::process::Command;

use jobs::{
    NewJob,
    dispatch::{DispatchConfig, Leadership, Standing, dispatch},
    kinds::NoOp,
};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, LEASE, wait_until};

const LEADERS: &str = "select count(*) from pg_locks where locktype = 'advisory' and granted and objsubid = 1
                         and database = (select oid from pg_database where datname = current_database())
                         and classid::bigint << 32 | objid::bigint = 7883951835720016741";

fn signal(pid: u32, signal: &str) {
    let sent = Command::new("kill").args([signal, &pid.to_string()]).status().expect("kill can be run");
    assert!(sent.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_leader_loses_the_lead_to_the_one_that_stands_by_and_does_not_take_it_back() {
    let cluster = Cluster::start().await;
    wait_until("the process leads", || async { cluster.number(LEADERS).await == 1 }).await;
    let (leadership, stop) = (Leadership::default(), CancellationToken::new());
    let config = DispatchConfig { lease: LEASE, leadership: leadership.clone(), ..DispatchConfig::default() };
    let (database, url, stopped) = (cluster.database().await, cluster.database_url(), stop.clone());
    let second = tokio::spawn(async move { dispatch(database, &url, config, stopped).await });
    let stands = |standing| {
        let leadership = leadership.clone();
        move || {
            let now = leadership.standing();
            async move { now == standing }
        }
    };
    wait_until("the second one stands by", stands(Standing::StandingBy)).await;

    signal(cluster.pid("scheduler"), "-STOP");
    wait_until("the second one leads", stands(Standing::Leading)).await;
    signal(cluster.pid("scheduler"), "-CONT");

    let database = cluster.database().await;
    database.enqueue(NewJob::new(&NoOp::default())).await.unwrap();
    let done = "select count(*) from shard.finished_jobs where kind = 'engine.no_op' and state = 'completed'";
    wait_until("a job is done under the second one", || async { cluster.number(done).await == 1 }).await;
    assert_eq!(cluster.number(LEADERS).await, 1);
    assert_eq!(leadership.standing(), Standing::Leading);
    stop.cancel();
    second.await.unwrap();
    wait_until("the process leads again", || async { cluster.number(LEADERS).await == 1 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_without_a_leader_says_so_and_metrics_do() {
    let mut cluster = Cluster::start().await;
    let database = cluster.database().await;
    let owner = cluster.owner().await;
    let workspace = owner.workspace.as_ref().unwrap().parse().unwrap();
    cluster.terminate("scheduler");
    let no_op = NoOp::default();
    let job = database.enqueue(NewJob::new(&no_op).workspace(Some(workspace))).await.unwrap().id();

    let seen = owner.get(&format!("/jobs/{job}")).await.expect(200);
    assert_eq!(seen["waiting"]["reason"], "no_scheduler", "{seen}");
    let metrics = reqwest::get(format!("{}/metrics", cluster.base)).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("\nmillrace_led 0\n"), "{metrics}");

    cluster.start_process("scheduler");
    wait_until("it is done", || async {
        owner.get(&format!("/jobs/{job}")).await.expect(200)["status"] == "COMPLETED"
    })
    .await;
}
