//! Imports through crashes.

use crate::{
    cluster::Cluster,
    crash::{MANY, ROWS, assert_exactly_once, start_import, wait_for_progress, watch},
    events::Seen,
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
    assert_exactly_once(&cluster, &owner, &end, ROWS).await;
    assert_eq!(end["attempt"], 1, "a crash is not the job's own failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_hands_back_when_its_worker_is_drained() {
    let mut cluster = Cluster::start().await;
    let owner = cluster.owner().await;
    let started = start_import(&owner, ROWS).await;
    let watch = watch(&owner, &started);

    wait_for_progress(&owner, started["status_url"].as_str().unwrap(), 0).await;
    cluster.terminate("imports");
    cluster.start_process("imports");

    let end = watch.await.unwrap();
    assert_exactly_once(&cluster, &owner, &end, ROWS).await;
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
    assert_exactly_once(&cluster, &owner, &end, ROWS).await;
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
    assert_exactly_once(&cluster, &owner, &end, ROWS).await;
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
    assert_exactly_once(&cluster, &owner, &end, ROWS).await;
    assert_eq!(end["attempt"], 1, "the job never noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_percent_does_not_go_back_while_the_ledger_knows_of_a_new_holder_and_of_no_progress() {
    let mut cluster = Cluster::start().await;
    let owner = cluster.owner().await;
    let started = start_import(&owner, MANY).await;
    let (status_url, stream_url) =
        (started["status_url"].as_str().unwrap(), started["stream_url"].as_str().unwrap());
    let mut events = owner.events_if_up(stream_url, Seen::default()).await.unwrap();
    let mut event = events.next().await.unwrap();
    while event["progress"] == 0 {
        event = events.next().await.unwrap();
    }
    cluster.kill("imports");

    // As if the job had been rescued and claimed again, and the bus had lost both events.
    let before = owner.get(status_url).await.expect(200);
    let job = started["job_id"].as_str().unwrap();
    let claimed = cluster
        .number(&format!(
            "with claimed as (update shard.jobs set epoch = epoch + 2, fence = fence + 1, progress = null,
                                     worker = null, lease_until = now() + interval '1 hour'
                               where id = '{job}' and state = 'running' returning epoch)
             select epoch * (1 << 20) from claimed"
        ))
        .await;

    let polled = owner.get(status_url).await.expect(200);
    assert!(polled["progress"].as_i64() >= before["progress"].as_i64(), "{polled} after {before}");
    while events.last < claimed {
        events.next().await.expect("the comparison with the ledger finds the claim"); // looks at the percent
    }

    let freed = format!(
        "with freed as (update shard.jobs set lease_until = now() where id = '{job}' returning 1) select count(*) from freed"
    );
    assert_eq!(cluster.number(&freed).await, 1);
    cluster.start_process("imports");
    let end = events.to_the_end().await;
    assert_exactly_once(&cluster, &owner, &end, MANY).await;
}
