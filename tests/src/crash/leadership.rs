//! Leadership ends with the leader's silence.

use std::process::Command;

use jobs::{
    Database, NewJob,
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

/// A scheduler in the test's own process.
struct Scheduler {
    leadership: Leadership,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl Scheduler {
    fn start(database: Database, url: String) -> Self {
        let (leadership, stop) = (Leadership::default(), CancellationToken::new());
        let config =
            DispatchConfig { lease: LEASE, leadership: leadership.clone(), ..DispatchConfig::default() };
        let stopped = stop.clone();
        let running = tokio::spawn(async move { dispatch(database, &url, config, stopped).await });
        Self { leadership, stop, running }
    }

    async fn comes_to(&self, standing: Standing) {
        let what = format!("{standing:?}");
        wait_until(&what, || async { self.leadership.standing() == standing }).await;
    }

    async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_redis_does_not_answer_gives_up_the_lead_to_one_that_it_answers() {
    let mut cluster = Cluster::start().await;
    cluster.terminate("scheduler");
    let link = cluster.link_to_redis().await;
    let first = Scheduler::start(cluster.database_behind(&link).await, cluster.database_url());
    first.comes_to(Standing::Leading).await;
    let second = Scheduler::start(cluster.database().await, cluster.database_url());
    second.comes_to(Standing::StandingBy).await;

    link.cut();
    second.comes_to(Standing::Leading).await;
    first.comes_to(Standing::StandingBy).await;
    let database = cluster.database().await;
    database.enqueue(NewJob::new(&NoOp::default())).await.unwrap();
    let done = "select count(*) from shard.finished_jobs where kind = 'engine.no_op' and state = 'completed'";
    wait_until("a job is done under the second one", || async { cluster.number(done).await == 1 }).await;

    link.mend();
    second.stop().await;
    first.comes_to(Standing::Leading).await;
    first.stop().await;
    cluster.start_process("scheduler");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_keeps_the_lead_while_redis_answers_no_scheduler() {
    let mut cluster = Cluster::start().await;
    cluster.terminate("scheduler");
    let link = cluster.link_to_redis().await;
    let first = Scheduler::start(cluster.database_behind(&link).await, cluster.database_url());
    first.comes_to(Standing::Leading).await;
    let second = cluster.database_behind(&link).await;
    link.cut();
    let second = Scheduler::start(second, cluster.database_url());
    second.comes_to(Standing::StandingBy).await;
    // Each of its looks is a session.
    let sessions = "select sessions from pg_stat_database where datname = current_database()";
    let before = cluster.number(sessions).await;
    wait_until("it has looked for longer than a leader waits for Redis", || async {
        cluster.number(sessions).await >= before + 4
    })
    .await;
    assert_eq!(cluster.number("select count(*) from shard.leader_standby").await, 0);
    assert_eq!(first.leadership.standing(), Standing::Leading);
    link.mend();
    first.stop().await;
    second.comes_to(Standing::Leading).await;
    second.stop().await;
    cluster.start_process("scheduler");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_without_a_leader_shows_that_reason_and_metrics_do() {
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
