//! Access tokens and the header that names the workspace, as every section checks them.

use std::time::Duration;

use api_kit::Signer;
use domain::{SessionId, UserId};
use serde_json::json;
use uuid::Uuid;

use crate::TestApp;

const SECRET: &str = "a secret for tests, and for nothing else";

/// The user and the session of the only sign-in so far.
async fn only_session(app: &TestApp) -> (UserId, SessionId) {
    let (user, session) = sqlx::query_as::<_, (Uuid, Uuid)>("select user_id, id from control.sessions")
        .fetch_one(&app.database.pool)
        .await
        .unwrap();
    (UserId(user), SessionId(session))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_we_did_not_sign_is_refused() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (user, session) = only_session(&app).await;
    let hour = Duration::from_secs(3600);
    let sign = |secret: &str, user, session| Signer::new(secret).access_token(user, session, hour).unwrap().0;
    let (good, foreign) =
        (sign(SECRET, user, session), sign("another installation's secret, as long", user, session));
    let payload = good.split('.').nth(1).unwrap();
    // {"alg":"none","typ":"JWT"}
    let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{payload}.");

    owner.with_token(Some(&good)).get("/recordsets").await.expect(200);
    let others = [
        ("nonsense", "nonsense".to_owned()),
        ("empty parts", "..".to_owned()),
        ("another secret", foreign),
        ("unsigned", unsigned),
        ("cut short", good[..good.len() - 2].to_owned()),
        ("a refresh token", owner.refresh_token.clone().unwrap()),
        ("another user's session", sign(SECRET, UserId::new(), session)),
        ("no session", sign(SECRET, user, SessionId::new())),
    ];
    for (what, token) in others {
        for path in ["/auth/me", "/recordsets"] {
            let answer = owner.with_token(Some(&token)).get(path).await;
            let challenge = r#"Bearer realm="millrace", error="invalid_token""#;
            assert_eq!(answer.headers["www-authenticate"], challenge, "{what}");
            assert_eq!(
                answer.expect(401),
                json!({"error": "token_invalid", "detail": "the token is invalid or has expired"}),
                "{what}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_refused() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let (user, session) = only_session(&app).await;
    let (token, expires) = Signer::new(SECRET).access_token(user, session, Duration::ZERO).unwrap();
    let ada = owner.with_token(Some(&token));

    // Good for the rest of this second, by the whole seconds that tokens count in.
    let mut answer = ada.get("/auth/me").await;
    while answer.status == 200 {
        let late = jobs::clock::now() - expires;
        assert!(late.num_seconds() < 5, "the token is still good {late} after it expired");
        answer = ada.get("/auth/me").await;
    }
    assert_eq!(answer.error(401), "token_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_bearer_token_one_is_asked_for() {
    let app = TestApp::start().await;
    let visitor = app.anonymous();
    for path in ["/auth/me", "/recordsets", "/records", "/jobs"] {
        let answer = visitor.get(path).await;
        assert_eq!(answer.headers["www-authenticate"], r#"Bearer realm="millrace""#);
        assert_eq!(
            answer.expect(401),
            json!({"error": "token_missing", "detail": "a bearer token is required"})
        );
    }
    let basic = visitor.request(reqwest::Method::GET, "/auth/me").header("Authorization", "Basic YTpi");
    assert_eq!(crate::client::send(basic).await.error(401), "token_missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scheme_of_a_token_is_read_in_any_case() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let token = owner.token.clone().unwrap();
    for scheme in ["bearer", "BEARER"] {
        let request = app.anonymous().request(reqwest::Method::GET, "/auth/me");
        crate::client::send(request.header("Authorization", format!("{scheme} {token}"))).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_must_be_named_and_be_ones_own() {
    let app = TestApp::start().await;
    let (owner, eve) = (app.owner().await, app.owner().await);

    assert_eq!(
        owner.in_workspace(None).get("/recordsets").await.expect(422),
        json!({"error": "parameter_missing", "detail": "required and missing: X-Workspace-Id",
               "fields": {"X-Workspace-Id": ["is required"]}})
    );
    for other in [eve.workspace.clone().unwrap(), Uuid::now_v7().to_string()] {
        let answer = owner.in_workspace(Some(&other)).get("/recordsets").await;
        assert_eq!(answer.expect(404), json!({"error": "record_not_found", "detail": "not found"}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_a_member_no_more_is_out_at_once() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    owner.get("/recordsets").await.expect(200);
    app.without_owners().await;
    sqlx::query("delete from control.memberships").execute(&app.database.pool).await.unwrap();
    assert_eq!(owner.get("/recordsets").await.error(404), "record_not_found");
    assert_eq!(owner.get("/auth/me").await.expect(200)["workspaces"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_is_still_being_made_is_not_available() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    sqlx::query("update control.workspaces set state = 'provisioning'")
        .execute(&app.database.pool)
        .await
        .unwrap();
    assert_eq!(
        owner.get("/recordsets").await.expect(503),
        json!({"error": "workspace_not_ready", "detail": "the workspace is still being set up"})
    );
}
