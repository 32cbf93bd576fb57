//! The audit: who did what, as its readers see it.

use api_kit::TypeId;
use domain::{UserId, WorkspaceId};
use serde_json::{Value, json};

use crate::{TestApp, workspace::auth::Person};

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
async fn whoever_acted_as_somebody_is_named() {
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
