//! How a tenant wants to be kept: said here, enforced everywhere.

use serde_json::{Value, json};

use crate::TestApp;

const PATH: &str = "/v1/governance";

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_the_defaults_until_they_are_changed() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let rules = owner.get(PATH).await.expect(200)["data"].clone();
    assert_eq!(
        (&rules["audit_retention_days"], &rules["session_duration_secs"], &rules["password_min_length"]),
        (&json!(365), &Value::Null, &json!(10))
    );
    assert_eq!(rules["ip_allowlist"], json!([]));

    let change = json!({"session_duration_secs": 3600, "ip_allowlist": ["127.0.0.0/8", "10.0.0.7"]});
    owner.patch(PATH, change).await.expect(200);
    let change = json!({"audit_retention_days": 30, "password_min_length": 14});
    let rules = owner.patch(PATH, change).await.expect(200)["data"].clone();

    assert_eq!(
        (&rules["audit_retention_days"], &rules["session_duration_secs"], &rules["password_min_length"]),
        (&json!(30), &json!(3600), &json!(14))
    );
    assert_eq!(rules["ip_allowlist"], json!(["127.0.0.0/8", "10.0.0.7/32"]));
    let rules = owner.patch(PATH, json!({"session_duration_secs": null})).await.expect(200);
    assert_eq!(rules["data"]["session_duration_secs"], Value::Null);
    assert_eq!(app.count("select count(*) from audit_log where action = 'governance.updated'").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_shuts_themselves_out() {
    let app = TestApp::start().await;
    let owner = app.owner().await;

    let refused = owner.patch(PATH, json!({"ip_allowlist": ["10.0.0.0/8"]})).await.expect(422);

    assert_eq!(refused["error"]["fields"], json!({"ip_allowlist": ["excludes your own address, 127.0.0.1"]}));
    owner.get(PATH).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_is_said_by_field_and_nothing_is_changed() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let wrong = json!({"audit_retention_days": 0, "session_duration_secs": 299, "password_min_length": 9,
                       "ip_allowlist": ["x"]});

    let refused = owner.patch(PATH, wrong).await.expect(422);

    assert_eq!(
        refused["error"]["fields"],
        json!({"audit_retention_days": ["must be 1 to 3650"], "session_duration_secs": ["must be 300 to 31536000"],
               "password_min_length": ["must be 10 to 128"],
               "ip_allowlist.0": ["must be an IP address, or a network such as 192.0.2.0/24"]})
    );
    assert_eq!(app.count("select count(*) from governance").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_hold_from_the_next_request_on() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (_, program) = owner.new_key(&["read"]).await;

    owner.patch(PATH, json!({"session_duration_secs": 300})).await.expect(200);
    owner.get(PATH).await.expect(200);
    app.run("update sessions set created_at = now() - interval '301 s'").await;
    let refused = owner.get(PATH).await;
    let challenge = refused.headers["www-authenticate"].to_str().unwrap().to_owned();
    assert!(challenge.ends_with("error=\"insufficient_user_authentication\""), "{challenge}");
    assert_eq!(refused.error(401), "sign_in_required", "a refresh does not help");
    program.get("/v1/usage").await.expect(200);

    // As a caller elsewhere would have set it.
    app.run("update governance set ip_allowlist = '{10.0.0.0/8}'").await;
    assert_eq!(program.get("/v1/usage").await.error(403), "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_look_and_owners_decide() {
    let app = TestApp::start().await;
    let (owner, eve) = (app.owner().await, app.owner().await);
    let change = || json!({"password_min_length": 20});

    let admin = app.join(&owner, "admin").await;
    admin.get(PATH).await.expect(200);
    let member = app.join(&owner, "member").await;
    assert_eq!(member.get(PATH).await.error(403), "forbidden");
    let (_, key) = admin.new_key(&["*"]).await;
    key.get(PATH).await.expect(200);
    for who in [&admin, &member, &key] {
        assert_eq!(who.patch(PATH, change()).await.error(403), "forbidden");
    }
    owner.patch(PATH, change()).await.expect(200);
    let (_, key) = owner.new_key(&["auth"]).await;
    key.patch(PATH, change()).await.expect(200);
    assert_eq!(eve.get(PATH).await.expect(200)["data"]["password_min_length"], 10);
}
