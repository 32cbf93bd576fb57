//! What each role may do, and who decides it.

use serde_json::{Value, json};

use crate::{Client, TestApp};

const ROLE: &str = "/permissions/roles/member";

async fn may(client: &Client, permission: &str) -> Value {
    client.get(&format!("/permissions/check/{permission}")).await.expect(200)
}

async fn set_one(client: &Client, role: &str, permission: &str, granted: bool) -> crate::Reply {
    let change = json!({"permission": permission, "granted": granted});
    client.put(&format!("/permissions/roles/{role}/permission"), change).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_is_listed_narrowed_and_grouped() {
    let app = TestApp::start().await;
    let owner = app.owner().await;

    let all = owner.items("/permissions").await;
    let records = owner.items("/permissions?resource=records").await;
    let grouped = owner.get("/permissions/grouped").await.expect(200);

    assert_eq!(
        records[0],
        json!({"name": "records:view", "resource": "records", "action": "view", "description": "Read records",
               "least_role": "viewer", "scope": "read"})
    );
    assert_eq!(grouped["records"], records);
    let in_groups: usize =
        grouped.as_object().unwrap().values().map(|group| group.as_array().unwrap().len()).sum();
    assert_eq!(in_groups, all.as_array().unwrap().len());
    assert_eq!(owner.items("/permissions?resource=dragons").await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn members_list_their_own_permissions_and_admins_those_of_all_roles() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (viewer, admin) = (app.join(&owner, "viewer").await, app.join(&owner, "admin").await);

    assert_eq!(may(&viewer, "records:view").await, json!(true));
    assert_eq!(may(&viewer, "records:create").await, json!(false));
    let unknown = viewer.get("/permissions/check/records:invent").await.expect(422);
    assert_eq!(unknown["fields"], json!({"permission": ["\"records:invent\" is not a permission"]}));
    let mine = viewer.get("/permissions/me").await.expect(200);
    assert_eq!(mine["role"], "viewer");
    let mine = mine["permissions"].as_array().unwrap();
    assert!(mine.contains(&json!("records:view")) && !mine.contains(&json!("records:create")));

    assert_eq!(viewer.get("/permissions/roles").await.error(403), "forbidden");
    let roles = admin.get("/permissions/roles").await.expect(200);
    assert_eq!(roles["viewer"].as_array().unwrap(), mine);
    assert!(roles["owner"].as_array().unwrap().len() > roles["admin"].as_array().unwrap().len());
    let settings = viewer.get("/permissions/roles/owner").await.expect(200);
    assert_eq!((&settings["role"], &settings["is_editable"]), (&json!("owner"), &json!(false)));
    assert_eq!(viewer.get("/permissions/roles/emperor").await.error(404), "record_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_holds_what_its_scopes_say() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (_, program) = owner.new_key(&["read"]).await;

    let mine = program.get("/permissions/me").await.expect(200);

    assert_eq!(mine["role"], "owner", "that of the person who made it");
    assert!(mine["permissions"].as_array().unwrap().contains(&json!("records:view")));
    assert_eq!(may(&program, "records:create").await, json!(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_holds_from_the_next_request_on_until_the_role_is_reset() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let member = app.join(&owner, "member").await;
    member.post("/recordsets", json!({"name": "Before"})).await.expect(201);

    let changes = json!({"permissions": {"recordsets:create": false, "recordsets:delete": true}});
    let settings = owner.put(ROLE, changes).await.expect(200);

    let of = |name: &str| {
        let all = settings["permissions"].as_array().unwrap();
        all.iter().find(|permission| permission["permission"] == name).unwrap().clone()
    };
    assert_eq!(
        of("recordsets:create"),
        json!({"permission": "recordsets:create", "granted": false, "default": true})
    );
    assert_eq!(of("recordsets:view")["granted"], true, "what isn't named stays");
    assert_eq!(may(&member, "recordsets:delete").await, json!(true));
    assert_eq!(member.post("/recordsets", json!({"name": "After"})).await.error(403), "forbidden");

    owner.post(&format!("{ROLE}/reset"), json!({})).await.expect(200);
    member.post("/recordsets", json!({"name": "After"})).await.expect(201);
    assert_eq!(may(&member, "recordsets:delete").await, json!(false));
    assert_eq!(app.count("select count(*) from role_permissions").await, 0);
    for action in ["role.permissions_changed", "role.permissions_reset"] {
        let noted = format!("select count(*) from audit_log where action = '{action}'");
        assert_eq!(app.count(&noted).await, 1, "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_all_that_a_role_has() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let member = app.join(&owner, "member").await;

    let list = json!({"permissions": ["permissions:view", "records:view"]});
    owner.put(ROLE, list).await.expect(200);

    let mine = member.get("/permissions/me").await.expect(200);
    assert_eq!(mine["permissions"], json!(["permissions:view", "records:view"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_as_by_default_is_not_kept() {
    let app = TestApp::start().await;
    let owner = app.owner().await;

    set_one(&owner, "member", "records:create", false).await.expect(200);
    assert_eq!(app.count("select count(*) from role_permissions").await, 1);
    set_one(&owner, "member", "records:create", true).await.expect(200);

    assert_eq!(app.count("select count(*) from role_permissions").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owners_role_and_unknown_permissions_are_not_changed() {
    let app = TestApp::start().await;
    let owner = app.owner().await;

    let owners = "/permissions/roles/owner";
    let changes = || json!({"permissions": {"records:create": false}});
    assert_eq!(owner.put(owners, changes()).await.error(409), "owner_immutable");
    assert_eq!(owner.post(&format!("{owners}/reset"), json!({})).await.error(409), "owner_immutable");
    assert_eq!(set_one(&owner, "owner", "records:create", false).await.error(409), "owner_immutable");

    for named in [json!({"records:invent": true, "records:create": false}), json!(["records:invent"])] {
        let refused = owner.put(ROLE, json!({"permissions": named})).await.expect(422);
        assert_eq!(refused["fields"], json!({"permissions": ["\"records:invent\" is not a permission"]}));
    }
    let refused = set_one(&owner, "member", "records:invent", true).await.expect(422);
    assert_eq!(refused["fields"], json!({"permission": ["\"records:invent\" is not a permission"]}));
    assert_eq!(owner.put(ROLE, json!({"permissions": "all"})).await.error(422), "record_invalid");
    assert_eq!(app.count("select count(*) from role_permissions").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_cannot_grant_a_permission_they_lack() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let admin = app.join(&owner, "admin").await;
    set_one(&owner, "admin", "recordsets:delete", false).await.expect(200);

    for role in ["member", "admin"] {
        let refused = set_one(&admin, role, "recordsets:delete", true).await.expect(403);
        assert_eq!(
            refused["detail"], "you cannot grant a permission that you lack: recordsets:delete",
            "{role}"
        );
    }
    assert_eq!(set_one(&admin, "member", "governance:manage", true).await.error(403), "forbidden");
    // Resetting their own role would grant it, too.
    assert_eq!(admin.post("/permissions/roles/admin/reset", json!({})).await.error(403), "forbidden");
    // To take is not to grant.
    set_one(&admin, "member", "records:delete", false).await.expect(200);
    let (_, program) = owner.new_key(&["auth", "read"]).await;
    assert_eq!(set_one(&program, "viewer", "records:create", true).await.error(403), "forbidden");

    owner.post("/permissions/roles/admin/reset", json!({})).await.expect(200);
    assert_eq!(may(&admin, "recordsets:delete").await, json!(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_manages_permissions_changes_them() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let member = app.join(&owner, "member").await;

    for reply in [
        member.put(ROLE, json!({"permissions": {"records:view": true}})).await,
        set_one(&member, "viewer", "records:view", true).await,
        member.post(&format!("{ROLE}/reset"), json!({})).await,
        member.post("/permissions/seed", json!({})).await,
    ] {
        assert_eq!(reply.error(403), "forbidden");
    }
    // An admin may take it from all admins; the owner has it still.
    let admin = app.join(&owner, "admin").await;
    set_one(&admin, "admin", "permissions:manage", false).await.expect(200);
    assert_eq!(set_one(&admin, "admin", "permissions:manage", true).await.error(403), "forbidden");
    set_one(&owner, "admin", "permissions:manage", true).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_workspaces_settings_are_not_anothers() {
    let app = TestApp::start().await;
    let (owner, other) = (app.owner().await, app.owner().await);
    let member = app.join(&other, "member").await;

    owner.put(ROLE, json!({"permissions": {"records:view": false}})).await.expect(200);

    assert_eq!(may(&member, "records:view").await, json!(true));
    assert_eq!(owner.in_workspace(other.workspace.as_deref()).get(ROLE).await.error(404), "record_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn seeding_removes_what_there_is_no_more_and_does_nothing_the_second_time() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    set_one(&owner, "member", "records:create", false).await.expect(200);
    let workspace = owner.workspace.as_deref().unwrap();
    app.run(&format!(
        "insert into role_permissions (workspace_id, role, permission, granted)
         values ('{workspace}', 'member', 'fax:send', true)"
    ))
    .await;

    let first = owner.post("/permissions/seed", json!({})).await.expect(201);
    let second = owner.post("/permissions/seed", json!({})).await.expect(201);

    assert_eq!((&first["removed"], &second["removed"]), (&json!(1), &json!(0)));
    assert_eq!(first["permissions"], owner.items("/permissions").await.as_array().unwrap().len());
    assert_eq!(app.count("select count(*) from role_permissions").await, 1, "what is listed stays");
}
