//! Who may do what with API keys, and that a key gives its holder no further permissions.

use serde_json::json;

use crate::{Client, TestApp, workspace::auth::Person};

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
        let detail = format!("you cannot give a key the scope {more}: it would exceed your own permissions");
        assert_eq!(refused["detail"], detail);
    }
    // Nor by the secret of a stronger one, nor by making a weaker one stronger.
    let path = format!("/api-keys/{}", everything["id"].as_str().unwrap());
    assert_eq!(auth.post(&format!("{path}/rotate"), json!({})).await.error(403), "forbidden");
    let (weak, _) = owner.new_key(&["read"]).await;
    let weak = format!("/api-keys/{}", weak["id"].as_str().unwrap());
    assert_eq!(auth.patch(&weak, json!({"scopes": ["write"]})).await.error(403), "forbidden");
    // Nor is a stronger one touched: its allowlist, its life and its end are its holder's.
    changes(&auth, everything["id"].as_str().unwrap(), 403, "forbidden").await;
    let open = json!({"ip_allowlist": []});
    assert_eq!(auth.patch(&path, open).await.error(403), "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restricted_admin_touches_no_key_that_does_what_they_may_not() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (strong, _) = owner.new_key(&["*"]).await;
    let admin = app.join(&owner, "admin").await;
    let deny = json!({"permission": "records:delete", "granted": false});
    owner.put("/permissions/roles/admin/permission", deny).await.expect(200);

    changes(&admin, strong["id"].as_str().unwrap(), 403, "forbidden").await;
    let (weak, _) = owner.new_key(&["read"]).await;
    admin.post(&format!("/api-keys/{}/toggle", weak["id"].as_str().unwrap()), json!({})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_as_good_as_the_person_who_answers_for_it() {
    let app = TestApp::start().await;
    let owner = Person::new(&app).await;
    let admin = Person::employee(&app, &owner, "admin").await;
    let heir = Person::employee(&app, &owner, "admin").await;
    let (key, program) = admin.client.new_key(&["*"]).await;
    program.get("/members").await.expect(200);
    let members = owner.client.get("/members").await.expect(200);
    let member = |person: &Person| {
        let items = members["items"].as_array().unwrap();
        let found = items.iter().find(|item| item["user_id"] == json!(person.id)).unwrap();
        found["id"].as_str().unwrap().to_owned()
    };
    let path = format!("/members/{}", member(&admin));

    owner.client.patch(&path, json!({"role": "viewer"})).await.expect(200);
    assert_eq!(program.patch(&path, json!({"role": "admin"})).await.error(403), "forbidden");
    owner.client.patch(&path, json!({"is_active": false})).await.expect(200);
    assert_eq!(program.get("/members").await.error(401), "token_invalid");
    owner.client.patch(&path, json!({"is_active": true, "role": "admin"})).await.expect(200);
    program.get("/members").await.expect(200);

    // Handed over, it continues with a new secret: the former member knows the old one.
    let handover = json!({"to_member_id": member(&heir), "types": ["api_key"]});
    let handed = owner.client.post(&format!("{path}/reassign"), handover).await.expect(200);
    assert_eq!((&handed["total"], &handed["api_keys"][0]["replaces"]), (&json!(1), &key["id"]));
    assert_eq!(program.get("/members").await.error(401), "token_invalid");
    let program = program.with_token(handed["api_keys"][0]["key"].as_str());
    owner.client.delete(&path).await.expect(204);
    program.get("/members").await.expect(200);
    let shown =
        owner.client.get(&format!("/api-keys/{}", handed["api_keys"][0]["id"].as_str().unwrap())).await;
    let shown = shown.expect(200);
    assert_eq!((&shown["created_by"], &shown["name"]), (&json!(heir.id), &key["name"]));
    // A member cannot raise a key by handing it to a member above them.
    let (_, own) = heir.client.new_key(&["*"]).await;
    let handover = json!({"to_member_id": member(&owner), "types": ["api_key"]});
    let path = format!("/members/{}/reassign", member(&heir));
    assert_eq!(heir.client.post(&path, handover).await.error(403), "forbidden");
    owner.client.delete(&format!("/members/{}", member(&heir))).await.expect(204);
    for gone in [&program, &own] {
        assert_eq!(gone.get("/members").await.error(401), "token_invalid");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_cannot_give_a_role_with_more_permissions() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let viewer = app.join(&owner, "viewer").await;
    let id = viewer.get("/members/me").await.expect(200)["id"].as_str().unwrap().to_owned();
    let path = format!("/members/{id}");
    let (_, auth) = owner.new_key(&["auth"]).await;
    for role in ["member", "admin", "owner"] {
        assert_eq!(auth.patch(&path, json!({"role": role})).await.error(403), "forbidden", "{role}");
    }
    let (_, all) = owner.new_key(&["*"]).await;
    all.patch(&path, json!({"role": "admin"})).await.expect(200);
    // Who may change roles' permissions changes none above their own.
    let member = app.join(&owner, "member").await;
    let grant = json!({"permission": "permissions:manage", "granted": true});
    owner.put("/permissions/roles/member/permission", grant).await.expect(200);
    let deny = json!({"permission": "records:view", "granted": false});
    assert_eq!(member.put("/permissions/roles/admin/permission", deny).await.error(403), "forbidden");
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

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_does_not_become_an_owner_by_changing_an_owners_key() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let admin = app.join(&owner, "admin").await;
    let new = json!({"name": "The owner's", "scopes": ["read", "auth"], "ip_allowlist": ["10.0.0.0/8"],
                     "rate_per_minute": 5});
    let key = owner.post("/api-keys", new).await.expect(201);
    let id = key["id"].as_str().unwrap();
    let path = format!("/api-keys/{id}");
    let platform = format!("/v1/keys/{id}");

    for more in [
        json!({"scopes": ["read", "auth", "write"]}),
        json!({"scopes": ["*"]}),
        json!({"ip_allowlist": []}),
        json!({"ip_allowlist": ["10.0.0.0/8", "127.0.0.1"]}),
        json!({"ip_allowlist": ["0.0.0.0/0"]}),
    ] {
        assert_eq!(admin.patch(&path, more.clone()).await.error(403), "forbidden", "{more}");
        assert_eq!(admin.patch(&platform, more.clone()).await.error(403), "forbidden", "{more}");
    }
    for more in [json!({"rate_per_minute": null}), json!({"rate_per_minute": 6})] {
        assert_eq!(admin.patch(&path, more.clone()).await.error(403), "forbidden", "{more}");
    }
    assert_eq!(admin.patch(&platform, json!({"rate_limit": 6})).await.error(403), "forbidden");

    // Less is no power: a name, fewer scopes, a narrower list, a lower rate, a pause.
    let less = json!({"name": "x", "scopes": ["auth"], "ip_allowlist": ["10.1.0.0/16"], "rate_per_minute": 4,
                      "is_active": false});
    admin.patch(&path, less).await.expect(200);
    assert_eq!(admin.patch(&path, json!({"is_active": true})).await.error(403), "forbidden");
    assert_eq!(admin.post(&format!("{path}/toggle"), json!({})).await.error(403), "forbidden");
    // The owner changes it, and an admin those of admins.
    owner.patch(&path, json!({"is_active": true, "scopes": ["*"], "ip_allowlist": []})).await.expect(200);
    let (own, _) = app.join(&owner, "admin").await.new_key(&["read"]).await;
    let own = format!("/api-keys/{}", own["id"].as_str().unwrap());
    admin.patch(&own, json!({"scopes": ["read", "auth"]})).await.expect(200);
    // A successor is whose who rotates.
    let rotated = admin.post(&format!("{path}/rotate"), json!({})).await.expect(200);
    let me = admin.get("/auth/me").await.expect(200);
    assert_eq!(rotated["created_by"], me["id"]);
    let program = owner.program(rotated["key"].as_str().unwrap());
    let member = admin.get("/members/me").await.expect(200)["id"].as_str().unwrap().to_owned();
    let raise = json!({"role": "owner"});
    assert_eq!(program.patch(&format!("/members/{member}"), raise).await.error(403), "forbidden");
}
