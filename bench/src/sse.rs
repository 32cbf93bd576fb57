//! 10,000 open streams on one API process, 20 of each of 500 jobs that report their progress: what a
//! stream costs in memory, how soon an event arrives, and what becomes of them when that process is
//! killed and all come back to another one. What every stream received is compared, at the end, with
//! the jobs' histories.

mod audience;
mod stream;

use std::{net::TcpListener, sync::Arc, time::Duration};

use jobs::{
    Database, JobId, NewJob, control,
    kinds::NoOp,
    watch::{Event, Hub},
};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    Failure, clear_ledger,
    client::{Client, ready_at},
    connect,
    figure::{print, quantile},
    process::Process,
    variable,
};
use audience::{Audience, Received};

/// Open streams; `BENCH_STREAMS` takes fewer for a quick look.
const STREAMS: usize = 10_000;
/// Jobs that they watch.
const JOBS: usize = 500;
/// Each reports that often: 200 events a second altogether, each of them to 20 streams.
const REPORT: Duration = Duration::from_millis(2500);
/// The jobs sleep that long, unless they are cancelled before, as they are here.
const SLEEP: Duration = Duration::from_secs(280);
/// How long events are timed.
const WINDOW: Duration = Duration::from_secs(30);
/// The longest that any step may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// All come from one address here.
const EVERYBODY: (&str, &str) = ("MAX_CONNECTIONS_PER_ADDRESS", "0");
/// Files that a process needs beside its streams.
const OTHER_FILES: usize = 500;

pub async fn measure() -> Result<(), Failure> {
    let streams = variable("BENCH_STREAMS").ok().and_then(|text| text.parse().ok()).unwrap_or(STREAMS);
    enough_files(streams)?;
    let database = connect().await?;
    clear_ledger(&database).await?;
    let first = Process::start("api", &[EVERYBODY])?;
    let slots = JOBS.to_string();
    let others = [
        Process::start("scheduler", &[])?,
        Process::start("provisioning", &[])?,
        Process::start("deliveries", &[])?,
        Process::start("maintenance", &[("MAINTENANCE_CONCURRENCY", &slots)])?,
    ];
    let client = Client::sign_up().await?;
    let workspace: Uuid = client.workspace.parse()?;
    let jobs = start_jobs(&database, workspace).await?;

    let before = first.memory()?;
    let mut audience = Audience::of(&jobs, streams, variable("PORT")?.parse()?, &client);
    audience.wait_until(streams, PATIENCE).await?;
    let from = jobs::clock::now();
    tokio::time::sleep(WINDOW).await;
    let until = jobs::clock::now();
    #[allow(clippy::cast_precision_loss)]
    print("sse", "bytes_per_stream", (first.memory()? - before) / streams as f64, "bytes");

    // Another process, behind the same balancer, as it were.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
    let second = Process::start("api", &[EVERYBODY, ("PORT", &port)])?;
    ready_at(&port).await?;
    audience.turn_to(port.parse()?);
    let killed = Instant::now();
    first.kill()?;
    let resumed = audience.wait_until(2 * streams, PATIENCE).await;
    let resume_seconds = killed.elapsed().as_secs_f64();
    // Every job reports at least once more, and then every stream sees its job's end.
    tokio::time::sleep(2 * REPORT).await;
    for job in &jobs {
        let mut tx = database.begin().await?;
        control::cancel(&mut tx, jobs::Owner::Workspace(workspace), *job, &jobs::Origin::default()).await?;
        tx.commit().await?;
    }
    let refusals = audience.refusals();
    let received = audience.ended(PATIENCE).await?;
    resumed?;

    let mut waits: Vec<f64> = received.iter().flat_map(|stream| stream.waits(from, until)).collect();
    waits.sort_by(f64::total_cmp);
    print("sse", "event_p50_ms", quantile(&waits, 0.5), "ms");
    print("sse", "event_p99_ms", quantile(&waits, 0.99), "ms");
    #[allow(clippy::cast_precision_loss)]
    print("sse", "events_received_rate", waits.len() as f64 / WINDOW.as_secs_f64(), "events/s");
    let (open, after) = lost_or_repeated(&database, received).await?;
    print("sse", "lost_or_repeated", open, "events");
    #[allow(clippy::cast_precision_loss)]
    print("sse", "resumed", received.iter().filter(|stream| stream.resumed()).count() as f64, "streams");
    print("sse", "resume_seconds", resume_seconds, "s");
    print("sse", "resume_refusals", refusals, "answers");
    print("sse", "lost_or_repeated_after_kill", after, "events");
    others.into_iter().rev().chain([second]).try_for_each(Process::stop)
}

/// Both sides of a stream need a file each.
fn enough_files(streams: usize) -> Result<(), Failure> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    let soft = line.split_whitespace().next().unwrap_or_default();
    match soft.parse::<usize>() {
        Ok(files) if files < streams + OTHER_FILES => Err(format!(
            "{streams} streams need {} open files per process and the limit is {files}: raise it (ulimit -Hn)",
            streams + OTHER_FILES
        )
        .into()),
        _ => Ok(()), // enough, or "unlimited"
    }
}

/// Starts the jobs, evenly over the time between two reports, and waits until all have reported.
async fn start_jobs(database: &Database, workspace: Uuid) -> Result<Vec<JobId>, Failure> {
    let milliseconds = |time: Duration| u64::try_from(time.as_millis());
    let job = NoOp { sleep_ms: milliseconds(SLEEP)?, report_ms: milliseconds(REPORT)?, ..NoOp::default() };
    let mut ticks = tokio::time::interval(REPORT / u32::try_from(JOBS)?);
    let mut jobs = Vec::with_capacity(JOBS);
    for _ in 0..JOBS {
        ticks.tick().await;
        jobs.push(database.enqueue(NewJob::new(&job).workspace(Some(workspace))).await?.id());
    }
    let hub = Hub::start(database.clone());
    let deadline = Instant::now() + PATIENCE;
    for job in &jobs {
        while hub.history(*job, 0).await.0.is_empty() {
            if Instant::now() > deadline {
                return Err("a job has not reported progress".into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(jobs)
}

/// How many events of the histories, from the first that a stream was sent, it was not sent exactly once:
/// those up to the last before the kill, and those after.
async fn lost_or_repeated(database: &Database, received: &[Arc<Received>]) -> Result<(f64, f64), Failure> {
    let hub = Hub::start(database.clone());
    let mut histories = std::collections::HashMap::new();
    let (mut open, mut after) = (0, 0);
    for stream in received {
        let history = match histories.entry(stream.job) {
            std::collections::hash_map::Entry::Occupied(kept) => kept.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let (events, _) = hub.history(stream.job, 0).await;
                if !events.last().is_some_and(|event: &Event| event.status.is_terminal()) {
                    return Err(format!("the history of {} does not reach its end", stream.job).into());
                }
                place.insert(events.iter().map(|event| event.seq).collect::<Vec<_>>())
            }
        };
        let (wrong_open, wrong_after) = stream.wrong(history);
        open += wrong_open;
        after += wrong_after;
    }
    Ok((f64::from(open), f64::from(after)))
}
