//! Closing a connection whose client still sends. Closing it at once would make the system answer what comes with a
//! reset, which takes away the answer that the client was sent: that its upload is too large, or can't be stored. So
//! what comes is read for a while, and thrown away.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout_at},
};

/// The longest that a client is listened to, and the longest that it may be silent.
const LONGEST: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(2);
const BUFFER: usize = 16 << 10;

/// Says that no more comes from here, and reads what still comes from there.
pub(super) async fn close(mut socket: TcpStream) {
    if socket.shutdown().await.is_err() {
        return;
    }
    let end = Instant::now() + LONGEST;
    let mut thrown_away = vec![0; BUFFER];
    loop {
        let patience = end.min(Instant::now() + SILENCE);
        match timeout_at(patience, socket.read(&mut thrown_away)).await {
            Ok(Ok(1..)) => {}
            // It has said so, too, or is gone, or was waited for long enough.
            _ => return,
        }
    }
}
