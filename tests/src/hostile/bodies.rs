//! Unexpected bodies, and bodies that don't arrive.

use futures::future::join_all;

use super::wire::{Wire, head};
use crate::TestApp;

const JSON: &str = "Content-Type: application/json\r\nContent-Length: 900000\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_read_only_when_the_route_is_known_and_the_caller_admitted() {
    let app = TestApp::start().await;
    let (nobody, viewer) = (app.anonymous(), app.join(&app.owner().await, "viewer").await);
    for (who, path, status) in [
        (&nobody, "/nope", 404),
        (&nobody, "/api/v1/nope", 404),
        (&nobody, "/api/v1/teams", 401),
        (&viewer, "/api/v1/teams", 403),
    ] {
        let mut wire = Wire::open(&app.base).await;
        let headers = format!("{JSON}Idempotency-Key: one\r\n");
        wire.say(head(who, &format!("POST {path}"), &headers)).await;
        let (answered, text) = wire.answer().await;
        assert_eq!(answered, status, "{path}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_given_up_whatever_reads_it() {
    let app = TestApp::start().await;
    let (nobody, owner) = (app.anonymous(), app.owner().await);
    let with_key = format!("{JSON}Idempotency-Key: one\r\n");
    let form = "Content-Type: multipart/form-data; boundary=B\r\nContent-Length: 900000\r\n";
    let file = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\r\na,b\r\n";
    let silent = [
        (&nobody, "/api/v1/auth/login", JSON, "{"),
        (&nobody, "/api/v1/auth/signup", JSON, "{"),
        (&owner, "/api/v1/teams", JSON, "{"),
        (&owner, "/api/v1/teams", with_key.as_str(), "{"),
        (&owner, "/api/v1/recordsets/import/upload", form, "--B\r\n"),
        (&owner, "/api/v1/recordsets/import/upload", form, file),
        (&owner, "/api/v1/auth/me/avatar", form, file),
    ];
    let answers = silent.map(|(who, path, headers, beginning)| {
        let base = app.base.clone();
        async move {
            let mut wire = Wire::open(&base).await;
            wire.say(head(who, &format!("POST {path}"), headers) + beginning).await;
            (path, wire.answer().await)
        }
    });
    for (path, (status, text)) in join_all(answers).await {
        assert_eq!(status, 408, "{path}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_names_no_host_or_two_is_refused() {
    let app = TestApp::start().await;
    for (request, status) in [
        ("GET /health HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /api/v1/openapi.json HTTP/1.1\r\n\r\n", 400),
        ("GET /health HTTP/1.0\r\n\r\n", 200),
    ] {
        let mut wire = Wire::open(&app.base).await;
        wire.say(request).await;
        let (answered, text) = wire.answer().await;
        assert_eq!(answered, status, "{request}: {text}");
    }
}
