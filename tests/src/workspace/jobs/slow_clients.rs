//! Clients that take their time: those that send nothing are let go, those that only listen are not.

use jobs::kinds::NoOp;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::sleeper;
use crate::TestApp;

/// Connects, sends that, and waits until the server closes the connection.
async fn until_let_go(address: &str, sent: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(sent.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_complete_head_is_closed_and_a_stream_stays_open() {
    let app = TestApp::start().await;
    let owner = app.owner().await;
    let job = sleeper(&app, &owner, NoOp { sleep_ms: 600_000, ..NoOp::default() }).await;
    let mut events = owner.events(&format!("/jobs/{job}/stream?since=0"), None).await;
    while events.next().await.expect("it starts")["status"] != "RUNNING" {}

    let address = app.base.strip_prefix("http://").unwrap();
    let (silent, halting, idle) = tokio::join!(
        until_let_go(address, ""),
        until_let_go(address, "GET /health HTTP/1.1\r\nHost: "),
        until_let_go(address, "GET /health HTTP/1.1\r\nHost: here\r\n\r\n"),
    );
    assert_eq!(silent, "");
    assert!(!halting.contains("200 OK"), "{halting}");
    assert!(idle.starts_with("HTTP/1.1 200 OK"), "{idle}");

    owner.post(&format!("/jobs/{job}/cancel"), json!({})).await.expect(200);
    assert_eq!(events.to_the_end().await["status"], "CANCELLED");
}
