//! The input of a form's parser. It collects a part's headers, and all that precedes the first part, completely, and
//! searches them from the start with each new piece: so the bytes outside the file are counted before it.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::Stream;

/// Maximum number of bytes of a form that are not the file's.
pub(super) const MAX_FORM: u64 = 64 << 10;
/// Bytes that the parser gets at once: outside of the file and in it. The last piece before the file counts
/// completely.
const OUTSIDE: usize = 8 << 10;
const INSIDE: usize = 64 << 10;

/// Counts the bytes read of one form. Clones share the count.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter(Arc<State>);

#[derive(Debug, Default)]
struct State {
    in_file: AtomicBool,
    exceeded: AtomicBool,
}

impl Meter {
    /// The body, as the parser gets it.
    pub(super) fn of<S>(&self, body: S) -> Metered<S>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        Metered { body: Box::pin(body), meter: self.clone(), rest: Bytes::new(), outside: 0, rests: false }
    }

    /// From now on the bytes are the file's.
    pub(super) fn begin_file(&self) {
        self.0.in_file.store(true, Ordering::Relaxed);
    }

    /// Whether the form has too many bytes that are not the file's.
    pub(super) fn is_exceeded(&self) -> bool {
        self.0.exceeded.load(Ordering::Relaxed)
    }
}

/// See [`Meter::of`].
pub(super) struct Metered<S> {
    body: Pin<Box<S>>,
    meter: Meter,
    rest: Bytes,
    outside: u64,
    /// Whether the parser must process its piece before it gets another.
    rests: bool,
}

impl<S: Stream<Item = io::Result<Bytes>>> Stream for Metered<S> {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let this = self.get_mut();
        // The parser takes all available bytes before it processes any.
        if std::mem::take(&mut this.rests) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        while this.rest.is_empty() {
            match ready!(this.body.as_mut().poll_next(context)) {
                Some(Ok(bytes)) => this.rest = bytes,
                other => return Poll::Ready(other),
            }
        }
        let in_file = this.meter.0.in_file.load(Ordering::Relaxed);
        let most = if in_file { INSIDE } else { OUTSIDE };
        let piece = this.rest.split_to(most.min(this.rest.len()));
        if !in_file {
            this.outside += piece.len() as u64;
            if this.outside > MAX_FORM {
                this.meter.0.exceeded.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err(io::Error::other(
                    "the form has too many bytes outside the file",
                ))));
            }
        }
        this.rests = true;
        Poll::Ready(Some(Ok(piece)))
    }
}
