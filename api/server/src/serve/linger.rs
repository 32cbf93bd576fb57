//! Closing a connection whose client still sends. If it were closed at once, the system would answer further bytes
//! with a reset, which discards the answer that was sent to the client: that its upload is too large, or can't be
//! stored. So the bytes are read for a while and discarded: not faster than [`MAX_RATE`], since reading would delay
//! other requests.

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

/// Maximum time of reading, and maximum pause between two pieces.
const LONGEST: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(2);
/// Maximum time that a client is read from once the process is about to end.
const MAX_WHILE_LEAVING: Duration = Duration::from_secs(1);
const BUFFER: usize = 16 << 10;
/// Maximum rate of discarded bytes per second, over all connections.
const MAX_RATE: u32 = 64 << 20;
/// Maximum lead of reading over that rate: timers are only precise to a millisecond.
const MAX_AHEAD: Duration = Duration::from_millis(4);

/// Closes the connections of a process.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// Time at which all bytes read so far would have arrived at [`MAX_RATE`].
    read_until: Mutex<Option<Instant>>,
}

impl Closing {
    /// Closes the sending side, and reads the client's remaining bytes; for a limited time once `leaving` is cancelled.
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
                // The client has closed, too, or is lost, or the time is up.
                _ => return,
            }
        }
    }

    /// Time of the next read, after so many bytes were read now.
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
