//! Bounds of an analysis: numbers of rows and bytes, and a time, unless it was abandoned.

use std::{
    io::{self, Read, Seek, SeekFrom},
    sync::Arc,
    time::{Duration, Instant},
};

/// Bytes that a source gives at once: what is read of a packed file between two looks at the clock.
const PIECE: usize = 4 << 10;
/// Rows between two looks at the clock.
const ROWS: u64 = 64;

/// Bounds at which an analysis ends before the end of the file.
#[derive(Clone, Default)]
pub struct Bounds {
    /// Maximum number of rows; none for all.
    pub max_rows: Option<u64>,
    /// Maximum number of bytes of the file; none for all.
    pub max_bytes: Option<u64>,
    /// Maximum time; none for no limit.
    pub max_time: Option<Duration>,
    /// Whether its result is not needed; called periodically.
    pub is_abandoned: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

/// Bounds of an analysis in progress.
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

    /// Whether its result is not needed.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.bounds.is_abandoned.as_ref().is_some_and(|asked| asked())
    }

    /// Whether its time has passed.
    pub(crate) fn is_late(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Whether the analysis ends behind so many rows and bytes.
    pub(crate) fn ends_at(&self, rows: u64, bytes: impl FnOnce() -> u64) -> bool {
        if self.bounds.max_rows.is_some_and(|most| rows >= most) {
            return true;
        }
        rows.is_multiple_of(ROWS)
            && (self.bounds.max_bytes.is_some_and(|most| bytes() >= most)
                || self.is_late()
                || self.is_abandoned())
    }

    /// The source, which fails once the time has passed or the analysis was abandoned.
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
            return Err(io::Error::other("the analysis of the file has ended"));
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
