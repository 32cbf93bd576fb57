//! The running jobs of a worker: renewal of their leases, requests to stop or to hand back.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use serde_json::Value;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::{
    Database, JobId,
    ledger::{self, Request},
    outage::is_refusal,
    progress::Progress,
    roster::{self, Asked, State},
};

/// Interval of the ledger's check for requests that the bus did not deliver.
const CANCEL_CHECK: Duration = Duration::from_secs(1);
/// Maximum time for a handler to stop by itself.
const CANCEL_GRACE: Duration = Duration::from_secs(2);

/// The reason why a handler's task was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aborted {
    /// It did not stop by itself after a cancel request.
    Cancelled,
    /// The worker is stopping, and the grace period has passed.
    Leaving,
}

pub(crate) struct RunningJob {
    pub fence: i64,
    /// None for a job in a process of its own, which reports its progress itself.
    pub progress: Option<Progress>,
    pub cancel: CancellationToken,
    pub hand_back: CancellationToken,
    /// None before its handler has started, and once it has returned.
    pub task: Option<AbortHandle>,
    pub aborted: Option<Aborted>,
}

impl RunningJob {
    /// A job whose handler isn't running.
    fn idle(fence: i64) -> Self {
        Self {
            fence,
            progress: None,
            cancel: CancellationToken::new(),
            hand_back: CancellationToken::new(),
            task: None,
            aborted: None,
        }
    }
}

/// The running jobs, by id.
#[derive(Default)]
pub(crate) struct RunningJobs(Mutex<HashMap<JobId, RunningJob>>);

impl RunningJobs {
    pub(crate) fn insert(&self, id: JobId, job: RunningJob) {
        self.lock().insert(id, job);
    }

    /// Keeps the lease of a job that has just been claimed.
    pub(crate) fn claimed(&self, id: JobId, fence: i64) {
        self.insert(id, RunningJob::idle(fence));
    }

    /// Continues to keep the lease of a job whose handler has returned, until its end is written; answers the reason
    /// of an abort of the handler's task, if there was one.
    pub(crate) fn returned(&self, id: JobId) -> Option<Aborted> {
        let mut jobs = self.lock();
        let job = jobs.get_mut(&id)?;
        let fence = job.fence;
        std::mem::replace(job, RunningJob::idle(fence)).aborted
    }

    /// Removes a job, once its end is written.
    pub(crate) fn remove(&self, id: JobId) {
        self.lock().remove(&id);
    }

    /// Signals a job to stop, and aborts it if it doesn't within the grace period.
    pub(crate) fn cancel(self: &RunningJobs, shared: &Arc<Shared>, id: JobId, epoch: i64) {
        let mut jobs = self.lock();
        let asked = jobs.get_mut(&id).filter(|job| !job.cancel.is_cancelled()).and_then(|job| {
            let task = job.task.clone()?;
            if let Some(progress) = &job.progress {
                progress.advance(epoch, true);
            }
            job.cancel.cancel();
            // A process of its own has received it too, and ends the job by itself unless it hangs.
            let grace = if job.progress.is_some() { CANCEL_GRACE } else { 2 * CANCEL_GRACE };
            Some((task, grace))
        });
        drop(jobs);
        let Some((task, grace)) = asked else { return };
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            if let Some(job) = shared.running.lock().get_mut(&id).filter(|job| job.task.is_some()) {
                job.aborted = Some(Aborted::Cancelled);
                task.abort();
            }
        });
    }

    /// Signals a job to hand back at its next checkpoint.
    pub(crate) fn hand_back(&self, id: JobId) {
        if let Some(job) = self.lock().get(&id) {
            job.hand_back.cancel();
        }
    }

    /// Aborts every handler; their jobs return to waiting.
    pub(crate) fn abort_all(&self) {
        for job in self.lock().values_mut() {
            if let Some(task) = &job.task {
                job.aborted.get_or_insert(Aborted::Leaving);
                task.abort();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, RunningJob>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Renews all leases, every third of a lease, and stores each job's progress with it. Progress that
/// Redis may have lost is sent again. The answer has the operator's command to the worker; a notification on the
/// bus triggers the next renewal. Without `heartbeat`, nothing is recorded of the
/// worker itself: that is done by another process.
pub(crate) async fn keep_leases(shared: Arc<Shared>, heartbeat: bool, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(shared.registration.lease / 3);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shared.look.notified() => {}
            () = stop.cancelled() => return,
        }
        let jobs: Vec<_> = shared
            .running
            .lock()
            .iter()
            .map(|(id, job)| {
                let progress = job.progress.as_ref().and_then(|progress| {
                    progress.repeat(shared.registration.lease / 3);
                    serde_json::to_value(progress.current()).ok()
                });
                (*id, job.fence, progress)
            })
            .collect();
        let state = heartbeat.then(|| *shared.state.borrow());
        match renew(&shared, state, jobs).await {
            Ok(asked) => shared.hear(asked),
            Err(error) => {
                metrics::counter!("millrace_lease_renewals_failed_total").increment(1);
                tracing::warn!(%error, "could not renew leases; trying again");
            }
        }
    }
}

/// Renews leases with the jobs' progress, and without it if the ledger refuses that: one job's message
/// must not cost the others their leases.
async fn renew(
    shared: &Shared,
    state: Option<State>,
    jobs: Vec<(JobId, i64, Option<Value>)>,
) -> Result<Option<Asked>, sqlx::Error> {
    let (pool, worker) = (&shared.database.pool, &shared.registration);
    match ledger::renew(pool, worker, state, &jobs).await {
        Err(error) if is_refusal(&error) => {
            tracing::error!(%error, "the ledger refuses a job's progress; renewing leases without any");
            let bare: Vec<_> = jobs.into_iter().map(|(id, fence, _)| (id, fence, None)).collect();
            ledger::renew(pool, worker, state, &bare).await
        }
        answer => answer,
    }
}

/// Handles requests: at once by the bus, and within a second without it.
pub(crate) async fn watch_for_cancels(shared: Arc<Shared>, stop: CancellationToken) {
    let listener = tokio::spawn(listen(Arc::clone(&shared), shared.database.clone()));
    let mut ticks = tokio::time::interval(CANCEL_CHECK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => break,
        }
        if shared.running.lock().is_empty() {
            continue;
        }
        match ledger::requests(&shared.database.pool, shared.id).await {
            Ok(requests) => {
                for (id, request) in requests {
                    match request {
                        Request::Cancel { epoch } => shared.running.cancel(&shared, id, epoch),
                        Request::HandBack => shared.running.hand_back(id),
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "could not read the requests"),
        }
    }
    listener.abort();
}

async fn listen(shared: Arc<Shared>, database: Database) {
    loop {
        if let Ok(mut messages) = database.bus.messages(database.bus.control_channel()).await {
            while let Some(message) = messages.next().await {
                let Ok(text) = message.get_payload::<String>() else {
                    continue;
                };
                if roster::is_look(&text, shared.id) {
                    shared.look.notify_one();
                    continue;
                }
                let Some((id, asked)) = text.split_once(' ') else {
                    continue;
                };
                match (id.parse(), asked.parse()) {
                    (Ok(id), Ok(epoch)) => shared.running.cancel(&shared, JobId(id), epoch),
                    (Ok(id), Err(_)) if asked == "hand-back" => shared.running.hand_back(JobId(id)),
                    _ => {}
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
