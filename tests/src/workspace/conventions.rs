//! What holds for every route of the Workspace API, whatever it is about.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{TestApp, client::send};

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_json_is_refused() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let deep = format!("{{\"name\": {}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    for body in ["", "{", "{\"name\": }", "name=x", "{} {}", "\u{feff}{}", &deep] {
        let request = owner.request(Method::POST, "/recordsets").header("Content-Type", "application/json");
        let answer = send(request.body(body.to_owned())).await;
        assert_eq!(answer.headers["content-type"], "application/json; charset=utf-8");
        let answer = answer.expect(400);
        assert_eq!(answer["error"], "invalid_json", "{answer}");
        assert!(answer["detail"].as_str().unwrap().starts_with("the body is not valid JSON: "), "{answer}");
        assert_eq!(answer.as_object().unwrap().len(), 2, "{answer}");
    }
    let request = owner.request(Method::POST, "/recordsets").header("Content-Type", "application/json");
    assert_eq!(send(request.body(vec![b'"', 0xff, b'"'])).await.error(400), "invalid_json");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_must_say_that_it_is_json() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let body = r#"{"name": "Leads"}"#;
    let post = || owner.request(Method::POST, "/recordsets").body(body);
    assert_eq!(
        send(post()).await.expect(415),
        json!({"error": "unsupported_media_type", "detail": "send the body with Content-Type: application/json"})
    );
    for other in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense"]
    {
        assert_eq!(send(post().header("Content-Type", other)).await.error(415), "unsupported_media_type");
    }
    send(post().header("Content-Type", "application/json; charset=utf-8")).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_or_method_that_is_not_there_is_answered_in_json() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    for path in ["/nonsense", "/recordsets/a/b/c", "/auth", "/../etc/passwd"] {
        assert_eq!(
            owner.get(path).await.expect(404),
            json!({"error": "route_not_found", "detail": "the path does not exist"}),
            "{path}"
        );
    }
    for (method, path) in [
        (Method::PUT, "/recordsets"),
        (Method::DELETE, "/auth/login"),
        (Method::POST, "/auth/me"),
        (Method::PATCH, "/jobs"),
    ] {
        assert_eq!(
            send(owner.request(method, path)).await.expect(405),
            json!({"error": "method_not_allowed", "detail": "the path does not support this method"}),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_names_its_request() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let sent = async |id: Option<&str>, path: &str| {
        let mut request = owner.request(Method::GET, path);
        if let Some(id) = id {
            request = request.header("X-Request-Id", id);
        }
        send(request).await.headers["x-request-id"].to_str().unwrap().to_owned()
    };
    for path in ["/recordsets", "/nonsense", "/docs"] {
        assert_eq!(sent(Some("checkout-42"), path).await, "checkout-42");
        assert_ne!(sent(None, path).await, sent(None, path).await);
        assert_eq!(sent(None, path).await.len(), 36);
        let long = "x".repeat(129);
        assert_eq!(sent(Some(&long), path).await.len(), 36);
        assert_eq!(sent(Some("two words"), path).await.len(), 36);
    }
    // It travels with what the request causes.
    let request = owner.request(Method::POST, "/recordsets").header("X-Request-Id", "cause-7");
    send(request.json(&json!({"name": "Leads"}))).await.expect(201);
    let caused = "select count(*) from shard.events where actor ->> 'request_id' = 'cause-7'";
    assert_eq!(app.count(caused).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nul_is_refused_wherever_it_comes() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let leads = owner
        .post("/recordsets", json!({"name": "Leads", "fields": [{"label": "J", "field_type": "json"}]}))
        .await
        .expect(201);
    let field = |body: Value| body["fields"].as_object().unwrap().keys().next().unwrap().clone();

    let bodies = [
        ("/recordsets", json!({"name": "a\0b"}), "name"),
        ("/recordsets", json!({"name": "a", "settings": {"a": [{"b": "\0"}]}}), "settings.a.0.b"),
        (
            "/recordsets",
            json!({"name": "a", "fields": [{"label": "\0", "field_type": "text"}]}),
            "fields.0.label",
        ),
        ("/records", json!({"recordset_id": leads["id"], "data": {"j": {"\0": 1}}}), "data.j.\u{fffd}"),
        ("/auth/login", json!({"email": "a\0", "password": "x"}), "email"),
        ("/auth/refresh", json!({"refresh_token": "\0"}), "refresh_token"),
    ];
    for (path, body, blamed) in bodies {
        let answer = owner.post(path, body).await.expect(422);
        assert_eq!(answer["error"], "record_invalid");
        assert_eq!(field(answer), blamed);
    }
    for (path, blamed) in [("/recordsets?search=%00", "search"), ("/records?sort_by=a%00", "sort_by")] {
        assert_eq!(field(owner.get(path).await.expect(422)), blamed);
    }
    for path in ["/recordsets/a%00", "/records/%00", "/auth/signup/jobs/%00"] {
        assert_eq!(owner.get(path).await.error(404), "record_not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_above_the_limit_is_refused() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let big = json!({"name": "x".repeat(1 << 20)});
    let refused = json!({"error": "payload_too_large", "detail": "the request body is too large"});
    assert_eq!(owner.post("/recordsets", big.clone()).await.expect(413), refused);
    // Also without a Content-Length.
    let pieces = futures::stream::iter(
        big.to_string()
            .into_bytes()
            .chunks(64 << 10)
            .map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()))
            .collect::<Vec<_>>(),
    );
    let request = owner.request(Method::POST, "/recordsets").header("Content-Type", "application/json");
    assert_eq!(send(request.body(reqwest::Body::wrap_stream(pieces))).await.expect(413), refused);
    assert_eq!(app.anonymous().post("/auth/login", big).await.expect(413), refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_may_call_from_listed_origins_only() {
    let app =
        TestApp::start_with(&[("CORS_ORIGINS", "https://app.example.com, http://localhost:3000")]).await;
    let visitor = app.anonymous();
    let asked = async |method: Method, origin: &str| {
        let request = visitor.request(method, "/auth/me").header("Origin", origin);
        let request = request.header("Access-Control-Request-Method", "POST");
        send(request.header("Access-Control-Request-Headers", "authorization, x-workspace-id")).await
    };
    for origin in ["https://app.example.com", "http://localhost:3000"] {
        let preflight = asked(Method::OPTIONS, origin).await;
        assert_eq!(preflight.status, 204);
        assert_eq!(preflight.headers["access-control-allow-origin"], origin);
        assert_eq!(preflight.headers["access-control-allow-headers"], "authorization, x-workspace-id");
        assert!(preflight.headers["access-control-allow-methods"].to_str().unwrap().contains("PATCH"));
        let answer = asked(Method::GET, origin).await;
        assert_eq!(
            (answer.status, &answer.headers["access-control-allow-origin"]),
            (401, &origin.parse().unwrap())
        );
        assert!(answer.headers["access-control-expose-headers"].to_str().unwrap().contains("X-Request-Id"));
        assert!(!answer.headers.contains_key("access-control-allow-credentials"));
    }
    for origin in
        ["https://evil.example.com", "https://app.example.com.evil.com", "null", "http://app.example.com"]
    {
        for method in [Method::OPTIONS, Method::GET] {
            let answer = asked(method, origin).await;
            assert!(
                answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")),
                "{origin}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_headers_that_keep_browsers_safe() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    // A page of documentation may be kept, and is asked for anew by its ETag.
    for (path, kept) in [("/recordsets", "no-store"), ("/nonsense", "no-store"), ("/api/v1/docs", "no-cache")]
    {
        let headers = owner.get(path).await.headers;
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["x-frame-options"], "DENY");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        assert_eq!(headers["cache-control"], kept, "{path}");
    }
}
