//! Workspace health, and bringing a workspace up to date that an earlier release has left.

use std::path::Path;

use ::jobs::{watch::Status, workspace_schema};
use domain::{WorkspaceId, workspace_schema};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, migrate::Migrator};
use uuid::Uuid;

use crate::{Client, TestApp};

const HEALTH: &str = "/workspace-health";
const MIGRATIONS: &str = "/workspace-health/migrations";
/// The release before had the migrations up to this one.
const BEFORE: i64 = 2;

/// Puts a workspace back to where an earlier release has left it: its people in the tables of that time.
async fn put_back(app: &TestApp, owner: &Client) {
    let workspace: Uuid = owner.workspace.as_ref().unwrap().parse().unwrap();
    let schema = workspace_schema(workspace);
    let run = async |statement: String| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&app.database.pool).await.unwrap();
    };
    run(format!(
        "create table public.kept as select id, user_id, name, email from {schema}.members;
                 drop schema {schema} cascade;"
    ))
    .await;
    let mut tx = app.database.begin().await.unwrap();
    workspace_schema::create(&mut tx, WorkspaceId(workspace)).await.unwrap();
    tx.commit().await.unwrap();
    let mut conn = PgConnection::connect_with(&app.database.pool.connect_options()).await.unwrap();
    let path = format!("set search_path = {schema}, shard_api, ext");
    sqlx::raw_sql(sqlx::AssertSqlSafe(path)).execute(&mut conn).await.unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations/workspace");
    let mut migrator = Migrator::new(folder.as_path()).await.unwrap();
    migrator.set_locking(false);
    migrator.run_direct(Some(BEFORE), &mut conn, false).await.unwrap();
    conn.close().await.unwrap();
    run(format!(
        "insert into {schema}.members (id, user_id, name, email) select * from public.kept;
         drop table public.kept;
         update control.workspaces set migrations = '{{1, 2}}' where id = '{workspace}';"
    ))
    .await;
}

/// How many migrations a workspace of the release before lacks.
async fn lacking() -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations/workspace");
    let migrator = Migrator::new(folder.as_path()).await.unwrap();
    migrator.iter().filter(|migration| migration.version > BEFORE).count()
}

fn newest() -> i64 {
    *domain::migrations::workspace_versions().last().unwrap()
}

async fn version(app: &TestApp, owner: &Client) -> i64 {
    let workspace = owner.workspace.as_ref().unwrap();
    app.count(&format!(
        "select max(m) from control.workspaces, unnest(migrations) m where id = '{workspace}'"
    ))
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_shows_how_far_it_is_set_up() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let nothing = json!({ "brand": false, "migration_required": false, "personal_onboarding_complete": false,
                          "company_onboarding_complete": false });
    assert_eq!(ada.get(HEALTH).await.expect(200), nothing);

    let me = ada.get("/members/me").await.expect(200);
    let path = format!("/members/{}", me["id"].as_str().unwrap());
    ada.patch(&path, json!({ "onboarding_completed": true })).await.expect(200);
    let workspace = format!("/workspaces/{}", ada.workspace.as_ref().unwrap());
    let set_up = json!({ "branding": { "brand_name": "Engines" }, "onboarding_completed": true });
    ada.patch(&workspace, set_up).await.expect(200);

    let all = json!({ "brand": true, "migration_required": false, "personal_onboarding_complete": true,
                      "company_onboarding_complete": true });
    assert_eq!(ada.get(HEALTH).await.expect(200), all);
    ada.patch(&workspace, json!({ "onboarding_completed": false })).await.expect(200);
    assert_eq!(ada.get(HEALTH).await.expect(200)["company_onboarding_complete"], false);
    let bob = app.join(&ada, "viewer").await;
    let bobs = bob.get(HEALTH).await.expect(200);
    assert_eq!((&bobs["brand"], &bobs["personal_onboarding_complete"]), (&json!(true), &json!(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_is_behind_shows_it_and_its_migration_can_be_watched() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    put_back(&app, &ada).await;

    let behind = ada.get(HEALTH).await.expect(503);
    assert_eq!((&behind["migration_required"], &behind["brand"]), (&json!(true), &json!(false)));
    assert_eq!((&behind["error"], &behind["detail"].is_string()), (&json!("migration_required"), &true));

    let started = ada.post(MIGRATIONS, json!({})).await.expect(202);
    let stream = started["stream_url"].as_str().unwrap();
    let own = format!("/api/v1{MIGRATIONS}/{}/stream?ticket=", started["job_id"].as_str().unwrap());
    assert!(stream.starts_with(&own), "{stream}");
    let end = ada.with_token(None).in_workspace(None).follow(&started).await;
    assert_eq!((&end["status"], &end["progress"]), (&json!("COMPLETED"), &json!(100)));
    let mut keys: Vec<_> = end.as_object().unwrap().keys().collect();
    keys.retain(|key| *key != "current_step");
    assert_eq!(keys, ["job_id", "prev", "progress", "seq", "status", "timestamp"]);

    assert_eq!(version(&app, &ada).await, newest());
    assert_eq!(ada.get(HEALTH).await.expect(200)["migration_required"], false);
    ada.create("/teams", json!({ "name": "Sales" })).await;
    assert_eq!(ada.get("/members").await.expect(200)["total"], 1);
    let job = started["job_id"].as_str().unwrap();
    let result = ada.get(&format!("/jobs/{job}")).await.expect(200)["result"].clone();
    assert_eq!(result, json!({ "migrations": lacking().await, "schema_version": newest() }));
    let event = "select count(*) from shard.events where type = 'workspace.migrated'";
    assert_eq!(app.count(event).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_migration_is_a_step_that_people_can_read() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    put_back(&app, &ada).await;

    let started = ada.post(MIGRATIONS, json!({})).await.expect(202);
    ada.follow(&started).await;

    let job = started["job_id"].as_str().unwrap();
    let mut stream = ada.events(&format!("{MIGRATIONS}/{job}/stream?since=0"), None).await;
    let mut steps: Vec<String> = Vec::new();
    while let Some(event) = stream.next().await {
        let step = event["current_step"].as_str().map(str::to_owned);
        steps.extend(step.filter(|step| steps.last() != Some(step)));
    }
    let applied: Vec<_> = steps.iter().filter(|step| step.starts_with("Applying migration")).collect();
    assert_eq!(applied.len(), lacking().await, "{steps:?}");
    assert_eq!(applied[..2], ["Applying migration 3 (bulk)", "Applying migration 4 (teams)"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_ask_at_once_one_job_migrates() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    put_back(&app, &ada).await;
    let pause = json!({ "kind": "workspaces.migrate", "reason": "a test", "paused_by": "Ada" });
    let pause = app.operator().post("/pauses", pause).await.expect(201);
    let ask = || ada.post(MIGRATIONS, json!({}));

    let (a, b, c) = tokio::join!(ask(), ask(), ask());
    let started: Vec<Value> = [a, b, c].into_iter().map(|reply| reply.expect(202)).collect();

    assert!(started.iter().all(|other| other["job_id"] == started[0]["job_id"]), "{started:?}");
    app.operator().delete(&format!("/pauses/{}", pause["id"].as_str().unwrap())).await.expect(204);
    assert_eq!(ada.follow(&started[0]).await["status"], "COMPLETED");
    assert_eq!(version(&app, &ada).await, newest());
    let again = ask().await.expect(202);
    assert_ne!(again["job_id"], started[0]["job_id"]);
    assert_eq!(ada.follow(&again).await["status"], "COMPLETED", "nothing is left to do");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_attempt_has_done_before_it_died_is_not_done_again() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let workspace = ada.workspace.clone().unwrap();
    // All migrations have run, and the mark of that is missing: so does a kill leave it.
    let mark = format!("update control.workspaces set migrations = '{{1, 2}}' where id = '{workspace}'");
    sqlx::raw_sql(sqlx::AssertSqlSafe(mark)).execute(&app.database.pool).await.unwrap();
    ada.get(HEALTH).await.expect(503);

    let started = ada.post(MIGRATIONS, json!({})).await.expect(202);

    assert_eq!(ada.follow(&started).await["status"], "COMPLETED");
    ada.get(HEALTH).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_lacks_a_migration_before_the_newest_is_behind() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let workspace: Uuid = ada.workspace.as_ref().unwrap().parse().unwrap();
    let schema = workspace_schema(workspace);
    app.run(&format!("drop table {schema}.modules")).await;
    app.run(&format!("delete from {schema}._sqlx_migrations where version = 5")).await;
    app.run(&format!(
        "update control.workspaces set migrations = array_remove(migrations, 5) where id = '{workspace}'"
    ))
    .await;

    assert_eq!(ada.get(HEALTH).await.expect(503)["migration_required"], true);
    assert_eq!(ada.get("/members").await.error(503), "migration_required");
    let started = ada.post(MIGRATIONS, json!({})).await.expect(202);
    let end = ada.follow(&started).await;

    assert_eq!(end["status"], "COMPLETED", "{end}");
    let job = ada.get(&format!("/jobs/{}", started["job_id"].as_str().unwrap())).await.expect(200);
    assert_eq!(job["result"], json!({ "migrations": 1, "schema_version": newest() }));
    ada.get("/members").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_cannot_run_fails_with_its_name_and_leaves_the_workspace_closed() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    put_back(&app, &ada).await;
    let schema = workspace_schema(ada.workspace.as_ref().unwrap().parse().unwrap());
    let in_the_way = format!("create table {schema}.teams ()");
    sqlx::raw_sql(sqlx::AssertSqlSafe(in_the_way)).execute(&app.database.pool).await.unwrap();

    let started = ada.post(MIGRATIONS, json!({})).await.expect(202);
    let end = ada.follow(&started).await;

    assert_eq!(end["status"], json!(Status::Failed.name()));
    assert_eq!(end["error_message"], "Applying migration 4 (teams) failed");
    assert_eq!(version(&app, &ada).await, BEFORE);
    assert_eq!(ada.get(HEALTH).await.expect(503)["migration_required"], true);
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("drop table {schema}.teams")))
        .execute(&app.database.pool)
        .await
        .unwrap();
    let again = ada.post(MIGRATIONS, json!({})).await.expect(202);
    assert_eq!(ada.follow(&again).await["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_view_members_migrate_and_others_get_not_found() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.owner().await, app.owner().await);
    let (viewer, member) = (app.join(&ada, "viewer").await, app.join(&ada, "member").await);
    viewer.get(HEALTH).await.expect(200);
    assert_eq!(viewer.post(MIGRATIONS, json!({})).await.error(403), "forbidden");
    let started = member.post(MIGRATIONS, json!({})).await.expect(202);
    let stream = format!("{MIGRATIONS}/{}/stream", started["job_id"].as_str().unwrap());
    assert_eq!(viewer.events(&stream, None).await.to_the_end().await["status"], "COMPLETED");

    let intruder = eve.in_workspace(ada.workspace.as_deref());
    for client in [&intruder, &eve] {
        assert_eq!(client.get(&stream).await.error(404), "record_not_found");
    }
    assert_eq!(intruder.get(HEALTH).await.error(404), "record_not_found");
    assert_eq!(intruder.post(MIGRATIONS, json!({})).await.error(404), "record_not_found");
    let (_, import) = ada.import("People", "Name\nAda\n").await;
    let other = format!("{MIGRATIONS}/{}/stream", import["job_id"].as_str().unwrap());
    assert_eq!(ada.get(&other).await.error(404), "record_not_found", "another kind of job");
}
