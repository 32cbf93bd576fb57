//! Connections without an end.

use super::wire::Wire;
use crate::{TestApp, cluster::wait_until};

const REQUEST: &str = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_so_many_connections_and_no_more() {
    let app = TestApp::start_with(&[("MAX_CONNECTIONS_PER_ADDRESS", "3")]).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut wire = Wire::open(&app.base).await;
        wire.say(REQUEST).await;
        assert_eq!(wire.answer().await.0, 200);
        open.push(wire);
    }
    let mut fourth = Wire::open(&app.base).await;
    fourth.say(REQUEST).await;
    assert_eq!(fourth.answer().await.0, 0, "closed without an answer");
    open.pop();
    wait_until("another one is taken", || async {
        let mut wire = Wire::open(&app.base).await;
        wire.say(REQUEST).await;
        wire.answer().await.0 == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_trusted_has_as_many_as_it_opens() {
    let variables = [("MAX_CONNECTIONS_PER_ADDRESS", "1"), ("TRUSTED_PROXIES", "127.0.0.0/8")];
    let app = TestApp::start_with(&variables).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut wire = Wire::open(&app.base).await;
        wire.say(REQUEST).await;
        assert_eq!(wire.answer().await.0, 200);
        open.push(wire);
    }
}
