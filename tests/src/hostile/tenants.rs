//! One tenant's slow statements, and the other tenants.

use std::time::Duration;

use domain::{Error, ErrorKind};
use jobs::{Connect, Database, FairUse, JobId, kinds::NoOp};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};
use tokio::task::JoinHandle;

use crate::{
    Client, Reply, TestApp,
    cluster::wait_until,
    database::variable,
    workspace::{sleeper, workspace_of},
};

/// Statements that wait for a lock, behind the scenes.
const WAITING: &str = "select count(*) from pg_stat_activity
                        where datname = current_database() and wait_event_type = 'Lock'";

/// Holds the records of a client's workspace: no other statement reads them until this is rolled back.
async fn hold_records(app: &TestApp, of: &Client) -> Transaction<'static, Postgres> {
    let workspace = workspace_of(of).simple();
    hold(&app.database.pool, &format!("ws_{workspace}.records")).await
}

async fn hold(pool: &PgPool, table: &str) -> Transaction<'static, Postgres> {
    let mut held = pool.begin().await.unwrap();
    let lock = format!("lock table {table} in access exclusive mode");
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *held).await.unwrap();
    held
}

/// A recordset that has nothing in it, and the path of a search in it.
async fn search_of(client: &Client) -> (String, String) {
    let recordset = client.post("/recordsets", json!({ "name": "Things" })).await.expect(201);
    let id = recordset["id"].as_str().unwrap().to_owned();
    let path = format!("/records?recordset_id={id}&search=x");
    (id, path)
}

fn ask(client: &Client, paths: impl IntoIterator<Item = String>) -> Vec<JoinHandle<Reply>> {
    let asking = |path: String| {
        let client = client.clone();
        tokio::spawn(async move { client.get(&path).await })
    };
    paths.into_iter().map(asking).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_searches_of_one_tenant_leave_connections_to_others_and_end_with_their_clients() {
    let app = TestApp::start_with(&[("DATABASE_CONNECTIONS", "8")]).await;
    let (greedy, other) = (app.owner().await, app.owner().await);
    let (_, path) = search_of(&greedy).await;
    greedy.get(&path).await.expect(200);

    // As slow as can be.
    let held = hold_records(&app, &greedy).await;
    let searches = ask(&greedy, (0..24).map(|_| path.clone()));
    wait_until("the searches wait", || async { app.count(WAITING).await >= 2 }).await;
    other.get("/recordsets").await.expect(200);
    app.operator().get("/queues").await.expect(200);
    assert_eq!(app.count(WAITING).await, 2, "a quarter of the connections");

    for search in searches {
        search.abort();
    }
    wait_until("the statements end", || async { app.count(WAITING).await == 0 }).await;
    held.rollback().await.unwrap();
    greedy.get(&path).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_read_for_a_tenant_counts_as_its_own() {
    let variables = [("DATABASE_CONNECTIONS", "8"), ("WORKSPACE_CONNECTIONS", "1")];
    let app = TestApp::start_with(&variables).await;
    let (greedy, other) = (app.owner().await, app.owner().await);
    let (_, search) = search_of(&greedy).await;
    let mut paths = Vec::new();
    for client in [&greedy, &other] {
        let job = sleeper(&app, client, NoOp::default()).await;
        app.wait_for_end(JobId(job.parse().unwrap())).await;
        paths.push([
            "/recordsets".to_owned(),
            "/teams".to_owned(),
            "/members".to_owned(),
            "/jobs".to_owned(),
            "/jobs?search=nothing".to_owned(),
            format!("/jobs/{job}/logs"),
            "/dead-letters".to_owned(),
            "/api-keys".to_owned(),
            "/v1/dlq".to_owned(),
            "/v1/audit-logs".to_owned(),
            "/v1/usage".to_owned(),
            "/v1/scheduled-jobs".to_owned(),
            "/v1/keys".to_owned(),
        ]);
    }
    let [of_greedy, of_other] = [paths.remove(0), paths.remove(0)];

    let held = hold_records(&app, &greedy).await;
    let place = ask(&greedy, [search]);
    wait_until("its place is taken", || async { app.count(WAITING).await == 1 }).await;
    let waiting = ask(&greedy, of_greedy.clone());
    for path in &of_other {
        other.get(path).await.expect(200);
    }
    app.operator().get("/queues").await.expect(200);
    for (path, request) in of_greedy.iter().zip(&waiting) {
        assert!(!request.is_finished(), "{path} did not wait for its tenant's place");
    }

    held.rollback().await.unwrap();
    for request in place.into_iter().chain(waiting) {
        request.await.unwrap().expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_reads_go_one_after_the_other_and_hold_up_no_quick_ones() {
    let app = TestApp::start_with(&[("DATABASE_CONNECTIONS", "8"), ("LONG_READS", "2")]).await;
    let (greedy, other) = (app.owner().await, app.owner().await);
    let mut searches = Vec::new();
    for client in [&greedy, &other] {
        let (recordset, search) = search_of(client).await;
        // It counts as one with as many records.
        let workspace = workspace_of(client).simple();
        let many = format!("insert into ws_{workspace}.record_count_deltas values ('{recordset}', 20000)");
        sqlx::raw_sql(AssertSqlSafe(many)).execute(&app.database.pool).await.unwrap();
        searches.push(search);
    }
    let [of_greedy, of_other] = [searches.remove(0), searches.remove(0)];

    let held = hold_records(&app, &greedy).await;
    let mut reads = ask(&greedy, (0..12).map(|_| of_greedy.clone()));
    // One goes on and eight wait for it.
    wait_until("three are refused", || async { reads.iter().filter(|read| read.is_finished()).count() == 3 })
        .await;
    wait_until("one goes on", || async { app.count(WAITING).await == 1 }).await;
    greedy.get("/recordsets").await.expect(200);
    other.get(&of_other).await.expect(200);
    assert_eq!(app.count(WAITING).await, 1);
    let (refused, going_on): (Vec<_>, Vec<_>) = reads.drain(..).partition(JoinHandle::is_finished);
    for read in refused {
        let refused = read.await.unwrap();
        assert!(refused.headers.contains_key("retry-after"));
        assert_eq!(refused.error(503), "overloaded");
    }

    held.rollback().await.unwrap();
    for read in going_on {
        read.await.unwrap().expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_read_keeps_its_place_until_its_statement_has_ended() {
    let app = TestApp::start_with(&[("DATABASE_CONNECTIONS", "8"), ("LONG_READS", "1")]).await;
    let greedy = app.owner().await;
    let (recordset, search) = search_of(&greedy).await;
    let workspace = workspace_of(&greedy).simple();
    let many = format!("insert into ws_{workspace}.record_count_deltas values ('{recordset}', 20000)");
    sqlx::raw_sql(AssertSqlSafe(many)).execute(&app.database.pool).await.unwrap();

    let held = hold_records(&app, &greedy).await;
    let backend = "select coalesce(max(pid), 0)::bigint from pg_stat_activity
                    where datname = current_database() and wait_event_type = 'Lock'";
    let mut read = ask(&greedy, [search.clone()]);
    wait_until("it goes on", || async { app.count(WAITING).await == 1 }).await;
    for _ in 0..3 {
        let before = app.count(backend).await;
        let next = ask(&greedy, [search.clone()]);
        for read in std::mem::replace(&mut read, next) {
            read.abort();
        }
        wait_until("the next one goes on", || async {
            let (waiting, now) = (app.count(WAITING).await, app.count(backend).await);
            assert!(waiting <= 1, "{waiting} at once");
            now != 0 && now != before
        })
        .await;
    }
    held.rollback().await.unwrap();
    for read in read {
        read.await.unwrap().expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_connections_are_all_in_use_is_ready() {
    let variables = [("DATABASE_CONNECTIONS", "4"), ("WORKSPACE_CONNECTIONS", "4")];
    let app = TestApp::start_with(&variables).await;
    let owner = app.owner().await;
    // No caller is admitted meanwhile.
    let held = hold(&app.database.pool, "control.sessions").await;
    let requests = ask(&owner, (0..8).map(|_| "/recordsets".to_owned()));
    wait_until("all connections are in use", || async { app.count(WAITING).await >= 4 }).await;
    app.anonymous().get("/ready").await.expect(200);

    held.rollback().await.unwrap();
    for request in requests {
        request.await.unwrap().expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_takes_too_long_is_said_to() {
    let app = TestApp::start().await;
    let url: String =
        sqlx::query_scalar("select current_database()").fetch_one(&app.database.pool).await.unwrap();
    let url = variable("DATABASE_URL").rsplit_once('/').map(|(server, _)| format!("{server}/{url}")).unwrap();
    let impatient = Database::connect(&Connect {
        database_url: &url,
        redis_url: &variable("REDIS_URL"),
        redis_ca: None,
        redis_prefix: "impatient",
        connections: 1,
        silence: Duration::from_secs(10),
        fair_use: Some(FairUse {
            per_workspace: 1,
            long_reads: 1,
            statement_timeout: Duration::from_millis(50),
        }),
    })
    .await
    .unwrap();
    let error = sqlx::query("select pg_sleep(60)").execute(&impatient.pool).await.unwrap_err();
    assert_eq!(Error::from(error).kind(), &ErrorKind::Unavailable("timeout"));
}
