//! API keys: what becomes of one, from issue to end.

mod rights;

use serde_json::{Value, json};

use crate::{TestApp, masked};

fn new(name: &str) -> Value {
    json!({"name": name, "scopes": ["read"]})
}

/// The ids of a list.
fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_and_never_again() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let new = json!({"name": " Nightly sync ", "description": "Reads", "scopes": ["write", "read", "read"],
                     "ip_allowlist": ["127.0.0.1", "10.1.2.3/8"], "rate_per_minute": 20,
                     "expires_at": "2099-01-01T00:00:00Z"});

    let mut issued = owner.post("/api-keys", new).await.expect(201);

    let key = issued.as_object_mut().unwrap().remove("key").unwrap();
    let key = key.as_str().unwrap();
    assert!(key.starts_with("mrk_") && key.len() == 47, "{key}");
    assert_eq!(issued["prefix"], key[..12]);
    let mut shown = masked(&issued);
    shown["prefix"] = json!("[prefix]");
    assert_eq!(
        shown,
        json!({"id": "[id]", "name": "Nightly sync", "description": "Reads", "prefix": "[prefix]",
               "scopes": ["read", "write"], "ip_allowlist": ["127.0.0.1/32", "10.0.0.0/8"],
               "rate_per_minute": 20, "is_active": true, "is_revoked": false, "expires_at": "[time]",
               "last_used_at": null, "created_by": "[id]", "created_at": "[time]", "updated_at": "[time]",
               "revoked_at": null, "revoked_by": null, "replaced_by": null})
    );
    let path = format!("/api-keys/{}", issued["id"].as_str().unwrap());
    assert_eq!(owner.get(&path).await.expect(200), issued);
    assert_eq!(owner.get("/api-keys").await.expect(200), json!([issued]));
    // Nowhere behind the scenes either.
    for table in ["control.api_keys", "shard.audit_log", "shard.events", "shard.idempotency_keys"] {
        let query = format!("select count(*) from {table} t where t::text like '%{}%'", &key[12..]);
        assert_eq!(app.count(&query).await, 0, "{table}");
    }
    assert_eq!(app.count("select count(*) from audit_log where action = 'api_key.created'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_a_key_is_the_same_when_it_is_asked_for_again() {
    let app = TestApp::start().await;
    let owner = app.owner().await;

    let first = owner.post_with_key("/api-keys", new("Once"), "one").await.expect(201);
    let again = owner.post_with_key("/api-keys", new("Once"), "one").await;

    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.expect(201), first);
    assert_eq!(owner.get("/api-keys/count").await.expect(200), json!({"count": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_comes_in_with_its_key_on_both_surfaces_and_its_use_is_noted() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (key, program) = owner.new_key(&["read"]).await;
    let path = format!("/api-keys/{}", key["id"].as_str().unwrap());
    assert_eq!(owner.get(&path).await.expect(200)["last_used_at"], Value::Null);

    program.get("/recordsets").await.expect(200);
    program.get("/v1/usage").await.expect(200);

    crate::cluster::wait_until("its use is noted", || async {
        owner.get(&path).await.expect(200)["last_used_at"].is_string()
    })
    .await;
    // In another workspace it opens nothing.
    let elsewhere = app.owner().await.workspace;
    assert_eq!(
        program.in_workspace(elsewhere.as_deref()).get("/recordsets").await.error(404),
        "record_not_found"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_listed_and_counted_by_what_they_are() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let mut keys = Vec::new();
    for name in ["First", "Second", "Third"] {
        keys.push(owner.post("/api-keys", new(name)).await.expect(201)["id"].as_str().unwrap().to_owned());
    }
    owner.post(&format!("/api-keys/{}/toggle", keys[0]), json!({})).await.expect(200);
    owner.post(&format!("/api-keys/{}/revoke", keys[1]), json!({})).await.expect(200);

    for (query, expected) in [
        ("", vec![2, 1, 0]),
        ("?is_active=true", vec![2]),
        ("?is_active=false&is_revoked=false", vec![0]),
        ("?is_revoked=true", vec![1]),
        ("?skip=1&limit=1", vec![1]),
        ("?skip=3", vec![]),
    ] {
        let list = owner.get(&format!("/api-keys{query}")).await.expect(200);
        assert_eq!(ids(&list), expected.iter().map(|&i: &usize| &*keys[i]).collect::<Vec<_>>(), "{query}");
        if !query.contains("skip") {
            let count = owner.get(&format!("/api-keys/count{query}")).await.expect(200);
            assert_eq!(count, json!({"count": expected.len()}), "{query}");
        }
    }
    assert_eq!(owner.get("/api-keys?limit=0").await.error(422), "record_invalid");
    assert_eq!(owner.get("/api-keys?is_active=perhaps").await.error(422), "record_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_has_a_successor_with_its_settings_and_is_over_at_once() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let settings = json!({"name": "Sync", "scopes": ["read", "files"], "ip_allowlist": ["127.0.0.0/8"],
                          "rate_per_minute": 50, "description": "d", "expires_at": "2099-01-01T00:00:00Z"});
    let old = owner.post("/api-keys", settings).await.expect(201);
    let path = format!("/api-keys/{}", old["id"].as_str().unwrap());

    let new = owner.post(&format!("{path}/rotate"), json!({})).await.expect(200);

    for setting in
        ["name", "scopes", "ip_allowlist", "rate_per_minute", "description", "expires_at", "is_active"]
    {
        assert_eq!(new[setting], old[setting], "{setting}");
    }
    let of = |key: &Value| owner.program(key["key"].as_str().unwrap());
    assert_eq!(of(&old).get("/recordsets").await.error(401), "token_invalid");
    of(&new).get("/recordsets").await.expect(200);
    let old = owner.get(&path).await.expect(200);
    assert_eq!((&old["is_revoked"], &old["replaced_by"]), (&json!(true), &new["id"]));
    assert_eq!(app.count("select count(*) from audit_log where action = 'api_key.rotated'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_stays_revoked() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (key, program) = owner.new_key(&["read"]).await;
    let path = format!("/api-keys/{}", key["id"].as_str().unwrap());

    let revoked = owner.post(&format!("{path}/revoke"), json!({})).await.expect(200);

    assert_eq!((&revoked["is_active"], &revoked["is_revoked"]), (&json!(false), &json!(true)));
    assert!(revoked["revoked_at"].is_string() && revoked["revoked_by"].is_string());
    assert_eq!(program.get("/recordsets").await.error(401), "token_invalid");
    for action in ["toggle", "rotate"] {
        let reply = owner.post(&format!("{path}/{action}"), json!({})).await;
        assert_eq!(reply.error(409), "key_revoked", "{action}");
    }
    assert_eq!(owner.patch(&path, json!({"is_active": true})).await.error(409), "key_revoked");
    assert_eq!(
        owner.post(&format!("{path}/revoke"), json!({})).await.expect(200),
        revoked,
        "it is as it was"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_key_opens_nothing_until_it_goes_on() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (key, program) = owner.new_key(&["read"]).await;
    let toggle = format!("/api-keys/{}/toggle", key["id"].as_str().unwrap());

    assert_eq!(owner.post(&toggle, json!({})).await.expect(200)["is_active"], false);
    assert_eq!(program.get("/recordsets").await.error(401), "token_invalid");
    assert_eq!(owner.post(&toggle, json!({})).await.expect(200)["is_active"], true);
    program.get("/recordsets").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_changed_and_what_is_not_named_stays() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (key, program) = owner.new_key(&["read"]).await;
    let path = format!("/api-keys/{}", key["id"].as_str().unwrap());
    let change = json!({"name": "Renamed", "description": "x", "scopes": ["write"], "rate_per_minute": 9});
    owner.patch(&path, change).await.expect(200);

    let changed = owner.patch(&path, json!({"rate_per_minute": null, "is_active": true})).await.expect(200);

    assert_eq!((&changed["name"], &changed["description"]), (&json!("Renamed"), &json!("x")));
    assert_eq!((&changed["scopes"], &changed["rate_per_minute"]), (&json!(["write"]), &Value::Null));
    let refused = program.get("/recordsets").await.expect(403);
    assert_eq!(refused, json!({"error": "forbidden", "detail": "the scope read is required"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_with_a_key_is_said_by_field() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let wrong = json!({"name": " ", "scopes": [], "ip_allowlist": ["127.0.0.1", "localhost"],
                       "rate_per_minute": 0, "expires_at": "2001-01-01T00:00:00Z", "description": "x".repeat(2001)});

    let refused = owner.post("/api-keys", wrong).await.expect(422);

    assert_eq!(
        refused["fields"],
        json!({"name": ["must not be empty"], "scopes": ["must have at least one"],
               "ip_allowlist.1": ["must be an IP address, or a network such as 192.0.2.0/24"],
               "rate_per_minute": ["must be at least 1"], "expires_at": ["must be in the future"],
               "description": ["must have at most 2,000 characters"]})
    );
    assert_eq!(owner.post("/api-keys", json!({})).await.error(422), "parameter_missing");
    let unknown = json!({"name": "x", "scopes": ["everything"]});
    assert_eq!(owner.post("/api-keys", unknown).await.error(422), "record_invalid");
    let (path, _) = owner.create("/api-keys", new("x")).await;
    let refused = owner.patch(&path, json!({"scopes": [], "name": ""})).await.expect(422);
    assert_eq!(refused["fields"].as_object().unwrap().len(), 2, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_key_is_gone_and_the_audit_remembers_it() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (key, program) = owner.new_key(&["read"]).await;
    let path = format!("/api-keys/{}", key["id"].as_str().unwrap());

    owner.delete(&path).await.expect(204);

    assert_eq!(program.get("/recordsets").await.error(401), "token_invalid");
    assert_eq!(owner.get(&path).await.error(404), "record_not_found");
    assert_eq!(owner.delete(&path).await.error(404), "record_not_found");
    assert_eq!(app.count("select count(*) from audit_log where action = 'api_key.deleted'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_has_as_many_live_keys_as_its_plan_allows_and_no_more() {
    let app = TestApp::start().await;
    app.run("update plan_limits set api_keys = 100 where plan = 'free'").await;
    let owner = app.owner().await;
    let workspace = owner.workspace.as_deref().unwrap();
    app.run(&format!(
        "insert into api_keys (id, workspace_id, name, prefix, hash, scopes, expires_at, revoked_at)
         select gen_random_uuid(), '{workspace}', 'k', 'mrk_', decode(lpad(to_hex(n), 8, '0'), 'hex'), '{{read}}',
                case when n = 101 then now() - interval '1 s' end, case when n = 100 then now() end
           from generate_series(1, 101) n"
    ))
    .await;

    let (path, _) = owner.create("/api-keys", new("The hundredth")).await;
    assert_eq!(owner.post("/api-keys", new("One more")).await.error(402), "limit_exceeded");
    owner.post(&format!("{path}/rotate"), json!({})).await.expect(200);
    let expired =
        format!("select id::text from api_keys where expires_at < now() and workspace_id = '{workspace}'");
    let expired: String =
        sqlx::query_scalar(sqlx::AssertSqlSafe(expired)).fetch_one(&app.database.pool).await.unwrap();
    let rotated = owner.post(&format!("/api-keys/{expired}/rotate"), json!({})).await;
    assert_eq!(rotated.error(409), "key_expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_comes_from_where_it_may_and_as_often_as_it_may() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let issue = async |settings: Value| {
        let mut new = new("x");
        new.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        owner.program(owner.post("/api-keys", new).await.expect(201)["key"].as_str().unwrap())
    };

    let elsewhere = issue(json!({"ip_allowlist": ["10.0.0.0/8"]})).await;
    assert_eq!(elsewhere.get("/recordsets").await.error(403), "forbidden");
    issue(json!({"ip_allowlist": ["127.0.0.1"]})).await.get("/recordsets").await.expect(200);

    let slow = issue(json!({"rate_per_minute": 2})).await;
    slow.get("/recordsets").await.expect(200);
    slow.get("/recordsets").await.expect(200);
    let refused = slow.get("/recordsets").await;
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(refused.error(429), "rate_limited");
}
