//! What holds for every route of the Platform API, and for paths that belong to neither surface.

use reqwest::Method;
use serde_json::json;

use crate::{TestApp, client::send};

#[tokio::test(flavor = "multi_thread")]
async fn errors_come_in_the_envelope_with_the_requests_id() {
    let app = TestApp::start().await;
    let sent = |method: Method, path: &str| {
        let request = reqwest::Client::new().request(method, format!("{}{path}", app.base));
        send(request.header("X-Request-Id", "req-1"))
    };
    for path in ["/v1/nonsense", "/nonsense", "/health/more"] {
        assert_eq!(
            sent(Method::GET, path).await.expect(404),
            json!({"success": false, "request_id": "req-1",
                   "error": {"code": "route_not_found", "message": "the path does not exist"}}),
            "{path}"
        );
    }
    for path in ["/health", "/docs", "/"] {
        assert_eq!(
            sent(Method::POST, path).await.expect(405),
            json!({"success": false, "request_id": "req-1",
                   "error": {"code": "method_not_allowed", "message": "the path does not support this method"}}),
            "{path}"
        );
    }
    let nul = sent(Method::GET, "/health?x=%00").await.expect(422);
    assert_eq!(nul["error"]["fields"], json!({"x": ["must not contain a NUL character"]}));
}
