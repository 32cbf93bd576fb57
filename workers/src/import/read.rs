//! The reading half of an import: a blocking thread that turns rows into batches, one ahead of the
//! transaction that writes.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use domain_data::imports::{Batch, RowWriter};
use runtime::storage::ObjectReader;
use tabular::{FileError, Position, Reader, Resolved};
use tokio::sync::mpsc::Sender;

/// Maximum number of rows of a batch,
const BATCH_ROWS: i64 = 8_000;
/// of bytes,
const BATCH_BYTES: usize = 4 << 20;
/// and of its time, so that watchers see progress in a slow file.
const BATCH_TIME: Duration = Duration::from_millis(500);
/// Number of rows between two checks of the clock.
const CLOCK_ROWS: i64 = 256;
/// Maximum number of remembered names of unknown members.
const UNKNOWN_NAMES: usize = 20;

/// The reading task.
pub(super) struct Task {
    pub source: ObjectReader,
    pub read_as: Resolved,
    pub position: Position,
    pub millis: u64,
    pub writer: RowWriter,
    /// Number of refused rows after which reading ends.
    pub refusals_left: Option<i64>,
}

/// A batch and the position behind it.
pub(super) struct Read {
    pub batch: Batch,
    pub position: Position,
    pub consumed: u64,
}

impl Task {
    /// Reads to the end, or until the batches are not needed. Answers names of JSON members
    /// without a column.
    pub fn run(mut self, to: &Sender<Read>) -> Result<BTreeSet<String>, FileError> {
        let mut unknown = BTreeSet::new();
        let mut reader = Reader::resume(self.source, &self.read_as, self.position)?;
        let mut refused = 0;
        let mut previous = self.millis;
        loop {
            let mut batch = Batch::after(previous);
            previous = batch.millis();
            let began = Instant::now();
            let mut end = None;
            while end.is_none() {
                let row = match reader.next_row() {
                    Ok(Some(row)) => row,
                    Ok(None) => {
                        end = Some(Ok(()));
                        break;
                    }
                    Err(error) => {
                        end = Some(Err(error)); // after the good rows before it
                        break;
                    }
                };
                self.writer.push(row, &mut batch);
                for name in row.extra_keys() {
                    if unknown.len() < UNKNOWN_NAMES && !unknown.contains(name) {
                        unknown.insert(name.clone());
                    }
                }
                let rows = batch.rows();
                let has_time = rows % CLOCK_ROWS != 0 || began.elapsed() < BATCH_TIME;
                if self.refusals_left.is_some_and(|left| refused + batch.refused >= left) {
                    end = Some(Ok(()));
                }
                if rows >= BATCH_ROWS || batch.bytes() >= BATCH_BYTES || !has_time {
                    break;
                }
            }
            refused += batch.refused;
            if batch.rows() > 0 {
                let read = Read { batch, position: reader.position(), consumed: reader.bytes_consumed() };
                if to.blocking_send(read).is_err() {
                    return Ok(unknown); // cancelled, handed back or failed: the other side knows why
                }
            }
            if let Some(end) = end {
                return end.map(|()| unknown);
            }
        }
    }
}
