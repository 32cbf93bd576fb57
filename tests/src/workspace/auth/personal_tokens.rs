//! Personal tokens: made by people, read-only, granted more by the operator.

use serde_json::{Value, json};

use crate::{Client, TestApp, masked};

async fn make(person: &Client, new: Value) -> (Value, Client) {
    let token = person.post("/auth/tokens", new).await.expect(201);
    let program = person.program(token["token"].as_str().unwrap());
    (token, program)
}

fn named() -> Value {
    json!({"name": "My script"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_once_and_reads_where_its_person_may() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (mut token, program) = make(&owner, named()).await;

    let secret = token.as_object_mut().unwrap().remove("token").unwrap();
    let secret = secret.as_str().unwrap();
    assert!(secret.starts_with("mrp_") && secret.len() == 47, "{secret}");
    assert_eq!((&token["scopes"], &token["prefix"]), (&json!(["read"]), &json!(&secret[..12])));
    assert_eq!(masked(&token)["user_id"], "[id]");
    assert_eq!(owner.get("/auth/tokens").await.expect(200), json!({"items": [token]}));
    let kept = format!("select count(*) from personal_tokens t where t::text like '%{}%'", &secret[12..]);
    assert_eq!(app.count(&kept).await, 0);

    let here = program.in_workspace(owner.workspace.as_deref());
    here.get("/recordsets").await.expect(200);
    assert_eq!(here.post("/recordsets", json!({"name": "x"})).await.error(403), "token_read_only");
    let elsewhere = app.owner().await.workspace;
    assert_eq!(
        program.in_workspace(elsewhere.as_deref()).get("/recordsets").await.error(404),
        "record_not_found"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_one_workspace_is_invalid_in_others() {
    let app = TestApp::start().await;
    let (owner, host) = (app.owner().await, app.owner().await);
    let guest = app.join(&host, "member").await;
    let home = json!({"name": "x", "workspace_id": host.workspace});
    let (_, program) = make(&guest, home).await;

    program.get("/recordsets").await.expect(200);
    let own: Value = guest.get("/auth/me").await.expect(200);
    let own = own["workspaces"].as_array().unwrap().iter().find(|w| w["role"] == "owner").unwrap().clone();
    let there = program.in_workspace(own["id"].as_str());
    assert_eq!(there.get("/recordsets").await.error(404), "record_not_found");

    let foreign = json!({"name": "x", "workspace_id": owner.workspace});
    let refused = guest.post("/auth/tokens", foreign).await.expect(422);
    assert_eq!(refused["fields"], json!({"workspace_id": ["is none of the caller's workspaces"]}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_personal_token_is_refused_by_field() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let wrong = json!({"name": "", "expires_at": "2001-01-01T00:00:00Z", "ip_allowlist": ["x"]});

    let refused = owner.post("/auth/tokens", wrong).await.expect(422);

    let fields: Vec<_> = refused["fields"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["expires_at", "ip_allowlist.0", "name"]);
    assert_eq!(owner.post("/auth/tokens", json!({})).await.error(422), "parameter_missing");
    app.run(
        "insert into personal_tokens (id, user_id, name, prefix, hash)
         select gen_random_uuid(), u.id, 't', 'mrp_', decode(lpad(to_hex(n), 8, '0'), 'hex')
           from users u, generate_series(1, 50) n",
    )
    .await;
    assert_eq!(owner.post("/auth/tokens", named()).await.error(402), "limit_exceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_opens_nothing_and_is_ones_own_to_revoke() {
    let app = TestApp::start().await;
    let (owner, eve) = (app.owner().await, app.owner().await);
    let (token, program) = make(&owner, named()).await;
    let path = format!("/auth/tokens/{}", token["id"].as_str().unwrap());

    assert_eq!(eve.delete(&path).await.error(404), "record_not_found");
    owner.delete(&path).await.expect(204);

    assert_eq!(program.get("/v1/me").await.error(401), "token_invalid");
    assert_eq!(owner.get("/auth/tokens").await.expect(200), json!({"items": []}));
    assert_eq!(owner.delete(&path).await.error(404), "record_not_found");
    let noted = "select count(*) from audit_log where resource_type = 'personal_token'";
    assert_eq!(app.count(noted).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn api_keys_and_impersonators_make_no_personal_tokens() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (_, key) = owner.new_key(&["*"]).await;
    let (_, token) = make(&owner, named()).await;

    for program in [&key, &token] {
        assert_eq!(program.get("/auth/tokens").await.error(403), "forbidden");
    }
    // The one who acts is staff, and looks after the installation.
    app.run("update users set is_staff = true").await;
    app.run("update sessions set impersonator_id = user_id").await;
    assert_eq!(owner.post("/auth/tokens", named()).await.error(403), "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_too_old_for_a_workspace_makes_no_token_that_opens_it() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    owner.patch("/v1/governance", json!({"session_duration_secs": 3600})).await.expect(200);
    make(&owner, named()).await;
    app.run("update control.sessions set created_at = created_at - interval '2 hours'").await;

    assert_eq!(owner.get("/recordsets").await.error(401), "sign_in_required");
    assert_eq!(owner.post("/auth/tokens", named()).await.error(401), "sign_in_required");
    let bound = json!({"name": "x", "workspace_id": owner.workspace});
    assert_eq!(owner.post("/auth/tokens", bound).await.error(401), "sign_in_required");
}
