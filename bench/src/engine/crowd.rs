//! A job's start among many others: that a million wait costs it next to nothing, and that another
//! workspace keeps the same pool full costs it little.

use std::time::Duration;

use jobs::kinds::NoOp;
use uuid::Uuid;

use super::{
    RUNS, TIMED, middle_and_tail,
    ours::{Engine, Processes},
};
use crate::{
    Failure,
    figure::{line, median, print, quantile},
};

/// Jobs at once.
const SLOTS: usize = 256;
/// Jobs that wait.
const WAITING: usize = 1_000_000;
/// Between two timed jobs.
const EVERY: Duration = Duration::from_millis(10);

/// Jobs that the busy workspace enqueues: as many as drain while the quiet one is timed, and 50,000.
const BUSY: usize = 75_000;
/// How long each of them takes, in milliseconds: the slots drain 1,000 a second.
const BUSY_MS: u64 = SLOTS as u64;
/// The quiet workspace's jobs, and the time between two of them: 20 s altogether.
const QUIET: usize = 100;
const QUIET_EVERY: Duration = Duration::from_millis(200);

/// Times the start with an empty ledger and with a million jobs in it, all of the timed jobs' pool and
/// kind: half are due and held back by their workspace's limit, the other half are for tomorrow.
pub async fn a_million_waiting(engine: &Engine) -> Result<(), Failure> {
    engine.clear().await?;
    let (held, later) = (Uuid::now_v7(), Uuid::now_v7());
    // There from the start: it is the number of jobs that is to make no difference.
    engine.hold(held).await?;
    let processes = Processes::start(SLOTS)?;
    let alone = starts(engine).await?;
    let tomorrow = jobs::clock::now() + chrono::TimeDelta::days(1);
    engine.enqueue(WAITING / 2, &NoOp::default(), held, None).await?;
    engine.enqueue(WAITING / 2, &NoOp::default(), later, Some(tomorrow)).await?;
    engine.settle().await?;
    let among = starts(engine).await?;
    processes.stop()?;
    line("engine", "start_p50_ms_1m_waiting", among.0, "ms", Some(("start_p50_ms_0_waiting", alone.0)));
    line("engine", "start_p99_ms_1m_waiting", among.1, "ms", Some(("start_p99_ms_0_waiting", alone.1)));
    engine.clear().await
}

/// The medians of three runs' p50 and p99.
async fn starts(engine: &Engine) -> Result<(f64, f64), Failure> {
    let (mut middles, mut tails) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let (middle, tail) = middle_and_tail(engine.starts(TIMED, EVERY, None).await?);
        middles.push(middle);
        tails.push(tail);
    }
    Ok((median(&mut middles), median(&mut tails)))
}

/// Times the start of a quiet workspace's jobs while another keeps 50,000 waiting in the same pool.
pub async fn a_busy_neighbour(engine: &Engine) -> Result<(), Failure> {
    engine.clear().await?;
    let busy = NoOp { sleep_ms: BUSY_MS, ..NoOp::default() };
    engine.enqueue(BUSY, &busy, Uuid::now_v7(), None).await?;
    engine.settle().await?;
    let processes = Processes::start(SLOTS)?;
    // The busy one has the pool to itself first.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut waits = engine.starts(QUIET, QUIET_EVERY, Some(Uuid::now_v7())).await?;
    waits.sort_by(f64::total_cmp);
    print("engine", "quiet_start_p95_ms", quantile(&waits, 0.95), "ms");
    // No worker may claim jobs while the tables are emptied.
    processes.stop()?;
    engine.clear().await
}
