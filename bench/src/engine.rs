//! The engine by itself: how fast jobs are enqueued and drained, how soon after its commit a job
//! starts, beside BullMQ doing the same on the same Redis, in turns; the start again with a million
//! jobs waiting; and a quiet workspace's start while another fills the pool.

mod bullmq;
mod crowd;
mod ours;

use serde::Deserialize;

use crate::{
    Failure,
    figure::{line, median, quantile},
};
use bullmq::BullMq;
use ours::Engine;

/// Interleaved runs of each side.
const RUNS: usize = 3;
/// Jobs that are enqueued one by one.
const SINGLE: usize = 2000;
/// Jobs in the drain that are enqueued in bulk.
const DRAINED: usize = 100_000;
/// Jobs in one enqueueing transaction.
const BULK: usize = 1000;
/// Jobs whose start is timed, at 100 a second.
const TIMED: usize = 1000;
/// Jobs at once in BullMQ's worker process.
const CONCURRENCY: usize = 50;
/// Jobs at once in ours: each is committed twice, together with whatever else is to be committed just then. BullMQ
/// drains the fewer the more it runs at once.
const SLOTS: usize = 2048;

/// What a run of either side measures.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Figures {
    /// Each in a commit (theirs: a call) of its own, one after the other.
    enqueue_rate: f64,
    enqueue_bulk_rate: f64,
    drain_rate: f64,
    start_p50_ms: f64,
    start_p99_ms: f64,
}

type Field = fn(&Figures) -> f64;

const FIGURES: [(&str, &str, Field); 5] = [
    ("enqueue_rate", "jobs/s", |figures| figures.enqueue_rate),
    ("enqueue_bulk_rate", "jobs/s", |figures| figures.enqueue_bulk_rate),
    ("drain_rate", "jobs/s", |figures| figures.drain_rate),
    ("start_p50_ms", "ms", |figures| figures.start_p50_ms),
    ("start_p99_ms", "ms", |figures| figures.start_p99_ms),
];

pub async fn measure() -> Result<(), Failure> {
    let engine = Engine::connect().await?;
    let bullmq = BullMq::installed();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        ours.push(engine.run().await?);
        if let Some(bullmq) = &bullmq {
            theirs.push(bullmq.run()?);
        }
    }
    let middle = |runs: &[Figures], field: Field| median(&mut runs.iter().map(field).collect::<Vec<_>>());
    for (figure, unit, field) in FIGURES {
        let yardstick = (!theirs.is_empty()).then(|| ("bullmq", middle(&theirs, field)));
        line("engine", figure, middle(&ours, field), unit, yardstick);
    }
    crowd::a_million_waiting(&engine).await?;
    crowd::a_busy_neighbour(&engine).await
}

/// The p50 and p99 of waits in milliseconds.
fn middle_and_tail(mut waits: Vec<f64>) -> (f64, f64) {
    waits.sort_by(f64::total_cmp);
    (quantile(&waits, 0.5), quantile(&waits, 0.99))
}
