//! One job's life in a worker: claim, run, end.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::{
    Shared, isolated,
    running::{Aborted, RunningJob},
};
use crate::{
    Answer, JobContext, JobError, JobId, MAX_RETRY_AFTER, Origin, Outcome, border, control,
    handler::Entry,
    ledger::{Claimed, Ended, Returned},
    logs::JobLog,
    outage::is_refusal,
    progress::Progress,
    trace,
    watch::{Counts, Event, Status, event::Of, snapshot},
};

/// Delay before a job of a newer release is offered to a worker again, perhaps a newer one.
const NEWER_RELEASE_WAIT: Duration = Duration::from_secs(5);

/// The code of a job whose last attempt failed.
pub(super) const EXHAUSTED: &str = "attempts_exhausted";

/// The way in which a claimed job leaves this worker.
pub(super) enum Verdict {
    Done(Value),
    Failed {
        code: String,
        message: String,
    },
    Cancelled,
    Again {
        delay: Duration,
        reason: Reason,
    },
    /// Another worker holds it, or nothing is to be written: leave the ledger unchanged.
    Leave,
}

/// The reason why a job returns to waiting.
pub(super) enum Reason {
    /// It requested that, or was given back.
    Own,
    /// The attempt failed; the message for watchers.
    Failure(String),
    /// A service that it needs is unreachable, which counts as no attempt; the message for watchers.
    Away(String),
}

impl Verdict {
    /// Back to waiting, without a failure.
    pub(super) fn again(delay: Duration) -> Self {
        Self::Again { delay, reason: Reason::Own }
    }

    /// The same, in a form that the ledger can store and watchers can take.
    fn cleaned(self) -> Self {
        match self {
            Self::Done(result) => border::result(result).map_or_else(
                |error| Self::Failed {
                    code: border::RESULT_TOO_LARGE.to_owned(),
                    message: error.to_string(),
                },
                Self::Done,
            ),
            Self::Failed { code, message } => Self::Failed {
                code: border::text(code, border::MAX_CODE_BYTES),
                message: border::message(message),
            },
            Self::Again { delay, reason } => {
                let reason = match reason {
                    Reason::Own => Reason::Own,
                    Reason::Failure(message) => Reason::Failure(border::message(message)),
                    Reason::Away(message) => Reason::Away(border::message(message)),
                };
                Self::Again { delay, reason }
            }
            Self::Cancelled | Self::Leave => self,
        }
    }
}

/// Runs the job, if it can be claimed. The slot is free again when this returns.
pub(crate) async fn run(shared: Arc<Shared>, id: JobId, slot: OwnedSemaphorePermit) {
    let mut job = match shared.claims.call(id.0).await {
        Ok(Some(job)) => job,
        // Another worker has it, or it is no longer due: the delivery was an old one.
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(job = %id, %error, "could not claim; the job is delivered again");
            return;
        }
    };
    shared.running.claimed(id, job.fence);
    shared.throughput.started(&job);
    let traceparent = job.origin.as_ref().and_then(|origin| origin.traceparent);
    trace::waited(traceparent, &job.kind, job.run_at, crate::clock::now());
    let started = tokio::time::Instant::now();
    let outcome = match (&shared.isolation, shared.registry.entry(&job.kind)) {
        (Some(isolation), Some(entry)) if job.isolate && job.version <= entry.version => {
            // Boxed, as everything rare and large here: each job of a full worker holds a future of this size.
            Box::pin(isolated::run(&shared, isolation, entry, &job)).await
        }
        _ => carry_out(&shared, &mut job).await,
    };
    shared.running.remove(id);
    shared.throughput.ended(&job, outcome, started.elapsed());
    drop(slot);
}

/// Runs a claimed job in this process, to its end or back into the queue; answers the outcome.
/// The payload is moved to the handler.
pub(super) async fn carry_out(shared: &Arc<Shared>, job: &mut Claimed) -> &'static str {
    let payload = job.payload.take();
    let job = &*job;
    let event = beginning(shared, job).await;
    let progress = Progress::new(event.clone(), shared.publisher.clone());
    tell(shared, job, &progress, event);
    let log = shared.logs.of(job.id, job.attempt);

    let verdict = match shared.registry.entry(&job.kind) {
        Some(entry) if job.version <= entry.version => {
            attempt(shared, entry, job, payload, progress.clone(), &log).await
        }
        // A newer release has enqueued it; this one can't judge it.
        Some(_) | None => Verdict::again(NEWER_RELEASE_WAIT),
    };
    settle(shared, job, &progress, &log, verdict).await
}

/// Publishes a transition of a claimed job.
fn tell(shared: &Shared, job: &Claimed, progress: &Progress, event: Event) {
    if job.fence == 1 && progress.is_silent() {
        shared.publisher.publish_first(event);
    } else {
        shared.publisher.publish(event);
    }
}

/// The event of the claim.
pub(super) async fn beginning(shared: &Shared, job: &Claimed) -> Event {
    let mut event = Event::transition(job.id, Status::Running, job.epoch, crate::clock::now())
        .carrying_on(progress_before(shared, job).await);
    event.attempt = job.attempt;
    event.of = Some(Box::new(Of { workspace: job.workspace, kind: job.kind.clone() }));
    event
}

/// The job's progress under its last holder: from the ledger, or the newest on the bus, so
/// that the percentage doesn't decrease.
async fn progress_before(shared: &Shared, job: &Claimed) -> Option<Event> {
    if job.fence == 1 {
        return None;
    }
    let kept = job.progress.clone().and_then(|progress| serde_json::from_value::<Event>(progress).ok());
    let seen = snapshot::newest(&shared.database.bus, job.id).await;
    kept.into_iter().chain(seen).max_by_key(|event| event.seq)
}

/// Runs the handler as a task, so that a panic stays its own and an abort ends it at once.
async fn attempt(
    shared: &Arc<Shared>,
    entry: &Entry,
    job: &Claimed,
    payload: Value,
    progress: Progress,
    log: &JobLog,
) -> Verdict {
    let Some(origin) = &job.origin else {
        let message = "the record of its origin is damaged".to_owned();
        return Verdict::Failed { code: "origin_unreadable".to_owned(), message };
    };
    let payload = match entry.read(&shared.database.keys, job, payload) {
        Ok(payload) => payload,
        Err(error) if error.may_pass() => {
            tracing::error!(job = %job.id, kind = entry.name, %error, "this worker can't read a job");
            return failed(entry, job, error.code(), "its secrets can't be read at present".into());
        }
        Err(error) => {
            return Verdict::Failed { code: error.code().to_owned(), message: error.to_string() };
        }
    };
    let cancel = CancellationToken::new();
    let hand_back = if entry.checkpoints { shared.hand_back.child_token() } else { CancellationToken::new() };
    let span = tracing::info_span!(
        "job", id = %job.id, kind = entry.name, attempt = job.attempt, request = origin.request_id,
        trace = origin.traceparent.map(|parent| parent.trace_id()), otel.kind = "consumer"
    );
    let traceparent = trace::follow(&span, origin.traceparent);
    trace::rename(&span, entry.name.to_owned());
    log.attach(&span);
    let context = JobContext {
        job_id: job.id,
        workspace: job.workspace,
        attempt: job.attempt,
        origin: Origin { traceparent, ..origin.of_run(job.id) },
        fence: job.fence,
        database: shared.database.clone(),
        progress: progress.clone(),
        log: log.clone(),
        cancel: cancel.clone(),
        hand_back: hand_back.clone(),
    };
    let handler = tokio::time::timeout(entry.timeout, (entry.run)(payload, context));
    let task = tokio::spawn(Box::pin(tracing::Instrument::instrument(handler, span.clone())));
    shared.running.insert(
        job.id,
        RunningJob {
            fence: job.fence,
            progress: Some(progress),
            cancel: cancel.clone(),
            hand_back,
            task: Some(task.abort_handle()),
            aborted: None,
        },
    );
    let joined = task.await;
    let aborted = shared.running.returned(job.id);
    let verdict = match joined {
        Ok(Ok(answer)) => judge(entry, job, answer),
        Ok(Err(_)) => {
            failed(entry, job, EXHAUSTED, format!("took longer than {} s", entry.timeout.as_secs()))
        }
        Err(_) if aborted == Some(Aborted::Cancelled) => Verdict::Cancelled,
        Err(_) if aborted == Some(Aborted::Leaving) => Verdict::again(Duration::ZERO),
        Err(error) => {
            tracing::error!(job = %job.id, %error, "the handler panicked");
            failed(entry, job, EXHAUSTED, "the handler panicked".into())
        }
    };
    let verdict = verdict.cleaned();
    if let Verdict::Failed { message, .. } | Verdict::Again { reason: Reason::Failure(message), .. } =
        &verdict
    {
        trace::fail(&span, message.clone());
    }
    verdict
}

fn judge(entry: &Entry, job: &Claimed, answer: Answer) -> Verdict {
    match answer {
        Ok(Outcome::Done(result)) => Verdict::Done(result),
        Ok(Outcome::Snooze(delay)) => Verdict::again(delay),
        Ok(Outcome::HandBack) => Verdict::again(Duration::ZERO),
        Ok(Outcome::Fail { code, message }) => Verdict::Failed { code, message },
        Ok(Outcome::Cancelled) => Verdict::Cancelled,
        Err(JobError::Fenced) => Verdict::Leave,
        Err(JobError::Final { code, message }) => Verdict::Failed { code: code.to_owned(), message },
        Err(error) => {
            if let Some(message) = error.away() {
                tracing::warn!(job = %job.id, kind = entry.name, %error, "a service that a job needs is unreachable; not its failure");
                return Verdict::Again { delay: entry.away(), reason: Reason::Away(message) };
            }
            tracing::warn!(job = %job.id, kind = entry.name, attempt = job.attempt, %error, "attempt failed");
            let verdict = failed(entry, job, EXHAUSTED, error.told());
            match (verdict, error) {
                (Verdict::Again { delay, reason }, JobError::RetryAfter { wait, .. }) => {
                    Verdict::Again { delay: delay.max(wait.min(MAX_RETRY_AFTER)), reason }
                }
                (verdict, _) => verdict,
            }
        }
    }
}

/// A failed attempt: the job waits for its backoff, or ends under that code if it was the last.
pub(super) fn failed(entry: &Entry, job: &Claimed, code: &str, message: String) -> Verdict {
    if job.attempt >= job.max_attempts {
        return Verdict::Failed { code: code.to_owned(), message };
    }
    Verdict::Again { delay: entry.backoff(job.attempt), reason: Reason::Failure(message) }
}

/// Writes the verdict to the ledger, however long the database is unreachable, then notifies the watchers.
pub(super) async fn settle(
    shared: &Shared,
    job: &Claimed,
    progress: &Progress,
    log: &JobLog,
    verdict: Verdict,
) -> &'static str {
    let verdict = verdict.cleaned();
    match &verdict {
        Verdict::Failed { message, .. } => log.write(tracing::Level::ERROR, message),
        Verdict::Again { reason: Reason::Failure(message) | Reason::Away(message), .. } => {
            log.write(tracing::Level::WARN, message);
        }
        _ => {}
    }
    log.flush().await;
    let mut last = progress.current();
    let waits = if let Verdict::Again { reason: Reason::Away(message), .. } = &verdict {
        last.message = Some(format!("Waiting: {message}."));
        true
    } else {
        false
    };
    let kept = if last.is_bare() && !waits { None } else { serde_json::to_value(&last).ok() };
    match verdict {
        Verdict::Leave => "fenced",
        Verdict::Done(result) => {
            let ended = Ended { result: Some(result), ..ended(job, "completed", kept) };
            end(shared, job, progress, last, ended).await
        }
        Verdict::Failed { code, message } => {
            let error = json!({ "code": code, "message": message, "attempt": job.attempt });
            let ended = Ended { error: Some(error), ..ended(job, "failed", kept) };
            end(shared, job, progress, last, ended).await
        }
        Verdict::Cancelled => end(shared, job, progress, last, ended(job, "cancelled", kept)).await,
        Verdict::Again { delay, reason } => Box::pin(put_back(shared, job, last, kept, delay, reason)).await,
    }
}

fn ended(job: &Claimed, state: &'static str, progress: Option<Value>) -> Ended {
    Ended { id: job.id, fence: job.fence, state, progress, result: None, error: None }
}

async fn end(shared: &Shared, job: &Claimed, progress: &Progress, last: Event, ended: Ended) -> &'static str {
    let mut ended = Arc::new(ended);
    let end = match persist(job.id, true, || shared.ends.call(Arc::clone(&ended))).await {
        Ok(end) => end,
        Err(refused) => {
            tracing::error!(job = %job.id, kind = job.kind, error = %refused, "the ledger refuses a job's end");
            ended = Arc::new(refused_end(job, &ended));
            persist(job.id, false, || shared.ends.call(Arc::clone(&ended))).await.unwrap_or_default()
        }
    };
    let Some(end) = end else { return "fenced" };
    let state = ended.state;
    let Ended { result, error, .. } = Arc::unwrap_or_clone(ended);
    let status = match state {
        "completed" => Status::Completed,
        "failed" => Status::Failed,
        _ => Status::Cancelled,
    };
    let told = |member| Some(error.as_ref()?.get(member)?.as_str()?.to_owned());
    let mut event = Event {
        status,
        seq: Event::seq_of(end.epoch, 0),
        prev: last.seq,
        timestamp: crate::clock::now(),
        result,
        error_code: told("code"),
        error_message: told("message"),
        eta_seconds: None,
        cancel_requested: false,
        ..last
    };
    if let Some((done, failed, skipped)) = end.checkpoint {
        event.counts = Counts { done, failed, skipped, total: event.counts.total };
    }
    if status == Status::Completed {
        event.progress = 100;
    }
    tell(shared, job, progress, event);
    state
}

/// The end of a job whose own end the ledger refuses to store: without anything from the job.
fn refused_end(job: &Claimed, refused: &Ended) -> Ended {
    if refused.state == "cancelled" {
        return ended(job, "cancelled", None);
    }
    let message = "the ledger refuses to store the job's result";
    let error = json!({ "code": border::NOT_STORABLE, "message": message, "attempt": job.attempt });
    Ended { error: Some(error), ..ended(job, "failed", None) }
}

async fn put_back(
    shared: &Shared,
    job: &Claimed,
    last: Event,
    progress: Option<Value>,
    delay: Duration,
    reason: Reason,
) -> &'static str {
    let error = match &reason {
        Reason::Failure(message) => {
            Some(json!({ "code": "attempt_failed", "message": message, "attempt": job.attempt }))
        }
        Reason::Own | Reason::Away(_) => None,
    };
    let retried = error.is_some();
    let returned = Returned { id: job.id, fence: job.fence, delay, counts: retried, progress, error };
    let epoch = match persist(job.id, true, || shared.returns.call(returned.clone())).await {
        Ok(epoch) => epoch,
        Err(refused) => {
            tracing::error!(job = %job.id, kind = job.kind, error = %refused, "the ledger refuses a job's message");
            let bare = Returned { progress: None, error: None, ..returned };
            persist(job.id, false, || shared.returns.call(bare.clone())).await.unwrap_or_default()
        }
    };
    let Some(epoch) = epoch else { return "fenced" };
    shared.publisher.publish(Event {
        status: if delay.is_zero() { Status::Queued } else { Status::Pending },
        seq: Event::seq_of(epoch, 0),
        prev: last.seq,
        timestamp: crate::clock::now(),
        eta_seconds: None,
        rate: None,
        message: match reason {
            Reason::Own => None,
            Reason::Failure(reason) => Some(format!("Attempt {} failed: {reason}. Retrying.", job.attempt)),
            Reason::Away(_) => last.message.clone(),
        },
        ..last
    });
    match control::end_if_asked(&shared.database, job.id).await {
        Ok(true) => return "cancelled",
        Ok(false) => {}
        Err(error) => tracing::warn!(job = %job.id, %error, "could not check for a cancel request"),
    }
    if delay.is_zero() {
        shared.database.bus.wake(None);
    }
    if retried { "retried" } else { "returned" }
}

/// Writes until the ledger has accepted it: the work is done, and only its record is missing. While it
/// tries, the lease is renewed as far as the database allows; if another holder has taken over
/// meanwhile, the answer is `None` and that holder decides.
///
/// # Errors
/// If it `may_be_refused`, and the ledger refuses the data: writing it again would not help.
async fn persist<T, F, Fut>(id: JobId, may_be_refused: bool, write: F) -> Result<Option<T>, Arc<sqlx::Error>>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<Option<T>, Arc<sqlx::Error>>>,
{
    let mut wait = Duration::from_millis(100);
    loop {
        match write().await {
            Ok(answer) => return Ok(answer),
            Err(error) if may_be_refused && is_refusal(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(job = %id, %error, "could not write a job's end; trying again");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(2));
            }
        }
    }
}
