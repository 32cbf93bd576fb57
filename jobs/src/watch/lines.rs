//! The growth of logs: one subscription of an API process notifies the watchers of jobs' logs.
//!
//! Only the notification is sent; the lines themselves are read from the ledger. Notifications that the
//! bus loses are found by one query about all watched logs within [`RECONCILE`].

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use tokio::sync::watch;

use crate::{Database, JobId};

/// Interval of the comparison of all watched logs with the ledger.
const RECONCILE: Duration = Duration::from_secs(2);

/// The watched logs of a process, each with its newest known line.
#[derive(Clone)]
pub(super) struct Lines(Arc<Mutex<HashMap<JobId, watch::Sender<i64>>>>);

/// A watch on one job's log. Dropping it ends the watch.
pub struct LogWatch {
    lines: Lines,
    job: JobId,
    newest: watch::Receiver<i64>,
}

impl LogWatch {
    /// Resolves when the log has grown since the last call. Several lines count once.
    pub async fn grown(&mut self) {
        if self.newest.changed().await.is_err() {
            // The sender lives as long as its watches.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for LogWatch {
    fn drop(&mut self) {
        let mut watched = self.lines.watched();
        // This one still counts.
        if watched.get(&self.job).is_some_and(|newest| newest.receiver_count() <= 1) {
            watched.remove(&self.job);
        }
    }
}

impl Lines {
    /// Starts listening and reconciling, for the life of the process.
    pub(super) fn start(database: Database) -> Self {
        let lines = Self(Arc::default());
        tokio::spawn(lines.clone().listen(database.clone()));
        tokio::spawn(lines.clone().reconcile(database));
        lines
    }

    pub(super) fn watch(&self, job: JobId) -> LogWatch {
        let newest = self.watched().entry(job).or_insert_with(|| watch::Sender::new(0)).subscribe();
        LogWatch { lines: self.clone(), job, newest }
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<JobId, watch::Sender<i64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn grow(&self, job: JobId, line: i64) {
        if let Some(newest) = self.watched().get(&job) {
            newest.send_if_modified(|newest| {
                let grown = line > *newest;
                *newest = line.max(*newest);
                grown
            });
        }
    }

    async fn listen(self, database: Database) {
        loop {
            if let Ok(mut messages) = database.bus.messages(database.bus.log_channels()).await {
                while let Some(message) = messages.next().await {
                    if let Ok(text) = message.get_payload::<String>()
                        && let Some((job, line)) = text.split_once(' ')
                        && let (Ok(job), Ok(line)) = (job.parse(), line.parse())
                    {
                        self.grow(JobId(job), line);
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn reconcile(self, database: Database) {
        let mut ticks = tokio::time::interval(RECONCILE);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let ids: Vec<_> = self.watched().keys().map(|job| job.0).collect();
            if ids.is_empty() {
                continue;
            }
            let newest = sqlx::query!(
                r#"select w.job_id as "job_id!", l.id as "id!"
                     from unnest($1::uuid[]) as w(job_id)
                     cross join lateral (select id from job_logs where job_id = w.job_id
                                          order by id desc limit 1) l"#,
                &ids,
            )
            .fetch_all(&database.pool)
            .await;
            match newest {
                Ok(rows) => rows.into_iter().for_each(|row| self.grow(JobId(row.job_id), row.id)),
                Err(error) => tracing::warn!(%error, "could not compare the watched logs with the ledger"),
            }
        }
    }
}
