//! What the SQL of a workspace's transaction reaches: its own schema, and accounts only within `with_accounts`.

use domain::{Actor, WorkspaceDb, WorkspaceId};
use sqlx::AssertSqlSafe;

use crate::{Client, TestApp};

const DENIED: &str = "42501";
const ABORTED: &str = "25P02";
const ACCOUNTS: &str = "select count(*) from control.users";

fn workspace_of(client: &Client) -> WorkspaceId {
    WorkspaceId(client.workspace.as_ref().unwrap().parse().unwrap())
}

async fn count(conn: &mut sqlx::PgConnection, query: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(conn).await
}

/// The code by which the database refuses a query.
async fn refusal(db: &mut WorkspaceDb, query: &str) -> String {
    let error = count(db.conn(), query).await.expect_err(query);
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).expect("a code").into_owned()
}

/// Neither accounts nor another workspace's rows are in reach, by name or by the search path, and the own ones are.
async fn assert_confined(db: &mut WorkspaceDb, other: &Client) {
    assert_eq!(count(db.conn(), "select count(*) from members").await.unwrap(), 1);
    let theirs = format!("select count(*) from {}.members", jobs::workspace_schema(workspace_of(other).0));
    let memberships = "select count(*) from control.memberships";
    for query in [ACCOUNTS, memberships, "select count(*) from shard.jobs", &theirs] {
        // Each refusal aborts its transaction, or here only the part after the savepoint.
        sqlx::raw_sql("savepoint here").execute(db.conn()).await.unwrap();
        assert_eq!(refusal(db, query).await, DENIED, "{query}");
        sqlx::raw_sql("rollback to savepoint here").execute(db.conn()).await.unwrap();
    }
    let sees =
        "select count(*) from pg_class where relname in ('users', 'jobs') and pg_table_is_visible(oid)";
    assert_eq!(count(db.conn(), sees).await.unwrap(), 0, "the search path shows the workspace's schema only");
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_after_with_accounts_reaches_the_workspaces_schema_only() {
    let app = TestApp::start().await;
    let (ada, other) = (app.owner().await, app.owner().await);
    let mut db = WorkspaceDb::write(&app.database, workspace_of(&ada), Actor::default()).await.unwrap();

    assert_confined(&mut db, &other).await;
    let accounts = db.with_accounts(async |accounts| {
        let joined = "select count(*) from users u join members m on m.user_id = u.id";
        assert_eq!(count(accounts.conn(), joined).await?, 1);
        count(accounts.conn(), ACCOUNTS).await
    });

    assert!(accounts.await.unwrap() >= 2);
    assert_confined(&mut db, &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_within_with_accounts_leaves_the_transaction_confined() {
    let app = TestApp::start().await;
    let (ada, other) = (app.owner().await, app.owner().await);
    let mut db = WorkspaceDb::write(&app.database, workspace_of(&ada), Actor::default()).await.unwrap();

    // An error of ours: the transaction goes on.
    let refused = db.with_accounts(async |_| Err::<(), _>(domain::Error::not_found())).await;
    assert_eq!(refused.unwrap_err().kind(), &domain::ErrorKind::NotFound);
    assert_confined(&mut db, &other).await;

    // An error of the database: nothing runs any more, and that error is returned.
    let failed = db.with_accounts(async |accounts| count(accounts.conn(), "select 1 / 0").await).await;
    let failed = failed.unwrap_err();
    assert_eq!(failed.as_database_error().unwrap().code().unwrap(), "22012", "{failed}");
    assert_eq!(refusal(&mut db, ACCOUNTS).await, ABORTED);
    assert_eq!(refusal(&mut db, "select count(*) from members").await, ABORTED);
    drop(db);

    // One around which there is a savepoint: back there, the transaction has the role that it had.
    let mut db = WorkspaceDb::write(&app.database, workspace_of(&ada), Actor::default()).await.unwrap();
    sqlx::raw_sql("savepoint before").execute(db.conn()).await.unwrap();
    db.with_accounts(async |accounts| count(accounts.conn(), "select 1 / 0").await).await.unwrap_err();
    sqlx::raw_sql("rollback to savepoint before").execute(db.conn()).await.unwrap();
    assert_confined(&mut db, &other).await;
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "dropped half-way")]
async fn a_transaction_whose_with_accounts_was_dropped_half_way_can_only_be_dropped() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let mut db = WorkspaceDb::write(&app.database, workspace_of(&ada), Actor::default()).await.unwrap();

    let (entered, has_entered) = tokio::sync::oneshot::channel();
    let halting = db.with_accounts(async |_| {
        entered.send(()).unwrap();
        std::future::pending::<Result<(), sqlx::Error>>().await
    });
    tokio::select! {
        _ = halting => unreachable!("it never ends"),
        entered = has_entered => entered.unwrap(),
    }

    db.conn();
}
