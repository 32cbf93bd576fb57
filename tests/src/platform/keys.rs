//! API keys, as the Platform API shows them: the same keys as on the other surface.

use serde_json::{Value, json};

use crate::{TestApp, masked};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_manages_keys_of_its_tenant_which_both_surfaces_show() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (_, program) = owner.new_key(&["*"]).await;
    let new = json!({"label": "App", "scopes": ["read"], "ip_allowlist": ["127.0.0.1"], "rate_limit": 5,
                     "expires_at": null});

    let created = program.post("/v1/keys", new).await.expect(201);

    let (key, token) = (&created["data"]["key"], created["data"]["token"].as_str().unwrap());
    let id = key["id"].as_str().unwrap();
    assert!(id.starts_with("key_"), "{id}");
    assert!(token.starts_with("mrk_") && key["prefix"] == token[..12]);
    let mut shown = masked(key);
    shown["prefix"] = json!("[prefix]");
    assert_eq!(
        shown,
        json!({"id": "[id]", "label": "App", "prefix": "[prefix]", "scopes": ["read"],
               "ip_allowlist": ["127.0.0.1/32"], "rate_limit": 5, "is_active": true,
               "created_at": "[time]", "created_by": "[id]", "updated_at": "[time]"}),
        "the person who answers for the key that made it answers for it, too"
    );
    let listed = program.get("/v1/keys").await.expect(200);
    assert_eq!((&listed["data"][0], listed["data"].as_array().unwrap().len()), (key, 2));
    assert_eq!(program.get("/v1/keys?limit=1&offset=1").await.expect(200)["data"][0]["label"], "A program");
    let same = owner.get("/api-keys").await.expect(200)[0].clone();
    assert_eq!((&same["name"], &same["prefix"]), (&json!("App"), &key["prefix"]));
    // A plain UUID names the same key.
    let path = format!("/v1/keys/{}", same["id"].as_str().unwrap());
    let changed = program.patch(&path, json!({"label": "Renamed", "rate_limit": null})).await.expect(200);
    assert_eq!((&changed["data"]["label"], &changed["data"]["id"]), (&json!("Renamed"), &key["id"]));
    assert_eq!(changed["data"]["rate_limit"], Value::Null);
    owner.program(token).get("/v1/usage").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_may_get_another_label_and_other_scopes() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (_, program) = owner.new_key(&["*"]).await;
    let new = json!({"label": "Old", "scopes": ["read", "write"], "rate_limit": 7});
    let created = program.post("/v1/keys", new).await.expect(201)["data"].clone();
    let path = format!("/v1/keys/{}", created["key"]["id"].as_str().unwrap());

    let change = json!({"label": "New", "scopes": ["read"]});
    let rotated = program.post(&format!("{path}/rotate"), change).await.expect(200)["data"].clone();

    assert_eq!(rotated["old_key"]["replaced_by"], rotated["new_key"]["id"]);
    assert!(rotated["old_key"]["revoked_at"].is_string());
    let new = &rotated["new_key"];
    assert_eq!(
        (&new["label"], &new["scopes"], &new["rate_limit"]),
        (&json!("New"), &json!(["read"]), &json!(7))
    );
    owner.program(rotated["token"].as_str().unwrap()).get("/v1/usage").await.expect(200);
    let old = owner.program(created["token"].as_str().unwrap());
    assert_eq!(old.get("/v1/usage").await.error(401), "token_invalid");
    // It needs no body.
    let path_of_new = format!("/v1/keys/{}/rotate", new["id"].as_str().unwrap());
    let plain = crate::client::send(program.request(reqwest::Method::POST, &path_of_new)).await.expect(200);
    assert_eq!(plain["data"]["new_key"]["label"], "New");
    let again = program.post(&format!("{path}/rotate"), json!({})).await;
    assert_eq!(again.error(409), "key_revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_key_revokes_it() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (key, program) = owner.new_key(&["read"]).await;
    let path = format!("/v1/keys/{}", key["id"].as_str().unwrap());

    let revoked = owner.delete(&path).await.expect(200);

    assert!(revoked["data"]["revoked_at"].is_string());
    assert_eq!(program.get("/v1/usage").await.error(401), "token_invalid");
    assert_eq!(owner.patch(&path, json!({"label": "x"})).await.error(409), "key_revoked");
    assert_eq!(owner.get("/api-keys/count?is_revoked=true").await.expect(200), json!({"count": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_call_things_as_this_surface_does() {
    let app = TestApp::start().await;
    let owner = app.owner().await;

    let wrong = json!({"label": "", "scopes": [], "rate_limit": -1});
    let refused = owner.post("/v1/keys", wrong).await.expect(422);

    let fields: Vec<_> = refused["error"]["fields"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["label", "rate_limit", "scopes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_managed_by_whoever_may_and_in_their_own_tenant() {
    let app = TestApp::start().await;
    let (owner, eve) = (app.owner().await, app.owner().await);
    let (key, reader) = owner.new_key(&["read"]).await;
    let path = format!("/v1/keys/{}", key["id"].as_str().unwrap());

    assert_eq!(reader.get("/v1/keys").await.error(403), "forbidden");
    let (_, auth) = owner.new_key(&["auth"]).await;
    let more = json!({"label": "x", "scopes": ["write"]});
    assert_eq!(auth.post("/v1/keys", more).await.error(403), "forbidden");
    let member = app.join(&owner, "member").await;
    member.get("/v1/keys").await.expect(200);
    assert_eq!(member.delete(&path).await.error(403), "forbidden");
    let (_, evil) = eve.new_key(&["*"]).await;
    for reply in [
        evil.patch(&path, json!({"label": "x"})).await,
        evil.delete(&path).await,
        evil.post(&format!("{path}/rotate"), json!({})).await,
    ] {
        assert_eq!(reply.error(404), "record_not_found");
    }
}
