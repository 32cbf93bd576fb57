//! The audit: who did what, as its readers see it.

use api_kit::TypeId;
use domain::{UserId, WorkspaceId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    TestApp,
    cluster::wait_until,
    workspace::{
        auth::Person,
        jobs::workspace_of,
        members::{member_of, path_of},
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn what_people_and_programs_do_is_listed_the_latest_first() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (key, program) = owner.new_key(&["schema"]).await;
    program.post("/recordsets", json!({"name": "Things"})).await.expect(201);

    let audit = owner.get("/v1/audit-logs?limit=1").await.expect(200)["data"].clone();

    let entry = &audit["logs"][0];
    assert_eq!(
        (&entry["action"], &entry["resource_type"]),
        (&json!("recordset.created"), &json!("recordset"))
    );
    let id = api_kit::type_id_of("api_key", key["id"].as_str().unwrap().parse().unwrap());
    assert_eq!((&entry["credential_type"], &entry["credential_id"]), (&json!("api_key"), &json!(id)));
    assert_eq!((&entry["actor_type"], &entry["job_id"]), (&json!("api_key"), &Value::Null));
    assert!(entry["resource_id"].as_str().unwrap().starts_with("recordset_"), "{entry}");
    assert_eq!((&entry["user_id"], &entry["is_impersonated"]), (&Value::Null, &json!(false)));
    assert_eq!((&entry["ip"], &entry["surface"]), (&json!("127.0.0.1"), &json!("workspace")));
    assert!(entry["request_id"].is_string() && entry["created_at"].is_string());

    let keys = owner.get("/v1/audit-logs?resource_type=api_key").await.expect(200)["data"].clone();
    assert_eq!((&keys["total"], &keys["logs"][0]["action"]), (&json!(1), &json!("api_key.created")));
    assert!(keys["logs"][0]["user_id"].as_str().unwrap().starts_with("usr_"));
    assert!(!keys.to_string().contains(&key["key"].as_str().unwrap()[12..]), "no secret is in it");
    let next = owner.get("/v1/audit-logs?limit=1&offset=1").await.expect(200)["data"].clone();
    assert_eq!((&next["total"], next["logs"][0]["id"] != entry["id"]), (&audit["total"], true));
    let none = owner.get("/v1/audit-logs?action=dragon.slain").await.expect(200);
    assert_eq!(none["data"], json!({"logs": [], "total": 0}));
    assert_eq!(owner.get("/v1/audit-logs?limit=x").await.error(422), "record_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_id_of_its_own_is_named_by_whose_it_is() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let member = Person::employee(&app, &owner, "member").await;
    let path = format!("/workspaces/{}/members/{}/password-reset/link", owner.workspace(), member.id);
    owner.client.post(&path, json!({})).await.expect(200);
    let change = json!({"permission": "records:create", "granted": false});
    owner.client.put("/permissions/roles/member/permission", change).await.expect(200);
    owner.client.patch("/v1/governance", json!({"password_min_length": 20})).await.expect(200);

    let person = TypeId(UserId(member.id)).to_string();
    let workspace = TypeId(WorkspaceId(owner.workspace().parse().unwrap())).to_string();
    for (action, named) in [
        ("password.reset_allowed", &person),
        ("role.permissions_changed", &workspace),
        ("governance.updated", &workspace),
    ] {
        let audit = owner.client.get(&format!("/v1/audit-logs?action={action}")).await.expect(200);
        assert_eq!(audit["data"]["logs"][0]["resource_id"], json!(named), "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_entry_names_the_impersonator() {
    let app = TestApp::start().await;
    let (owner, staff) = (app.owner().await, app.owner().await);
    let staff = staff.get("/auth/me").await.expect(200)["id"].as_str().unwrap().to_owned();
    app.run(&format!("update users set is_staff = true where id = '{staff}'")).await;
    let admin = app.join(&owner, "admin").await;
    let person = owner.get("/auth/me").await.expect(200)["id"].as_str().unwrap().to_owned();
    app.run(&format!("update sessions set impersonator_id = '{staff}' where user_id = '{person}'")).await;
    owner.post("/recordsets", json!({"name": "Things"})).await.expect(201);

    assert_eq!(owner.get("/v1/audit-logs").await.error(403), "forbidden");
    let audit = admin.get("/v1/audit-logs?action=recordset.created").await.expect(200);

    let entry = &audit["data"]["logs"][0];
    let named = TypeId(UserId(staff.parse().unwrap())).to_string();
    assert_eq!((&entry["is_impersonated"], &entry["impersonator_id"]), (&json!(true), &json!(named)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_is_for_admins_of_its_own_tenant_and_for_keys_with_the_scope() {
    let app = TestApp::start().await;
    let (owner, eve) = (app.owner().await, app.owner().await);
    owner.new_key(&["read"]).await;

    for role in ["viewer", "member"] {
        assert_eq!(app.join(&owner, role).await.get("/v1/audit-logs").await.error(403), "forbidden");
    }
    app.join(&owner, "admin").await.get("/v1/audit-logs").await.expect(200);
    let (_, reader) = owner.new_key(&["read"]).await;
    assert_eq!(reader.get("/v1/audit-logs").await.error(403), "forbidden");
    let (_, auth) = owner.new_key(&["auth"]).await;
    assert!(auth.get("/v1/audit-logs?action=api_key.created").await.expect(200)["data"]["total"] == 3);
    assert_eq!(eve.get("/v1/audit-logs?action=api_key.created").await.expect(200)["data"]["total"], 0);
}

/// Where in an answer plain UUIDs are. The id of a request is the client's own.
fn plain_uuids(path: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| *name != "request_id")
            .for_each(|(name, value)| plain_uuids(&format!("{path}.{name}"), value, found)),
        Value::Array(items) => items.iter().for_each(|item| plain_uuids(path, item, found)),
        Value::String(text) if Uuid::try_parse(text).is_ok() => found.push(format!("{path}: {text}")),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_of_this_surface_shows_a_plain_uuid() {
    let app = TestApp::start().await;
    let ada = app.owner().await;
    let bob = app.join(&ada, "admin").await;
    let (_, ended) = ada.import("People", "Name\nAda\nGrace\n").await;
    let recordset = ada.get("/recordsets/people").await.expect(200)["id"].clone();
    let (_, record) =
        ada.create("/records", json!({"recordset_id": recordset, "data": {"name": "Cleo"}})).await;
    ada.delete(&format!("/records/{}", record["id"].as_str().unwrap())).await.expect(204);
    let (key, _) = bob.new_key(&["read"]).await;
    let rotated = ada.post(&format!("/api-keys/{}/rotate", key["id"].as_str().unwrap()), json!({})).await;
    rotated.expect(200);
    bob.create("/teams", json!({"name": "Accounts"})).await;
    let schedule = json!({"name": "Export", "cron_expression": "0 0 1 1 *", "action_type": "export",
                          "action_config": {"recordset_id": recordset}});
    let schedule = bob.post("/v1/scheduled-jobs", schedule).await.expect(201)["data"].clone();
    let path = format!("/v1/scheduled-jobs/{}", schedule["id"].as_str().unwrap());
    let run = bob.post(&format!("{path}/execute"), json!({})).await.expect(200)["data"].clone();
    let export = bob.events(run["stream_url"].as_str().unwrap(), None).await.to_the_end().await;
    let (from, to) = (path_of(&bob).await, member_of(&ada).await["id"].clone());
    ada.post(&format!("{from}/reassign"), json!({"to_member_id": to})).await.expect(200);
    ada.delete(&from).await.expect(204);

    let import = format!("/v1/jobs/{}", ended["job_id"].as_str().unwrap());
    let mut found = Vec::new();
    plain_uuids("event", &export, &mut found);
    for path in ["/v1/audit-logs?limit=200", "/v1/scheduled-jobs", "/v1/keys", "/v1/dlq", &path, &import] {
        plain_uuids(path, &ada.get(path).await.expect(200), &mut found);
    }

    assert!(found.is_empty(), "{found:#?}");
    let id = api_kit::type_id_of("recordset", recordset.as_str().unwrap().parse().unwrap());
    let records =
        ada.get("/v1/audit-logs?action=records.imported").await.expect(200)["data"]["logs"][0].clone();
    assert_eq!((&records["resource_id"], &records["data"]["recordset_id"]), (&json!(id), &json!(id)));
    // What is shown is taken, too.
    assert_eq!(schedule["action_config"], json!({"recordset_id": id}));
    let same = json!({"action_config": {"recordset_id": id}});
    let same = ada.patch(&path, same).await.expect(200)["data"]["action_config"].clone();
    assert_eq!(same, schedule["action_config"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_counts_is_noted_also_where_its_client_has_left_or_it_cannot_be_read() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let schema = format!("ws_{}", workspace_of(&owner).simple());
    let stored = format!("select count(*) from {schema}.files where size is not null");
    let rows = "a,b,c,d\n".repeat(600_000);
    tokio::select! {
        _ = owner.upload("/recordsets/import/upload", "left.csv", rows) => {}
        () = wait_until("it is stored", || async { app.count(&stored).await == 1 }) => {}
    }
    let noted = format!(
        "select count(*) from shard.audit_log a join {schema}.files f on f.id = a.resource_id
          where a.action = 'file.uploaded' and a.user_id is not null"
    );
    assert_eq!(app.count(&noted).await, 1);

    let broken = owner.upload("/recordsets/import/upload", "broken.xlsx", "PK\u{3}\u{4} nothing").await;
    assert_eq!(broken.status, 422, "{}", broken.text);
    let request = broken.headers["X-Request-Id"].to_str().unwrap().to_owned();
    let actions: Vec<String> =
        sqlx::query_scalar("select action from shard.audit_log where request_id = $1 order by id")
            .bind(request)
            .fetch_all(&app.database.pool)
            .await
            .unwrap();
    assert_eq!(actions, ["file.uploaded", "file.removed"]);
}
