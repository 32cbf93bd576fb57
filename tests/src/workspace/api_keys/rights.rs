//! Who may do what with API keys, and that nobody gets more by one than they have.

use serde_json::json;

use crate::{Client, TestApp};

/// Everything that changes a key.
async fn changes(client: &Client, id: &str, status: u16, code: &str) {
    let path = format!("/api-keys/{id}");
    let mut replies = vec![client.patch(&path, json!({"name": "Mine"})).await, client.delete(&path).await];
    for action in ["revoke", "rotate", "toggle"] {
        replies.push(client.post(&format!("{path}/{action}"), json!({})).await);
    }
    for reply in replies {
        assert_eq!(reply.error(status), code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_see_no_keys_members_look_and_admins_manage() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (key, _) = owner.new_key(&["read"]).await;
    let id = key["id"].as_str().unwrap();
    let new = || json!({"name": "x", "scopes": ["read"]});

    let viewer = app.join(&owner, "viewer").await;
    for path in ["/api-keys", "/api-keys/count", &format!("/api-keys/{id}")] {
        assert_eq!(viewer.get(path).await.error(403), "forbidden", "{path}");
    }
    let member = app.join(&owner, "member").await;
    assert_eq!(member.get("/api-keys").await.expect(200).as_array().unwrap().len(), 1);
    for person in [&viewer, &member] {
        changes(person, id, 403, "forbidden").await;
        assert_eq!(person.post("/api-keys", new()).await.error(403), "forbidden");
    }
    let admin = app.join(&owner, "admin").await;
    let (path, _) = admin.create("/api-keys", json!({"name": "x", "scopes": ["*"]})).await;
    admin.delete(&path).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_workspaces_keys_do_not_exist() {
    let app = TestApp::start().await;
    let (owner, eve) = (app.owner().await, app.owner().await);
    let (key, program) = owner.new_key(&["*"]).await;
    let id = key["id"].as_str().unwrap();

    assert_eq!(eve.get(&format!("/api-keys/{id}")).await.error(404), "record_not_found");
    changes(&eve, id, 404, "record_not_found").await;
    let (_, evil) = eve.new_key(&["*"]).await;
    changes(&evil, id, 404, "record_not_found").await;
    assert_eq!(evil.get("/api-keys").await.expect(200).as_array().unwrap().len(), 1);
    program.get("/recordsets").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_manages_keys_with_the_scope_for_it_and_gives_no_more_than_it_has() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (everything, _) = owner.new_key(&["*"]).await;
    let (_, data) = owner.new_key(&["read", "write", "schema", "files", "ai"]).await;
    let (_, auth) = owner.new_key(&["read", "auth"]).await;

    assert_eq!(data.get("/api-keys").await.error(403), "forbidden");
    assert_eq!(
        data.post("/api-keys", json!({"name": "x", "scopes": ["read"]})).await.error(403),
        "forbidden"
    );
    auth.new_key(&["read", "auth"]).await;
    for more in ["write", "*"] {
        let refused =
            auth.post("/api-keys", json!({"name": "x", "scopes": ["read", more]})).await.expect(403);
        assert_eq!(refused["detail"], format!("a key with the scope {more} may do what you may not"));
    }
    // Nor by the secret of a stronger one, nor by making a weaker one stronger.
    let path = format!("/api-keys/{}", everything["id"].as_str().unwrap());
    assert_eq!(auth.post(&format!("{path}/rotate"), json!({})).await.error(403), "forbidden");
    let (weak, _) = owner.new_key(&["read"]).await;
    let weak = format!("/api-keys/{}", weak["id"].as_str().unwrap());
    assert_eq!(auth.patch(&weak, json!({"scopes": ["write"]})).await.error(403), "forbidden");
    // To end a stronger one takes nothing from anybody.
    auth.post(&format!("{path}/revoke"), json!({})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_manage_keys_without_being_an_admin_issues_none_that_does_more_than_they_may() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let member = app.join(&owner, "member").await;
    let grant = json!({"permission": "api_keys:manage", "granted": true});
    owner.put("/permissions/roles/member/permission", grant).await.expect(200);

    let (_, program) = member.new_key(&["read"]).await;
    program.get("/recordsets").await.expect(200);
    for scope in ["write", "schema", "auth", "*"] {
        let refused = member.post("/api-keys", json!({"name": "x", "scopes": [scope]})).await;
        assert_eq!(refused.error(403), "forbidden", "{scope}");
    }
}
