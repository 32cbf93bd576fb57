//! Ends of jobs: whatever ends one, its former holders can commit nothing more.

use std::time::Duration;

use jobs::{
    JobId, NewJob, Origin, Owner,
    control::{self, Cancel},
    kinds::NoOp,
    testing::steps::{Held, Worker},
};

use crate::database::{TestDatabase, variable};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_committed_for_a_job_that_was_cancelled_while_it_waited() {
    let clone = TestDatabase::create().await;
    let database = clone.connect(&variable("REDIS_URL"), "ends").await;
    let job = database.enqueue(NewJob::new(&NoOp::default())).await.unwrap().id();
    let worker = Worker::sign_on(&database, Duration::from_secs(60)).await;
    let held = worker.claim(&[job]).await.pop().expect("the job is due");
    let taken_over = sqlx::query("select * from resume_job($1, $2)")
        .bind(job.0)
        .bind(held.fence)
        .fetch_all(&database.pool)
        .await
        .unwrap();
    assert_eq!(taken_over.len(), 1);
    assert!(checkpoint(&database.pool, job, held).await, "its holder commits a batch");
    assert!(worker.put_back(held, false).await);

    let mut tx = database.begin().await.unwrap();
    let cancelled = control::cancel(&mut tx, Owner::Installation, job, &Origin::default()).await.unwrap();
    tx.commit().await.unwrap();

    assert_eq!(cancelled, Cancel::Cancelled);
    assert!(
        !checkpoint(&database.pool, job, held).await,
        "a former holder commits a batch of a finished job"
    );
    database.pool.close().await;
    clone.remove().await;
}

/// The last statement of a batch. False: another worker holds the job, or it has ended.
async fn checkpoint(pool: &sqlx::PgPool, job: JobId, held: Held) -> bool {
    sqlx::query_scalar("select checkpoint_job($1, $2, '1', 1, 0, 0)")
        .bind(job.0)
        .bind(held.fence)
        .fetch_one(pool)
        .await
        .unwrap()
}
