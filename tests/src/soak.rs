//! Long runs, after which everything has the size that it had before.

use std::{collections::BTreeMap, time::Duration};

use jobs::{
    Database, JobKind, NewJob,
    kinds::{NoOp, PruneJobs},
};

use crate::{Cluster, cluster::entries_in_redis};

/// Jobs in one round, and rounds.
const JOBS: usize = 20_000;
const ROUNDS: usize = 10;
/// Rounds in which tables find their size.
const SETTLING: usize = 3;
/// Jobs in one transaction.
const BULK: usize = 1_000;
/// The ledger's tables that jobs go through.
const TABLES: [&str; 6] = ["jobs", "finished_jobs", "job_checkpoints", "job_logs", "job_keys", "job_starts"];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: script/test --soak"]
async fn after_200_000_jobs_the_ledger_and_redis_have_their_steady_size() {
    let mut cluster = Cluster::start().await;
    let database = cluster.database().await;
    sqlx::query("insert into job_retention (keep) values ('0 s')").execute(&database.pool).await.unwrap();
    cluster.start_process_with("maintenance", &[("MAINTENANCE_CONCURRENCY", "64")]);

    let mut first = round(&database).await;
    let mut last = first.clone();
    for number in 1..ROUNDS {
        last = round(&database).await;
        if number < SETTLING {
            // Whether vacuum could cut a table's end off is chance: the largest of the first rounds counts.
            for (table, bytes) in &mut first.bytes {
                *bytes = last.bytes[table].max(*bytes);
            }
        }
    }

    assert_eq!(last.rows, first.rows, "rows in the ledger");
    // A table finds its size within a few rounds; rows or pages that stay would make it three times as large.
    for (table, bytes) in &last.bytes {
        let before = first.bytes[table];
        assert!(*bytes <= 2 * before, "{table}: {bytes} bytes, at the most {before} after the first rounds");
    }
    assert!(last.entries <= first.entries, "{} entries in Redis, {} before", last.entries, first.entries);
}

/// How much there is of everything.
#[derive(Debug, Clone)]
struct Size {
    rows: BTreeMap<&'static str, i64>,
    bytes: BTreeMap<&'static str, i64>,
    entries: usize,
}

/// Runs a round of jobs, some of which fail once, prunes and vacuums, and measures what is left.
async fn round(database: &Database) -> Size {
    let (good, bad) = (NoOp::default(), NoOp { failures: 1, ..NoOp::default() });
    for _ in 0..JOBS / BULK {
        let mut tx = database.begin().await.unwrap();
        let jobs = (0..BULK).map(|n| NewJob::new(if n % 100 == 0 { &bad } else { &good })).collect();
        jobs::enqueue_all(&mut tx, jobs).await.unwrap();
        tx.commit().await.unwrap();
    }
    none_of(database, NoOp::NAME).await;
    database.enqueue(NewJob::new(&PruneJobs {})).await.unwrap();
    none_of(database, PruneJobs::NAME).await;

    let (mut rows, mut bytes) = (BTreeMap::new(), BTreeMap::new());
    for table in TABLES {
        run(database, &format!("vacuum analyze {table}")).await;
        // Of what maintenance itself has just done, the next run of it removes the history.
        let of_ours = match table {
            "jobs" | "finished_jobs" => " where kind = 'engine.no_op'",
            _ => "",
        };
        rows.insert(table, number(database, &format!("select count(*) from {table}{of_ours}")).await);
        bytes.insert(table, number(database, &format!("select pg_total_relation_size('{table}')")).await);
    }
    // The notes of what was claimed last are there still: they go with the leader's next look.
    run(database, "vacuum analyze job_claims").await;
    bytes.insert("job_claims", number(database, "select pg_total_relation_size('job_claims')").await);
    let size = Size { rows, bytes, entries: entries_in_redis(database).await };
    println!("{size:?}");
    size
}

/// Waits until no job of the kind is live, for ten minutes at the most.
async fn none_of(database: &Database, kind: &str) {
    let live = format!("select count(*) from jobs where kind = '{kind}'");
    for _ in 0..3000 {
        if number(database, &live).await == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("jobs of {kind} are live after ten minutes");
}

async fn number(database: &Database, query: &str) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned())).fetch_one(&database.pool).await.unwrap()
}

async fn run(database: &Database, statement: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&database.pool).await.unwrap();
}
