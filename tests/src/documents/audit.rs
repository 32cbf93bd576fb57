//! Every write is in the audit, with what acted: a call of every operation that writes, and its entry.

use domain_data::job_kinds::ExportRecords;
use jobs::{JobId, NewJob, Surface, kinds::NoOp};
use serde_json::json;

use super::{
    answers::{Contract, hold_modules, hold_permissions},
    crud,
};
use crate::{
    Client, TestApp,
    workspace::{dead_letter, enqueue, sleeper},
};

/// Operations that write nothing when they are called as these tests do, or nothing that belongs to a workspace.
const NOTE_NOTHING: &[&str] = &[
    // Looks, with a body.
    "check_clerk_user",
    "lookup_invite",
    "simulate_policy",
    // An event that does not concern this installation.
    "stripe_webhook",
    // Nothing is to change.
    "seed_permissions",
    // A session goes on as it was.
    "refresh_tokens",
    // Requests an email, which has its own entry where the address has an account.
    "look_up_tenants",
];

/// Operations on several jobs at once, whose ids are in the entry's details.
const OF_SEVERAL: &[&str] =
    &["cancel_all_import_jobs", "cancel_jobs", "discard_dead_letters", "retry_dead_letters"];

/// Operations and actions that they take several times on one thing, in ways that only the details distinguish: a role and
/// a profile, two members of a team.
const DIFFER_IN_DETAILS: &[(&str, &str)] =
    &[("update_user", "member.updated"), ("reassign_member_items", "team.member_updated")];

/// Checks that each write has an entry with its request, and with that kind of actor where a caller is known. The entry
/// names what was changed, and it is the only one of that change: two of one action about one thing are one effect noted
/// twice, also with other details, unless only these distinguish several changes.
pub(super) async fn writes_are_noted(app: &TestApp, contract: &Contract, actor: &str) {
    let mut faults = Vec::new();
    for (operation, caller, request) in &contract.writes {
        if NOTE_NOTHING.contains(&operation.as_str()) {
            continue;
        }
        let found: Vec<(String, String, String, Option<uuid::Uuid>, String)> = sqlx::query_as(
            "select actor_type, action, resource_type, resource_id, data::text from shard.audit_log
              where request_id = $1",
        )
        .bind(request)
        .fetch_all(&app.database.pool)
        .await
        .unwrap();
        let is_noted = match caller.as_str() {
            "anyone" => !found.is_empty(),
            // On the Platform API a program calls some of them.
            _ => found.iter().any(|(by, ..)| by == actor || actor == "user" && by == "api_key"),
        };
        let by_route = found.iter().any(|(_, _, resource, ..)| resource == "request");
        let names_it =
            found.iter().any(|(.., id, _)| id.is_some()) != OF_SEVERAL.contains(&operation.as_str());
        let mut once: Vec<_> = found
            .iter()
            .map(|(_, action, resource, id, data)| {
                let of = (operation.as_str(), action.as_str());
                let details = DIFFER_IN_DETAILS.contains(&of).then_some(data);
                (action, resource, id, details)
            })
            .collect();
        once.sort();
        once.dedup();
        if !is_noted || by_route || !names_it || once.len() != found.len() {
            faults.push(format!("{operation}: {found:?}"));
        }
    }
    assert!(
        faults.is_empty(),
        "without one entry of each change by {actor}, naming the resource: {faults:#?}"
    );
}

/// Writes of a workspace by that client, held against the document.
async fn write_all(app: &TestApp, owner: &Client, client: &Client) -> Contract {
    let mut contract = Contract::new(Surface::Workspace);
    crud::write_all(app, &mut contract, owner, client).await;
    hold_modules(&mut contract, client).await;
    let leads = json!({"name": "Leads", "fields": [{"label": "Name", "field_type": "text"}]});
    let leads = client.post("/recordsets", leads).await.expect(201);

    let upload = client.upload("/recordsets/import/upload", "people.csv", "Name\nAda\n").await;
    let file = json!({"file_uri": contract.hold("upload_import_file", &upload)["file_uri"]});
    contract
        .hold("analyze_import_file", &client.post("/recordsets/import/upload/analyze", file.clone()).await);
    let into = format!("/recordsets/import/records/{}", leads["id"].as_str().unwrap());
    let import = contract.hold("start_records_import", &client.post(&into, file).await);
    client.follow(&import).await;
    let import = format!("/recordsets/import/jobs/{}", import["job_id"].as_str().unwrap());
    contract.hold("delete_import_job", &client.delete(&import).await);
    let export = client.post("/recordsets/export", json!({"recordset_id": leads["id"]})).await;
    client.follow(&contract.hold("start_export", &export)).await;

    let job = sleeper(app, client, NoOp { sleep_ms: 60_000, ..NoOp::default() }).await;
    let path = format!("/jobs/{job}");
    let stream = client.events(&format!("{path}/stream"), None).await;
    contract.hold("cancel_job", &client.post(&format!("{path}/cancel"), json!({})).await);
    stream.to_the_end().await;
    contract.hold("retry_job", &client.post(&format!("{path}/retry"), json!({})).await);
    hold_many(&mut contract, app, client).await;
    client.events(&format!("{path}/stream"), None).await.to_the_end().await;
    contract.hold("delete_job", &client.delete(&path).await);

    let dead = dead_letter(app, client).await;
    contract.hold("retry_dead_letter", &client.post(&format!("/dead-letters/{dead}/retry"), json!({})).await);
    client.events(&format!("/jobs/{dead}/stream"), None).await.to_the_end().await;
    contract.hold("discard_dead_letter", &client.delete(&format!("/dead-letters/{dead}")).await);
    contract
}

/// What is done with many jobs at once, each with something to do.
pub(super) async fn hold_many(contract: &mut Contract, app: &TestApp, client: &Client) {
    let later = jobs::clock::now() + chrono::Duration::hours(1);
    let export = ExportRecords { export_id: JobId::new() };
    enqueue(app, client, NewJob::new(&export).run_at(later)).await;
    let cancelled = client.post("/recordsets/import/jobs/cancel-all", json!({})).await;
    assert_eq!(contract.hold("cancel_all_import_jobs", &cancelled)["cancelled"], 1);

    let waiting = enqueue(app, client, NewJob::new(&NoOp::default()).run_at(later)).await.id();
    let first = client.patch(&format!("/jobs/{waiting}"), json!({"priority": 0})).await;
    contract.hold("update_job", &first);
    let cancelled = client.post("/jobs/cancel", json!({"kind": "engine.no_op"})).await;
    assert_ne!(contract.hold("cancel_jobs", &cancelled)["cancelled"], 0);

    for verb in ["retry", "discard"] {
        let dead = dead_letter(app, client).await;
        let many = client.post(&format!("/dead-letters/{verb}"), json!({"all": true})).await;
        contract.hold(&format!("{verb}_dead_letters"), &many);
        if verb == "retry" {
            client.events(&format!("/jobs/{dead}/stream"), None).await.to_the_end().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_writes_is_the_key_s_and_nobody_s_else() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (key, program) = owner.new_key(&["*"]).await;
    let program = program.in_workspace(owner.workspace.as_deref());
    // A plan that lets a key ask often enough.
    sqlx::query("update control.workspaces set plan = 'enterprise'")
        .execute(&app.database.pool)
        .await
        .unwrap();
    let mut contract = write_all(&app, &owner, &program).await;
    hold_permissions(&mut contract, &program).await;

    writes_are_noted(&app, &contract, "api_key").await;
    let by_others =
        "select count(*) from shard.audit_log where credential_type = 'api_key' and user_id is not null";
    assert_eq!(app.count(by_others).await, 0, "a key is no person");
    let id: uuid::Uuid = key["id"].as_str().unwrap().parse().unwrap();
    let of_jobs: Vec<String> = sqlx::query_scalar(
        "select distinct action from shard.audit_log
          where actor_type = 'job' and credential_id = $1 and job_id is not null and ip = '127.0.0.1' order by 1",
    )
    .bind(id)
    .fetch_all(&app.database.pool)
    .await
    .unwrap();
    assert_eq!(of_jobs, ["export.completed", "records.imported"], "what its jobs do, they do for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_in_somebody_s_place_names_both_in_jobs_too() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let staff = app.owner().await.get("/auth/me").await.expect(200)["id"].as_str().unwrap().to_owned();
    let staff: uuid::Uuid = staff.parse().unwrap();
    sqlx::query("update control.users set is_staff = true where id = $1")
        .bind(staff)
        .execute(&app.database.pool)
        .await
        .unwrap();
    sqlx::query("update control.sessions set impersonator_id = $1 where user_id <> $1")
        .bind(staff)
        .execute(&app.database.pool)
        .await
        .unwrap();
    let recordset = json!({"name": "Leads", "fields": [{"label": "Name", "field_type": "text"}]});
    let recordset = owner.post("/recordsets", recordset).await.expect(201);
    let export = owner.post("/recordsets/export", json!({"recordset_id": recordset["id"]})).await.expect(202);
    owner.follow(&export).await;

    let entries: Vec<(String, String, Option<uuid::Uuid>)> = sqlx::query_as(
        "select action, actor_type, impersonator_id from shard.audit_log
          where action in ('recordset.created', 'export.completed') order by id",
    )
    .fetch_all(&app.database.pool)
    .await
    .unwrap();
    let entry = |action: &str, actor: &str| (action.to_owned(), actor.to_owned(), Some(staff));
    assert_eq!(entries, [entry("recordset.created", "impersonator"), entry("export.completed", "job")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_origin_is_damaged_fails_and_holds_up_no_other() {
    let app = TestApp::start().await;
    let no_op = NoOp::default();
    let mut tx = app.database.begin().await.unwrap();
    let damaged = jobs::enqueue(&mut tx, jobs::NewJob::new(&no_op)).await.unwrap().id();
    let sound = jobs::enqueue(&mut tx, jobs::NewJob::new(&no_op)).await.unwrap().id();
    sqlx::query("update jobs set origin = '[]' where id = $1")
        .bind(damaged.0)
        .execute(tx.conn())
        .await
        .unwrap();
    tx.commit().await.unwrap();

    assert_eq!(app.wait_for_end(sound).await["status"], "COMPLETED");
    let ended = app.wait_for_end(damaged).await;
    assert_eq!((&ended["status"], &ended["error_code"]), (&json!("FAILED"), &json!("origin_unreadable")));
}
