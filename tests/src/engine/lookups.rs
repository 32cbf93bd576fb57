//! What it costs to look at what runs: as much as runs, however much waits.

use std::time::Duration;

use jobs::{
    Database, JobId, NewJob, Pool, Tx,
    kinds::NoOp,
    testing::steps::{self, Worker},
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::{TestDatabase, variable};

const WAITING: usize = 5_000;
const RUNNING: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_what_runs_reads_what_runs_however_much_waits() {
    let clone = TestDatabase::create().await;
    let prefix = format!("t{}", Uuid::now_v7().simple());
    let database = clone.connect(&variable("REDIS_URL"), &prefix).await;
    enqueue_unseen_by_the_planner(&database).await;

    let mut tx = database.begin().await.unwrap();
    let seen: i64 =
        sqlx::query_scalar("select count(*) from running_jobs").fetch_one(tx.conn()).await.unwrap();
    assert_eq!(usize::try_from(seen).unwrap(), RUNNING);
    assert_few_were_read(tx).await;

    let mut tx = database.begin().await.unwrap();
    assert_eq!(steps::running(tx.conn(), Pool::MAINTENANCE).await, RUNNING);
    assert_few_were_read(tx).await;

    database.pool.close().await;
    clone.remove().await;
}

/// Thousands of jobs wait, some run, and the planner analysed the table before any of them did.
async fn enqueue_unseen_by_the_planner(database: &Database) {
    let ids: Vec<_> = (0..WAITING).map(|_| JobId::new()).collect();
    let no_op = NoOp::default();
    let mut tx = database.begin().await.unwrap();
    let jobs = ids.iter().map(|&id| NewJob::new(&no_op).id(id)).collect();
    jobs::enqueue_all(&mut tx, jobs).await.unwrap();
    tx.commit().await.unwrap();
    sqlx::raw_sql("analyze jobs").execute(&database.pool).await.unwrap();
    let worker = Worker::sign_on(database, Duration::from_secs(60)).await;
    assert_eq!(worker.claim(&ids[..RUNNING]).await.len(), RUNNING);
}

async fn assert_few_were_read(mut tx: Tx) {
    let read = rows_read(tx.conn()).await;
    assert!(read <= 2 * i64::try_from(RUNNING).unwrap(), "{read} rows of jobs were read to find {RUNNING}");
}

/// Rows of the ledger's live jobs that the transaction has read so far.
async fn rows_read(conn: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)
           from pg_stat_xact_user_tables where schemaname = 'shard' and relname = 'jobs'",
    )
    .fetch_one(conn)
    .await
    .unwrap()
}
