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

/// A batch is full at so many rows,
const BATCH_ROWS: i64 = 8_000;
/// or so many bytes,
const BATCH_BYTES: usize = 4 << 20;
/// or after so long, so that watchers see a slow file move.
const BATCH_TIME: Duration = Duration::from_millis(500);
/// Rows between two looks at the clock.
const CLOCK_ROWS: i64 = 256;
/// Names of unknown members that are remembered.
const UNKNOWN_NAMES: usize = 20;

/// What to read.
pub(super) struct Task {
    pub source: ObjectReader,
    pub read_as: Resolved,
    pub position: Position,
    pub millis: u64,
    pub writer: RowWriter,
    /// Reading ends once so many rows are refused.
    pub refusals_left: Option<i64>,
}

/// A batch and what is behind it.
pub(super) struct Read {
    pub batch: Batch,
    pub position: Position,
    pub consumed: u64,
}

impl Task {
    /// Reads until the end, or until nobody wants the batches any more. Answers names of JSON members
    /// that no column stands for.
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
