//! The pace of a request's body: a maximum pause between two pieces, a minimum rate and, except for uploads,
//! a deadline that begins with the head. It holds from before the first reader, for every reader of the body,
//! with or without a deadline of its own.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Limited, combinators::BoxBody};
use poem::{Body, Request, http::header};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

/// Maximum wait for the next piece of a body.
const MAX_IDLE: Duration = Duration::from_secs(10);
/// Minimum average rate of a body in bytes per second, after a total wait of [`MAX_IDLE`].
const MIN_RATE: u32 = 1 << 10;

/// Maximum number of bytes that are read of a body that its reader has left, and maximum wait for them.
const MAX_REST: usize = 64 << 10;
const MAX_WAIT_FOR_REST: Duration = Duration::from_millis(250);

/// The pace of a request's body. Clones refer to the same body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pace(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_upload: AtomicBool,
    was_too_slow: AtomicBool,
    /// The part that its reader did not read. A body whose client waits for "100 Continue" is not read.
    rest: Mutex<Rest>,
}

#[derive(Debug, Default)]
enum Rest {
    #[default]
    Nothing,
    /// Owned by its reader, or not to be read.
    Unread,
    Left(BoxBody<Bytes, io::Error>),
}

impl Pace {
    /// Controls the pace of the request's body from now on. All of it must have arrived by `until`.
    pub(super) fn set(request: &mut Request, until: Instant) {
        let pace = Self::default();
        let body = request.take_body();
        if !body.is_empty() {
            pace.leave(Rest::Unread);
            let inner: BoxBody<Bytes, io::Error> = body.into();
            let paced = Paced {
                inner: Some(inner),
                expects_continue: request.headers().contains_key(header::EXPECT),
                pace: pace.clone(),
                until,
                received: 0,
                waited: Duration::ZERO,
                waiting_since: None,
                timer: None,
            };
            request.set_body(Body::from(BoxBody::new(paced)));
        }
        request.set_data(pace);
    }

    /// The pace of a request's body; for a request that passed no edge, an unlimited one.
    pub(crate) fn of(request: &Request) -> Self {
        request.data().cloned().unwrap_or_default()
    }

    /// Lifts the deadline of the body; the minimum rate remains.
    pub(crate) fn is_of_an_upload(&self) {
        self.0.is_upload.store(true, Ordering::Relaxed);
    }

    fn leave(&self, rest: Rest) {
        *self.0.rest.lock().unwrap_or_else(PoisonError::into_inner) = rest;
    }

    /// Reads the rest of the body that its reader has left, unless it is long or does not arrive at once.
    /// Answers whether nothing is left.
    pub(super) async fn read_rest(&self) -> bool {
        let rest =
            std::mem::replace(&mut *self.0.rest.lock().unwrap_or_else(PoisonError::into_inner), Rest::Unread);
        let mut body = match rest {
            Rest::Nothing => return true,
            Rest::Unread => return false,
            Rest::Left(body) => Limited::new(body, MAX_REST),
        };
        let read = async {
            loop {
                match body.frame().await {
                    Some(Ok(_)) => {}
                    ended => return ended.is_none(),
                }
            }
        };
        timeout(MAX_WAIT_FOR_REST, read).await.unwrap_or(false)
    }

    /// Whether the body was aborted because it arrived too slowly: the edge then answers that.
    pub(super) fn was_too_slow(&self) -> bool {
        self.0.was_too_slow.load(Ordering::Relaxed)
    }
}

/// A body that fails when it arrives too slowly. Only time spent waiting for it counts.
struct Paced {
    /// Until the rest is handed over.
    inner: Option<BoxBody<Bytes, io::Error>>,
    expects_continue: bool,
    pace: Pace,
    until: Instant,
    received: u64,
    waited: Duration,
    waiting_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    /// Deadline of a wait that began then.
    fn patience(&self, since: Instant) -> Instant {
        let earned = Duration::from_secs(self.received) / MIN_RATE;
        let by_rate = since + (MAX_IDLE + earned).saturating_sub(self.waited);
        let by_idling = since + MAX_IDLE;
        let patience = by_rate.min(by_idling);
        if self.pace.0.is_upload.load(Ordering::Relaxed) { patience } else { patience.min(self.until) }
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(&mut *inner).poll_frame(context) {
            if let Some(since) = this.waiting_since.take() {
                this.waited += since.elapsed();
            }
            if let Some(Ok(frame)) = &frame {
                this.received += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            if frame.is_none() || inner.is_end_stream() {
                this.pace.leave(Rest::Nothing);
                this.inner = None;
            }
            return Poll::Ready(frame);
        }
        let since = *this.waiting_since.get_or_insert_with(Instant::now);
        let patience = this.patience(since);
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(patience)));
        if timer.deadline() != patience {
            timer.as_mut().reset(patience);
        }
        if timer.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        this.pace.0.was_too_slow.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, "the body came too slowly"))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take()
            && !self.expects_continue
        {
            self.pace.leave(Rest::Left(inner));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};

    use super::*;

    /// Reads a body that arrives in pieces of so many bytes, one each `gap`; answers their number, and whether it was
    /// too slow.
    async fn read(pieces: usize, bytes: usize, gap: Duration, is_upload: bool) -> (usize, bool) {
        let body = stream::iter(0..pieces).then(move |_| async move {
            tokio::time::sleep(gap).await;
            Ok::<_, io::Error>(Bytes::from(vec![b'x'; bytes]))
        });
        let mut request = Request::builder().body(Body::from_bytes_stream(body));
        Pace::set(&mut request, Instant::now() + Duration::from_secs(25));
        let pace = Pace::of(&request);
        if is_upload {
            pace.is_of_an_upload();
        }
        let mut came = 0;
        let mut body = Box::pin(request.take_body().into_bytes_stream());
        while let Some(piece) = body.next().await {
            match piece {
                Ok(piece) => came += piece.len(),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::TimedOut),
            }
            if pace.was_too_slow() {
                break;
            }
        }
        (came, pace.was_too_slow())
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_body_that_falls_silent_is_given_up() {
        assert_eq!(read(1, 1, 11 * SECOND, true).await, (0, true));
        assert_eq!(read(1, 1, 9 * SECOND, false).await, (1, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_given_up_whatever_it_is() {
        let (came, slow) = read(1000, 10, SECOND, true).await;
        assert!(slow && came < 200, "{came}");
    }

    #[tokio::test(start_paused = true)]
    async fn only_an_upload_may_take_longer_than_a_body_as_a_whole() {
        let steady = 4 << 10;
        assert_eq!(read(60, steady, SECOND, true).await, (60 * steady, false));
        let (came, slow) = read(60, steady, SECOND, false).await;
        assert!(slow && came < 26 * steady, "{came}");
    }
}
