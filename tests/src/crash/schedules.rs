//! Schedules through crashes of the scheduler.

use rand::RngExt;
use uuid::Uuid;

use crate::cluster::{Cluster, wait_until};

/// How often the scheduler is ended.
const DEATHS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_dies_again_and_again_neither_forgets_an_occurrence_nor_repeats_one() {
    let mut cluster = Cluster::start().await;
    let owner = cluster.owner().await;
    cluster.start_process("maintenance");
    let workspace: Uuid = owner.workspace.as_ref().unwrap().parse().unwrap();
    let pool = cluster.pool.clone();
    // Intervals of seconds can't be set over HTTP.
    for n in 0..3 {
        sqlx::query(
            "insert into shard.schedules (id, workspace_id, name, kind, version, pool, payload, priority,
                    max_attempts, every, overlap, catch_up, next_at)
             values ($1, $2, 'each second', 'engine.no_op', 1, 'maintenance', '{}', 5, 8, '1 second', 'queue',
                    'all', now() + $3 * interval '0.3 seconds')",
        )
        .bind(Uuid::now_v7())
        .bind(workspace)
        .bind(n)
        .execute(&pool)
        .await
        .unwrap();
    }
    let runs = "select count(*) from shard.schedule_runs";

    for death in 0..DEATHS {
        let target = cluster.number(runs).await + rand::rng().random_range(1..8);
        wait_until("occurrences come", || async { cluster.number(runs).await >= target }).await;
        if death % 3 == 2 {
            cluster.terminate("scheduler");
        } else {
            cluster.kill("scheduler");
        }
        cluster.start_process("scheduler");
    }
    let target = cluster.number(runs).await + 6;
    wait_until("occurrences come again", || async { cluster.number(runs).await >= target }).await;
    sqlx::query("update shard.schedules set enabled = false").execute(&pool).await.unwrap();

    // From the first to the last, each second once.
    let holes: Vec<String> = sqlx::query_scalar(
        "select format('%s after %s', step, before) from (
             select scheduled_for - lag(scheduled_for) over each as step, lag(r) over each as before
               from shard.schedule_runs r
             window each as (partition by schedule_id order by scheduled_for)) steps
          where step <> interval '1 second'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert!(holes.is_empty(), "{holes:?}");
    assert!(cluster.number(runs).await > 20);
    // Each has a job of its own, nothing else has, and all of them end well.
    let unpaired = "select count(*) from (select * from shard.schedule_runs
                                            join shard.schedules on id = schedule_id and name = 'each second') r
                      full join (select * from shard.all_jobs where kind = 'engine.no_op') j on j.id = r.job_id
                     where r.job_id is null or j.id is null";
    assert_eq!(cluster.number(unpaired).await, 0);
    let undone = "select count(*) from shard.all_jobs where kind = 'engine.no_op' and state <> 'completed'";
    wait_until("all jobs are done", || async { cluster.number(undone).await == 0 }).await;
    let doubled = "select count(*) - count(distinct job_id) from shard.schedule_runs";
    assert_eq!(cluster.number(doubled).await, 0);
}
