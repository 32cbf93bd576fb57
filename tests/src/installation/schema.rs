//! A database whose schemas are older or newer than the processes, and `migrate` beside others who use it.

use std::time::Duration;

use sqlx::Connection;

use crate::{Cluster, cluster::wait_until};

/// Takes the last shared migration back, as if it had not run.
const UNDO: &str = "drop table control.cluster; delete from control._sqlx_migrations where version = 6";

async fn run(cluster: &Cluster, statements: &'static str) {
    sqlx::raw_sql(statements).execute(&cluster.pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_wait_for_the_migrations_of_their_release() {
    let mut cluster = Cluster::prepare_only().await;
    run(&cluster, UNDO).await;
    for process in ["api", "scheduler", "provisioning"] {
        cluster.start_process(process);
    }
    let health = format!("{}/health", cluster.base);
    wait_until("the API is up", || async { reqwest::get(&health).await.is_ok() }).await;
    let answer = reqwest::get(format!("{}/ready", cluster.base)).await.unwrap();
    assert_eq!(answer.status(), 503);
    let body: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(body["error"]["code"], "migration_required", "{body}");
    assert_eq!(cluster.number("select count(*) from shard.workers").await, 0, "no worker has begun");

    let (code, said) = cluster.run_to_end::<&str>("migrate", &[], &[]);
    assert_eq!(code, 0, "{said}");
    cluster.wait_until_ready().await;
    let owner = cluster.owner().await; // which takes the worker and the scheduler
    owner.get("/auth/me").await.expect(200);
    cluster.terminate_all();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_no_error_of_an_older_release() {
    let mut cluster = Cluster::prepare_only().await;
    run(
        &cluster,
        "insert into control._sqlx_migrations (version, description, success, checksum, execution_time)
         values (900001, 'of a newer release', true, '\\x00', 1)",
    )
    .await;
    let (code, said) = cluster.run_to_end::<&str>("migrate", &[], &[]);
    assert_eq!(code, 0, "{said}");
    cluster.start_process("api");
    cluster.wait_until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_migration_is_refused_with_one_sentence() {
    let cluster = Cluster::prepare_only().await;
    run(&cluster, "update control._sqlx_migrations set checksum = '\\x00' where version = 1").await;
    let (code, said) = cluster.run_to_end::<&str>("migrate", &[], &[]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("control: migration 1 is not the one that was applied here; run the release"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_gives_way_to_the_holder_of_a_lock_and_retries() {
    let cluster = Cluster::prepare_only().await;
    run(&cluster, UNDO).await;
    let mut reader = cluster.pool.acquire().await.unwrap();
    let mut open = reader.begin().await.unwrap();
    // What a dump holds, on a table that the migration writes to.
    sqlx::raw_sql("lock table control._sqlx_migrations in share mode").execute(&mut *open).await.unwrap();
    let migrate = {
        let cluster = std::sync::Arc::new(cluster);
        let running = cluster.clone();
        #[expect(clippy::disallowed_methods, reason = "a test's own process has no places to keep")]
        let migrate = tokio::task::spawn_blocking(move || running.run_to_end::<&str>("migrate", &[], &[]));
        // It has to come twice: the lock is held until its first try has ended.
        let gave_way = "select count(*) from pg_stat_activity
                         where datname = current_database() and application_name = 'millrace migrate'
                           and state = 'idle' and query = 'rollback'";
        wait_until("the migration gives way", || async { cluster.number(gave_way).await == 1 }).await;
        open.rollback().await.unwrap();
        migrate
    };
    let (code, said) = tokio::time::timeout(Duration::from_secs(60), migrate).await.unwrap().unwrap();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("another session holds a lock that a migration needs"), "{said}");
}
