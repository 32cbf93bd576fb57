//! Imports through crashes.

use crate::{
    cluster::Cluster,
    crash::{ROWS, assert_exactly_once, start_import, wait_for_progress, watch},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_import_survives_sigkill_of_its_worker_again_and_again() {
    let mut cluster = Cluster::start().await;
    let owner = cluster.owner().await;
    let started = start_import(&owner, ROWS).await;
    let status_url = started["status_url"].as_str().unwrap();
    let watch = watch(&owner, &started);

    let mut done = 0;
    for _ in 0..4 {
        done = wait_for_progress(&owner, status_url, done).await;
        cluster.kill("imports");
        cluster.start_process("imports");
    }

    let end = watch.await.unwrap();
    assert_exactly_once(&cluster, &owner, &end).await;
    assert_eq!(end["attempt"], 1, "a crash is not the job's own failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_hands_back_when_its_worker_is_asked_to_leave() {
    let mut cluster = Cluster::start().await;
    let owner = cluster.owner().await;
    let started = start_import(&owner, ROWS).await;
    let watch = watch(&owner, &started);

    wait_for_progress(&owner, started["status_url"].as_str().unwrap(), 0).await;
    cluster.terminate("imports");
    cluster.start_process("imports");

    let end = watch.await.unwrap();
    assert_exactly_once(&cluster, &owner, &end).await;
    assert_eq!(end["attempt"], 1, "a hand-back is not an attempt");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_survives_a_redis_that_restarts_empty() {
    let mut cluster = Cluster::start().await;
    let owner = cluster.owner().await;
    let started = start_import(&owner, ROWS).await;
    let watch = watch(&owner, &started);

    wait_for_progress(&owner, started["status_url"].as_str().unwrap(), 0).await;
    cluster.restart_redis().await;

    let end = watch.await.unwrap();
    assert_exactly_once(&cluster, &owner, &end).await;
    assert_eq!(end["attempt"], 1, "the job never noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_survives_flushall_while_it_waits_and_while_it_runs() {
    let mut cluster = Cluster::start().await;
    let owner = cluster.owner().await;
    cluster.kill("imports");
    let started = start_import(&owner, ROWS).await;
    cluster.flush_redis().await;
    cluster.start_process("imports");
    let watch = watch(&owner, &started);

    wait_for_progress(&owner, started["status_url"].as_str().unwrap(), 0).await;
    cluster.flush_redis().await;

    let end = watch.await.unwrap();
    assert_exactly_once(&cluster, &owner, &end).await;
    assert_eq!(end["attempt"], 1, "the job never noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_goes_on_while_scheduler_and_api_are_killed() {
    let mut cluster = Cluster::start().await;
    let owner = cluster.owner().await;
    let started = start_import(&owner, ROWS).await;
    let watch = watch(&owner, &started);

    wait_for_progress(&owner, started["status_url"].as_str().unwrap(), 0).await;
    cluster.kill("scheduler");
    cluster.kill("api");
    cluster.start_process("api");
    cluster.start_process("scheduler");

    let end = watch.await.unwrap();
    assert_exactly_once(&cluster, &owner, &end).await;
    assert_eq!(end["attempt"], 1, "the job never noticed");
}
