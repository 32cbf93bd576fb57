//! One tenant's slow statements, and the other tenants.

use std::time::Duration;

use domain::{DomainError, Refusal};
use jobs::{Connect, Database, FairUse};
use sqlx::{AssertSqlSafe, Connection};

use crate::{TestApp, cluster::wait_until, database::variable};

/// Statements that wait for a lock, behind the scenes.
const WAITING: &str = "select count(*) from pg_stat_activity
                        where datname = current_database() and wait_event_type = 'Lock'";

#[tokio::test(flavor = "multi_thread")]
async fn slow_searches_of_one_tenant_leave_connections_to_others_and_end_with_their_clients() {
    let app = TestApp::start_with(&[("DATABASE_CONNECTIONS", "8")]).await;
    let (greedy, other) = (app.owner().await, app.owner().await);
    let recordset = greedy.post("/recordsets", serde_json::json!({ "name": "Things" })).await.expect(201);
    let path = format!("/records?recordset_id={}&search=x", recordset["id"].as_str().unwrap());
    greedy.get(&path).await.expect(200);

    // As slow as can be: nobody reads the table while this is open.
    let mut blocker = app.database.pool.acquire().await.unwrap();
    let mut held = blocker.begin().await.unwrap();
    let workspace = greedy.workspace.as_deref().unwrap().replace('-', "");
    let lock = format!("lock table ws_{workspace}.records in access exclusive mode");
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *held).await.unwrap();
    let searches: Vec<_> = (0..24)
        .map(|_| {
            let (greedy, path) = (greedy.clone(), path.clone());
            tokio::spawn(async move { greedy.get(&path).await })
        })
        .collect();
    wait_until("the searches wait", || async { app.count(WAITING).await >= 4 }).await;
    other.get("/recordsets").await.expect(200);
    assert_eq!(app.count(WAITING).await, 4, "half of the connections");

    for search in searches {
        search.abort();
    }
    wait_until("the statements end", || async { app.count(WAITING).await == 0 }).await;
    held.rollback().await.unwrap();
    greedy.get(&path).await.expect(200);
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
        fair_use: Some(FairUse { per_workspace: 1, statement_timeout: Duration::from_millis(50) }),
    })
    .await
    .unwrap();
    let error = sqlx::query("select pg_sleep(60)").execute(&impatient.pool).await.unwrap_err();
    assert_eq!(error.refusal(), Refusal::Unavailable("timeout"));
}
