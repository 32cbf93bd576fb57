//! Connections without an end.

use std::time::Duration;

use poem::{endpoint::make_sync, http::StatusCode};
use tokio_util::sync::CancellationToken;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_still_sends_does_not_hold_up_the_end_of_the_process() {
    let listener = api_server::listen(([127, 0, 0, 1], 0).into()).unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (stop, crowd) = (CancellationToken::new(), api_server::Crowd::new(10, Vec::new()));
    // It is refused by its head, as an upload that is too large is.
    let refusing = make_sync(|_| StatusCode::PAYLOAD_TOO_LARGE);
    let grace = Duration::from_secs(3600);
    let serving =
        tokio::spawn(api_server::serve(listener, refusing, crowd, stop.clone().cancelled_owned(), grace));
    let mut wire = Wire::open(&base).await;
    wire.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n").await;
    assert_eq!(wire.answer().await.0, 413);
    let sending = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(100));
        while wire.say("more").await {
            pace.tick().await;
        }
    });

    stop.cancel();

    let patience = Duration::from_secs(15);
    tokio::time::timeout(patience, serving).await.expect("it ends while the client sends").unwrap();
    sending.await.unwrap();
}
