//! A job is its feature's by whatever route one comes to it: it asks for the feature's permissions, and for those of
//! what it touches.

use domain_data::job_kinds::ExportRecords;
use jobs::{JobId, NewJob, kinds::NoOp};
use serde_json::{Value, json};

use super::{end_of, enqueue, sleeper};
use crate::{Client, TestApp};

/// Takes permissions from a role, and gives back what was taken before.
pub(super) async fn take(owner: &Client, role: &str, permissions: &[&str]) {
    owner.post(&format!("/permissions/roles/{role}/reset"), json!({})).await.expect(200);
    let denied: serde_json::Map<_, _> =
        permissions.iter().map(|permission| ((*permission).to_owned(), json!(false))).collect();
    owner.put(&format!("/permissions/roles/{role}"), json!({ "permissions": denied })).await.expect(200);
}

/// A finished export of the owner's.
async fn export(owner: &Client) -> (Value, String) {
    let (recordset, _) = owner.import("Things", "name\none\n").await;
    let asked = json!({ "recordset_id": recordset["id"] });
    let started = owner.post("/recordsets/export", asked.clone()).await.expect(202);
    owner.follow(&started).await;
    (asked, started["job_id"].as_str().unwrap().to_owned())
}

fn ids(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|job| job["job_id"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_permission_exports_are_not_found_and_have_no_link() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (_, job) = export(&owner).await;
    let viewer = app.join(&owner, "viewer").await;
    let detail = format!("/recordsets/import/jobs/{job}");
    assert!(viewer.get(&detail).await.expect(200)["download_url"].is_string());
    for list in ["/jobs", "/recordsets/import/jobs"] {
        assert!(ids(&viewer.get(list).await.expect(200)).contains(&job.as_str()), "{list}");
    }

    take(&owner, "viewer", &["records:view"]).await;
    assert!(viewer.get(&detail).await.expect(200)["download_url"].is_null(), "the file is records");

    take(&owner, "viewer", &["exports:view"]).await;
    for list in ["/jobs", "/recordsets/import/jobs"] {
        let page = viewer.get(list).await.expect(200);
        assert!(!ids(&page).contains(&job.as_str()), "{list}: {page}");
        assert_eq!(page["total"], json!(ids(&page).len()), "{list}");
    }
    let platform = format!("/v1/jobs/{job}");
    let paths = [
        format!("/jobs/{job}"),
        format!("/jobs/{job}/logs"),
        format!("/jobs/{job}/stream"),
        format!("/jobs/{job}/logs/stream"),
        format!("{platform}/stream"),
        platform,
        detail,
        format!("/recordsets/import/status/{job}"),
    ];
    for path in &paths {
        assert_eq!(viewer.get(path).await.error(403), "forbidden", "{path}");
    }
    owner.get(&paths[0]).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn generic_routes_change_an_export_only_with_the_permission_for_exports() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (_, job) = export(&owner).await;
    let admin = app.join(&owner, "admin").await;
    // One that waits for its time.
    let waiting = ExportRecords { export_id: JobId::new() };
    let later = jobs::clock::now() + chrono::Duration::hours(1);
    let waiting = enqueue(&app, &owner, NewJob::new(&waiting).run_at(later)).await.id().to_string();

    take(&owner, "admin", &["exports:delete", "exports:cancel", "exports:create"]).await;
    for path in [format!("/jobs/{job}"), format!("/recordsets/import/jobs/{job}")] {
        assert_eq!(admin.delete(&path).await.error(403), "forbidden", "{path}");
    }
    let cancels = [
        format!("/jobs/{waiting}"),
        format!("/recordsets/import/jobs/{waiting}"),
        format!("/v1/jobs/{waiting}"),
    ];
    for path in cancels {
        let reply = admin.post(&format!("{path}/cancel"), json!({})).await;
        assert_eq!(reply.error(403), "forbidden", "{path}");
    }
    for path in ["/jobs/cancel", "/recordsets/import/jobs/cancel-all"] {
        let cancelled = admin.post(path, json!({ "all": true })).await.expect(200);
        assert_eq!(cancelled["cancelled"], 0, "{path}");
    }
    assert_eq!(admin.post(&format!("/jobs/{job}/retry"), json!({})).await.error(403), "forbidden");
    let first = admin.patch(&format!("/jobs/{waiting}"), json!({ "priority": 0 })).await;
    assert_eq!(first.error(403), "forbidden");

    owner.post(&format!("/jobs/{waiting}/cancel"), json!({})).await.expect(200);
    assert_eq!(end_of(&owner, &waiting).await["status"], "CANCELLED");
    owner.delete(&format!("/jobs/{job}")).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_routes_of_a_section_know_no_jobs_of_other_kinds() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = sleeper(&app, &owner, NoOp { sleep_ms: 600_000, ..NoOp::default() }).await;
    let detail = format!("/recordsets/import/jobs/{job}");

    let found = [
        owner.get(&detail).await,
        owner.get(&format!("/recordsets/import/status/{job}")).await,
        owner.post(&format!("{detail}/cancel"), json!({})).await,
        owner.delete(&detail).await,
        owner.get(&format!("/workspace-health/migrations/{job}/stream")).await,
    ];
    for reply in found {
        reply.error(404);
    }
    let cancelled = owner.post("/recordsets/import/jobs/cancel-all", json!({})).await.expect(200);
    assert_eq!(cancelled, json!({ "cancelled": 0, "requested": 0, "more": false }));
    assert_eq!(owner.get("/recordsets/import/jobs").await.expect(200)["total"], 0);
    owner.post(&format!("/jobs/{job}/cancel"), json!({})).await.expect(200);
    assert_eq!(end_of(&owner, &job).await["status"], "CANCELLED");
}

#[tokio::test(flavor = "multi_thread")]
async fn importing_and_exporting_ask_for_the_permissions_of_records() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (asked, _) = export(&owner).await;
    let member = app.join(&owner, "member").await;
    let upload = member.upload("/recordsets/import/upload", "a.csv", "name\none\n").await.expect(201);
    let new = json!({ "file_uri": upload["file_uri"], "name": "More" });
    let into = format!("/recordsets/import/records/{}", asked["recordset_id"].as_str().unwrap());
    let more = json!({ "file_uri": upload["file_uri"] });

    take(&owner, "member", &["records:create"]).await;
    for refused in
        [member.post("/recordsets/import", new.clone()).await, member.post(&into, more.clone()).await]
    {
        assert!(refused.text.contains("records:create"), "{}", refused.text);
        assert_eq!(refused.error(403), "forbidden");
    }
    take(&owner, "member", &["recordsets:create"]).await;
    assert_eq!(member.post("/recordsets/import", new.clone()).await.error(403), "forbidden");
    member.follow(&member.post(&into, more.clone()).await.expect(202)).await;
    take(&owner, "member", &["records:view"]).await;
    assert_eq!(member.post("/recordsets/export", asked.clone()).await.error(403), "forbidden");

    // A schedule is no way around it.
    take(&owner, "admin", &["records:view"]).await;
    let admin = app.join(&owner, "admin").await;
    let schedule = json!({ "name": "Yearly", "cron_expression": "@yearly", "action_type": "export",
                           "action_config": asked });
    assert_eq!(admin.post("/v1/scheduled-jobs", schedule.clone()).await.error(403), "forbidden");
    let made = owner.post("/v1/scheduled-jobs", schedule).await.expect(201);
    let path = format!("/v1/scheduled-jobs/{}", made["data"]["id"].as_str().unwrap());
    assert_eq!(admin.post(&format!("{path}/execute"), json!({})).await.error(403), "forbidden");
    assert_eq!(admin.patch(&path, json!({ "cron_expression": "@daily" })).await.error(403), "forbidden");
    owner.delete(&path).await.expect(200);

    let (_, files) = owner.new_key(&["files"]).await;
    let files = files.in_workspace(owner.workspace.as_deref());
    let refused = files.post(&into, more).await;
    assert!(refused.text.contains("the scope write"), "{}", refused.text);
    assert_eq!(refused.error(403), "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_kind_that_no_program_knows_is_for_those_who_may_delete_jobs() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let member = app.join(&owner, "member").await;
    let later = jobs::clock::now() + chrono::Duration::hours(1);
    let job = enqueue(&app, &owner, NewJob::new(&NoOp::default()).run_at(later)).await.id().to_string();
    let known = enqueue(&app, &owner, NewJob::new(&NoOp::default()).run_at(later)).await.id().to_string();
    // A job of another release.
    app.run(&format!("update shard.jobs set kind = 'future.kind', pool = 'future' where id = '{job}'")).await;

    for list in ["/jobs", "/jobs?kind=future.kind"] {
        let (hers, all) = (member.get(list).await.expect(200), owner.get(list).await.expect(200));
        assert!(!ids(&hers).contains(&job.as_str()), "{list}: {hers}");
        assert_eq!(hers["total"], json!(ids(&hers).len()), "{list}");
        assert!(ids(&all).contains(&job.as_str()), "{list}: {all}");
    }
    assert!(ids(&member.get("/jobs").await.expect(200)).contains(&known.as_str()));
    for path in [format!("/jobs/{job}"), format!("/jobs/{job}/stream"), format!("/v1/jobs/{job}")] {
        assert_eq!(member.get(&path).await.error(403), "forbidden", "{path}");
    }
    let cancel = format!("/jobs/{job}/cancel");
    assert_eq!(member.post(&cancel, json!({})).await.error(403), "forbidden");
    assert_eq!(member.post("/jobs/cancel", json!({ "all": true })).await.expect(200)["cancelled"], 1);
    owner.get(&format!("/jobs/{job}")).await.expect(200);
    owner.post(&cancel, json!({})).await.expect(200);
}
