//! The log of a job: lines that its handler wrote, stored with it, capped, without secrets.
//!
//! A handler logs as any code does, by `tracing`; [`JobLogs`] finds the attempt that an event
//! belongs to in its job's span and passes the line to the attempt's [`JobLog`]. Lines are written many
//! at a time, before the end of their attempt is, and watchers are notified. A log never delays a job:
//! lines that the database doesn't accept within [`PATIENCE`] are given up and counted.

mod layer;
mod mask;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{Database, JobId, border, watch::publish};

pub use layer::JobLogs;

/// Maximum number of lines of one attempt; further ones are dropped, with one line about it.
const PER_ATTEMPT: usize = 1000;
/// Maximum number of lines that wait to be written.
const QUEUED: usize = 4096;
/// Maximum number of lines in one statement.
const BATCH: usize = 512;
/// Time for which the writer keeps trying while the database is unreachable, and interval of the tries.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(500);
/// Maximum wait of an attempt's end for its lines.
const FLUSH: Duration = Duration::from_secs(5);

/// A line on its way to the ledger.
#[derive(Debug)]
struct Line {
    job: JobId,
    attempt: i32,
    level: &'static str,
    message: String,
}

#[derive(Debug)]
enum Entry {
    Line(Line),
    /// Answered when all lines before it have been written, or given up.
    Flush(oneshot::Sender<()>),
}

/// Takes lines without making a handler wait, and writes them many at a time.
#[derive(Clone, Debug)]
pub(crate) struct LogSink(mpsc::Sender<Entry>);

impl LogSink {
    /// Starts the task that writes.
    pub(crate) fn start(database: Database) -> Self {
        let (sender, mut receiver) = mpsc::channel(QUEUED);
        tokio::spawn(async move {
            let mut entries = Vec::with_capacity(BATCH);
            while receiver.recv_many(&mut entries, BATCH).await > 0 {
                let mut lines = Vec::with_capacity(entries.len());
                let mut waiting = Vec::new();
                for entry in entries.drain(..) {
                    match entry {
                        Entry::Line(line) => lines.push(line),
                        Entry::Flush(done) => waiting.push(done),
                    }
                }
                store(&database, &lines).await;
                for done in waiting {
                    // A caller that no longer waits has given up by itself.
                    let _ = done.send(());
                }
            }
        });
        Self(sender)
    }

    /// The log of one attempt.
    pub(crate) fn of(&self, job: JobId, attempt: i32) -> JobLog {
        JobLog(Arc::new(Told {
            sink: self.clone(),
            job,
            attempt,
            lines: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
        }))
    }
}

/// The log of one attempt at a job.
#[derive(Clone, Debug)]
pub(crate) struct JobLog(Arc<Told>);

#[derive(Debug)]
struct Told {
    sink: LogSink,
    job: JobId,
    attempt: i32,
    /// Number of lines so far.
    lines: AtomicUsize,
    /// Number of them that were lost by a full queue since the last one that wasn't.
    lost: AtomicUsize,
}

impl JobLog {
    /// Queues a line. A full queue drops it and counts it; the next queued line is preceded by one with the count.
    pub(crate) fn write(&self, level: tracing::Level, message: &str) {
        let number = self.0.lines.fetch_add(1, Ordering::Relaxed);
        if number > PER_ATTEMPT {
            return; // the line before was the one about it
        }
        let level = match level {
            tracing::Level::ERROR => "error",
            tracing::Level::WARN => "warn",
            tracing::Level::INFO => "info",
            _ => "debug",
        };
        let lost = self.0.lost.swap(0, Ordering::Relaxed);
        if lost > 0 && !self.send("warn", format!("{lost} lines before this one were lost")) {
            self.0.lost.fetch_add(lost, Ordering::Relaxed);
        }
        if !self.send(level, border::message(mask::mask(message))) {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("millrace_job_log_lines_lost_total").increment(1);
        }
    }

    fn send(&self, level: &'static str, message: String) -> bool {
        let line = Line { job: self.0.job, attempt: self.0.attempt, level, message };
        self.0.sink.0.try_send(Entry::Line(line)).is_ok()
    }

    /// Waits until the lines so far have been written, so that a watcher of the attempt's end finds
    /// them. Not longer than [`FLUSH`].
    pub(crate) async fn flush(&self) {
        if self.0.lines.load(Ordering::Relaxed) == 0 {
            return;
        }
        let (done, written) = oneshot::channel();
        let flushed = async {
            if self.0.sink.0.send(Entry::Flush(done)).await.is_ok() {
                let _ = written.await;
            }
        };
        if tokio::time::timeout(FLUSH, flushed).await.is_err() {
            tracing::warn!(job = %self.0.job, "the job ends before all its log lines are written");
        }
    }
}

/// Writes lines, for as long as it is patient, and notifies their watchers.
async fn store(database: &Database, lines: &[Line]) {
    if lines.is_empty() {
        return;
    }
    let patience = Instant::now() + PATIENCE;
    loop {
        match write(database, lines).await {
            Ok(newest) => return publish::new_lines(&database.bus, &newest).await,
            Err(error) if Instant::now() > patience => {
                metrics::counter!("millrace_job_log_lines_lost_total").increment(lines.len() as u64);
                tracing::warn!(%error, lines = lines.len(), "job log lines were not stored");
                return;
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Inserts lines up to the cap of their attempt, and one about dropped ones; answers
/// the newest line of each job. An attempt may have several holders, one after the other.
async fn write(database: &Database, lines: &[Line]) -> Result<HashMap<JobId, i64>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        with new as (
            select * from unnest($1::uuid[], $2::integer[], $3::text[], $4::text[]) with ordinality
                       as l(job_id, attempt, level, message, place)
        ), stored as (
            select job_id, attempt, count(*) as lines
              from job_logs join (select distinct job_id, attempt from new) attempts using (job_id, attempt)
             group by job_id, attempt
        ), numbered as (
            select new.*, coalesce(stored.lines, 0)
                     + row_number() over (partition by new.job_id, new.attempt order by new.place) as number
              from new left join stored using (job_id, attempt)
        )
        insert into job_logs (job_id, attempt, level, message)
        select job_id, attempt,
               case when number > $5 then 'warn' else level end,
               case when number > $5 then 'more lines of this attempt were dropped' else message end
          from numbered
         where number <= $5 + 1
         order by place
        returning job_id, id
        "#,
        &lines.iter().map(|l| l.job.0).collect::<Vec<_>>(),
        &lines.iter().map(|l| l.attempt).collect::<Vec<_>>(),
        &lines.iter().map(|l| l.level.to_owned()).collect::<Vec<_>>(),
        &lines.iter().map(|l| l.message.clone()).collect::<Vec<_>>(),
        i64::try_from(PER_ATTEMPT).unwrap_or(i64::MAX),
    )
    .fetch_all(&database.pool)
    .await?;
    let mut newest = HashMap::new();
    for row in rows {
        let last = newest.entry(JobId(row.job_id)).or_insert(row.id);
        *last = row.id.max(*last);
    }
    Ok(newest)
}
