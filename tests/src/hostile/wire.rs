//! A connection on which a test says exactly what it wants to.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::Client;

/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(25);

pub(super) struct Wire(TcpStream);

impl Wire {
    pub async fn open(base: &str) -> Self {
        let address = base.strip_prefix("http://").expect("a base without TLS");
        Self(TcpStream::connect(address).await.expect("it listens"))
    }

    /// Says that; false when the other side doesn't listen any more.
    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.write_all(bytes.as_ref()).await.is_ok()
    }

    /// The status of the answer, or 0 when the connection ends without one, and the rest of what came with its head.
    pub async fn answer(&mut self) -> (u16, String) {
        let mut heard = Vec::new();
        let read = async {
            while !heard.windows(4).any(|window| window == b"\r\n\r\n") {
                match self.0.read_buf(&mut heard).await {
                    Ok(1..) => {}
                    _ => break,
                }
            }
        };
        timeout(PATIENCE, read).await.expect("an answer, or the end of the connection");
        let text = String::from_utf8_lossy(&heard).into_owned();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, text)
    }
}

/// A request's head up to its last header, with a credential.
pub(super) fn head(who: &Client, request: &str, headers: &str) -> String {
    let mut head = format!("{request} HTTP/1.1\r\nHost: millrace.example\r\n{headers}");
    if let Some(token) = &who.token {
        head += &format!("Authorization: Bearer {token}\r\n");
    }
    if let Some(workspace) = &who.workspace {
        head += &format!("X-Workspace-Id: {workspace}\r\n");
    }
    head + "\r\n"
}
