//! How far into a file a look goes: so many rows and bytes, and so long, unless nobody waits for it any more.

use std::{
    io::{self, Read, Seek, SeekFrom},
    sync::Arc,
    time::{Duration, Instant},
};

/// Bytes that a source gives at once: what is read of a packed file between two looks at the clock.
const PIECE: usize = 4 << 10;
/// Rows between two looks at the clock.
const ROWS: u64 = 64;

/// Where a look at a file ends though the file goes on.
#[derive(Clone, Default)]
pub struct Bounds {
    /// Most rows; none: all.
    pub max_rows: Option<u64>,
    /// Most bytes of the file; none: all.
    pub max_bytes: Option<u64>,
    /// The longest time; none: as long as it takes.
    pub max_time: Option<Duration>,
    /// Whether nobody waits any more; asked every now and then.
    pub is_abandoned: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

/// Bounds, once a look has begun.
#[derive(Clone)]
pub(crate) struct Watch {
    bounds: Bounds,
    until: Option<Instant>,
}

impl Watch {
    pub(crate) fn begin(bounds: &Bounds) -> Self {
        let until = bounds.max_time.and_then(|time| Instant::now().checked_add(time));
        Self { bounds: bounds.clone(), until }
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.bounds.is_abandoned.as_ref().is_some_and(|asked| asked())
    }

    /// Whether it has taken as long as it may.
    pub(crate) fn is_late(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Whether the look ends behind so many rows and bytes.
    pub(crate) fn ends_at(&self, rows: u64, bytes: impl FnOnce() -> u64) -> bool {
        if self.bounds.max_rows.is_some_and(|most| rows >= most) {
            return true;
        }
        rows.is_multiple_of(ROWS)
            && (self.bounds.max_bytes.is_some_and(|most| bytes() >= most)
                || self.is_late()
                || self.is_abandoned())
    }

    /// The source, which fails once the time is over or nobody waits any more.
    pub(crate) fn source<S>(&self, source: S) -> Watched<S> {
        Watched { source, watch: self.clone() }
    }
}

pub(crate) struct Watched<S> {
    source: S,
    watch: Watch,
}

impl<S: Read> Read for Watched<S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.watch.is_late() || self.watch.is_abandoned() {
            return Err(io::Error::other("the look at the file is over"));
        }
        let most = into.len().min(PIECE);
        self.source.read(&mut into[..most])
    }
}

impl<S: Seek> Seek for Watched<S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.source.seek(to)
    }
}
