//! Closing a connection whose client still sends. Closing it at once would make the system answer what comes with a
//! reset, which takes away the answer that the client was sent: that its upload is too large, or can't be stored. So
//! what comes is read for a while, and thrown away: not faster than [`MAX_RATE`], since reading is work that other
//! requests would wait for.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// The longest that a client is listened to, and the longest that it may be silent.
const LONGEST: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(2);
/// The longest that a client is listened to once the process is about to end.
const MAX_WHILE_LEAVING: Duration = Duration::from_secs(1);
const BUFFER: usize = 16 << 10;
/// Bytes a second that are thrown away, of all connections together.
const MAX_RATE: u32 = 64 << 20;
/// How far reading may be ahead of that: a timer is not more exact than a millisecond.
const MAX_AHEAD: Duration = Duration::from_millis(4);

/// Closes the connections of a process.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// When all that was read would have come at [`MAX_RATE`].
    read_until: Mutex<Option<Instant>>,
}

impl Closing {
    /// Says that no more comes from here, and reads what still comes from there; not for long once `leaving` is cancelled.
    pub(super) async fn close(&self, socket: TcpStream, leaving: &CancellationToken) {
        let is_late = async {
            leaving.cancelled().await;
            sleep(MAX_WHILE_LEAVING).await;
        };
        tokio::select! {
            () = self.drain(socket) => {}
            () = is_late => {}
        }
    }

    async fn drain(&self, mut socket: TcpStream) {
        if socket.shutdown().await.is_err() {
            return;
        }
        let end = Instant::now() + LONGEST;
        let mut thrown_away = vec![0; BUFFER];
        loop {
            let patience = end.min(Instant::now() + SILENCE);
            match timeout_at(patience, socket.read(&mut thrown_away)).await {
                Ok(Ok(length @ 1..)) => {
                    let now = Instant::now();
                    let next = self.next_read(length, now);
                    if next > now {
                        sleep_until(next).await;
                    }
                }
                // It has said so, too, or is gone, or was waited for long enough.
                _ => return,
            }
        }
    }

    /// When more may be read, after so many bytes were read now.
    fn next_read(&self, length: usize, now: Instant) -> Instant {
        let mut read_until = self.read_until.lock().unwrap_or_else(PoisonError::into_inner);
        let from = read_until.map_or(now, |until| until.max(now));
        let until = from + Duration::from_secs(length as u64) / MAX_RATE;
        *read_until = Some(until);
        if until > now + MAX_AHEAD { until } else { now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_connections_together_read_no_faster_than_the_limit() {
        let (closing, begin) = (Closing::default(), Instant::now());
        let mut connections = [begin; 3];
        for _ in 0..MAX_RATE as usize / BUFFER {
            for may_read in &mut connections {
                *may_read = closing.next_read(BUFFER, *may_read);
            }
        }
        let took = connections.into_iter().max().unwrap() - begin;
        assert!((Duration::from_millis(2_990)..=Duration::from_secs(3)).contains(&took), "{took:?}");
    }

    #[test]
    fn what_comes_slowly_is_read_at_once() {
        let (closing, mut now) = (Closing::default(), Instant::now());
        for _ in 0..1000 {
            assert_eq!(closing.next_read(BUFFER, now), now);
            now += Duration::from_millis(1);
        }
    }
}
