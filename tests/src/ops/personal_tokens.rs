//! The operator decides what personal tokens may do.

use serde_json::json;

use crate::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_writes_when_the_operator_says_so_and_no_longer_than_that() {
    let app = TestApp::start().await;
    let (owner, operator) = (app.owner().await, app.operator());
    let token = owner.post("/auth/tokens", json!({"name": "x"})).await.expect(201);
    let program = owner.with_token(token["token"].as_str());
    let email = owner.get("/auth/me").await.expect(200)["email"].as_str().unwrap().to_uppercase();

    let found = operator.get(&format!("/personal-tokens?email={email}")).await.expect(200);
    assert_eq!(found["items"][0]["id"], token["id"]);
    let path = format!("/personal-tokens/{}", token["id"].as_str().unwrap());
    let granted = operator.patch(&path, json!({"scopes": ["schema", "read"]})).await.expect(200);
    assert_eq!(granted["scopes"], json!(["read", "schema"]));

    program.post("/recordsets", json!({"name": "x"})).await.expect(201);
    operator.patch(&path, json!({"scopes": ["read"]})).await.expect(200);
    assert_eq!(program.post("/recordsets", json!({"name": "y"})).await.error(403), "token_read_only");
    assert_eq!(app.count("select count(*) from audit_log where action = 'personal_token.granted'").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_token_that_is_there_is_granted_something() {
    let app = TestApp::start().await;
    let (owner, operator) = (app.owner().await, app.operator());
    let token = owner.post("/auth/tokens", json!({"name": "x"})).await.expect(201);
    let path = format!("/personal-tokens/{}", token["id"].as_str().unwrap());

    assert_eq!(operator.patch(&path, json!({"scopes": []})).await.error(422), "record_invalid");
    assert_eq!(operator.patch(&path, json!({"scopes": ["x"]})).await.error(422), "record_invalid");
    let nobodys = format!("/personal-tokens/{}", uuid::Uuid::nil());
    assert_eq!(operator.patch(&nobodys, json!({"scopes": ["read"]})).await.error(404), "record_not_found");
    owner.delete(&format!("/auth/tokens/{}", token["id"].as_str().unwrap())).await.expect(204);
    assert_eq!(operator.patch(&path, json!({"scopes": ["read"]})).await.error(409), "token_revoked");
    let nobody = operator.get("/personal-tokens?email=unknown@example.com").await.expect(200);
    assert_eq!(nobody, json!({"items": []}));
    assert_eq!(operator.get("/personal-tokens").await.error(422), "parameter_missing");
}
