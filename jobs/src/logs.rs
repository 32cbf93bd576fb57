//! The log of a job: lines that its handler wrote, stored with it, capped.

use tokio::{sync::mpsc, task::JoinHandle};

use crate::{Database, JobId};

/// Lines that are kept of one attempt; what comes after is dropped and said once.
const PER_ATTEMPT: usize = 1000;
/// Bytes that are kept of one line.
const LINE: usize = 4096;

/// A line on its way to the ledger.
#[derive(Debug)]
struct Line {
    job: JobId,
    attempt: i32,
    level: &'static str,
    message: String,
}

/// Takes lines without making a handler wait, and writes them many at a time.
#[derive(Clone, Debug)]
pub(crate) struct LogSink(mpsc::Sender<Line>);

impl LogSink {
    /// Starts the task that writes; it ends when the last handle is dropped and all is written.
    pub(crate) fn start(database: Database) -> (Self, JoinHandle<()>) {
        let (sender, mut receiver) = mpsc::channel(4096);
        let sending = tokio::spawn(async move {
            let mut lines = Vec::new();
            while receiver.recv_many(&mut lines, 512).await > 0 {
                if let Err(error) = write(&database, &lines).await {
                    metrics::counter!("millrace_job_log_lines_lost_total").increment(lines.len() as u64);
                    tracing::warn!(%error, "job log lines were not stored");
                }
                lines.clear();
            }
        });
        (Self(sender), sending)
    }

    /// Hands a line over. A full queue drops it and counts it: a log never holds a job up.
    pub(crate) fn write(&self, job: JobId, attempt: i32, level: tracing::Level, mut message: String) {
        let mut end = LINE.min(message.len());
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.retain(|c| c != '\0');
        let level = match level {
            tracing::Level::ERROR => "error",
            tracing::Level::WARN => "warn",
            tracing::Level::INFO => "info",
            _ => "debug",
        };
        if self.0.try_send(Line { job, attempt, level, message }).is_err() {
            metrics::counter!("millrace_job_log_lines_lost_total").increment(1);
        }
    }
}

async fn write(database: &Database, lines: &[Line]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into job_logs (job_id, attempt, level, message)
         select l.job_id, l.attempt, l.level, l.message
           from unnest($1::uuid[], $2::integer[], $3::text[], $4::text[])
                as l(job_id, attempt, level, message)
          where (select count(*) from job_logs o where o.job_id = l.job_id and o.attempt = l.attempt) < $5",
        &lines.iter().map(|l| l.job.0).collect::<Vec<_>>(),
        &lines.iter().map(|l| l.attempt).collect::<Vec<_>>(),
        &lines.iter().map(|l| l.level.to_owned()).collect::<Vec<_>>(),
        &lines.iter().map(|l| l.message.clone()).collect::<Vec<_>>(),
        i64::try_from(PER_ATTEMPT).unwrap_or(i64::MAX),
    )
    .execute(&database.pool)
    .await?;
    Ok(())
}
