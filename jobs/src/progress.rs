//! Progress: reports of a running job to its watchers, coalesced so that a handler may report per row.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::border;
use crate::watch::{Counts, Event, Status, publish::Publisher};

/// At most ten events a second per job.
const INTERVAL: Duration = Duration::from_millis(100);
/// Length in seconds of the window of the rate.
const RATE_WINDOW: f64 = 5.0;

/// A handle on a running job's progress. Clones share it.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    event: Event,
    /// The transition before the first progress, until it is stored.
    first: Option<Event>,
    epoch: i64,
    n: i64,
    publisher: Publisher,
    changed: bool,
    last_sent: Option<Instant>,
    rate: Option<f64>,
    rate_from: (Instant, i64),
    bytes: Option<(u64, u64)>,
    floor: i32,
}

impl Progress {
    /// The progress of a job just claimed; `event` is its RUNNING transition, already published.
    pub(crate) fn new(event: Event, publisher: Publisher) -> Self {
        let epoch = Event::epoch_of(event.seq);
        Self(Arc::new(Mutex::new(State {
            epoch,
            n: 0,
            publisher,
            changed: false,
            last_sent: None,
            rate: None,
            rate_from: (Instant::now(), event.counts.done),
            bytes: None,
            floor: event.progress,
            first: Some(event.clone()),
            event,
        })))
    }

    /// Names the current step, in at most [`border::MAX_STEP_BYTES`]. Sent at once: watchers wait for
    /// steps.
    pub fn step(&self, name: &str) -> &Self {
        let name = border::text(name, border::MAX_STEP_BYTES);
        let mut state = self.lock();
        if state.event.current_step.as_deref() != Some(&name) {
            state.event.current_step = Some(name);
            state.send();
        }
        drop(state);
        self
    }

    /// A message for display, of at most [`border::MAX_MESSAGE_BYTES`], sent with the next event.
    pub fn message(&self, text: impl Into<String>) -> &Self {
        let text = border::message(text);
        let mut state = self.lock();
        state.event.message = Some(text);
        state.changed();
        drop(state);
        self
    }

    /// Number of items so far: those of the last checkpoint plus the current batch.
    pub fn counts(&self, done: i64, failed: i64, skipped: i64) -> &Self {
        let mut state = self.lock();
        let total = state.event.counts.total;
        state.event.counts = Counts { done, failed, skipped, total };
        state.changed();
        drop(state);
        self
    }

    /// Total number of items.
    pub fn of(&self, total: i64) -> &Self {
        let mut state = self.lock();
        state.event.counts.total = Some(total);
        state.changed();
        drop(state);
        self
    }

    /// Progress by bytes of the input; from then on the percentage is this share.
    pub fn bytes(&self, consumed: u64, size: u64) -> &Self {
        let mut state = self.lock();
        state.bytes = Some((consumed, size));
        state.changed();
        drop(state);
        self
    }

    /// Sends the changes, however recent the last event is.
    pub fn flush(&self) {
        let mut state = self.lock();
        if state.changed {
            state.send();
        }
    }

    /// The counts that a checkpoint has committed.
    pub(crate) fn committed(&self, counts: Counts) {
        self.counts(counts.done, counts.failed, counts.skipped);
    }

    /// The newest event, as a snapshot.
    pub(crate) fn current(&self) -> Event {
        self.lock().event.clone()
    }

    /// Whether nothing has been reported: the job's history has not begun with this run.
    pub(crate) fn is_silent(&self) -> bool {
        self.lock().first.is_some()
    }

    /// Sends the progress again, with a new number, so that a Redis that lost its data knows the job again. A job
    /// with an event within `lately` needs no repetition.
    pub(crate) fn repeat(&self, lately: Duration) {
        let mut state = self.lock();
        if state.n > 0 && state.last_sent.is_none_or(|at| at.elapsed() >= lately) {
            state.send();
        }
    }

    /// Continues under a new epoch: another process has made a transition of this job.
    pub(crate) fn advance(&self, epoch: i64, cancel_requested: bool) {
        let mut state = self.lock();
        if epoch > state.epoch {
            state.epoch = epoch;
            state.n = 0;
            state.event.prev = state.event.seq;
            state.event.seq = Event::seq_of(epoch, 0);
            state.event.cancel_requested = cancel_requested;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic happens while it is held, and a progress report is no reason to fail a job.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn changed(&mut self) {
        self.changed = true;
        if self.last_sent.is_none_or(|at| at.elapsed() >= INTERVAL) {
            self.send();
        }
    }

    fn send(&mut self) {
        self.derive();
        self.n += 1;
        self.event.status = Status::Running;
        self.event.prev = self.event.seq;
        self.event.seq = Event::seq_of(self.epoch, self.n);
        self.event.timestamp = crate::clock::now();
        if let Some(first) = self.first.take() {
            self.publisher.keep(first);
        }
        self.publisher.publish(self.event.clone());
        self.last_sent = Some(Instant::now());
        self.changed = false;
    }

    /// Derives percentage, rate and remaining time from the reports.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // shares and rates, for display
    fn derive(&mut self) {
        let counts = self.event.counts;
        let processed = counts.done + counts.failed + counts.skipped;
        let share = match (self.bytes, counts.total) {
            (Some((consumed, size)), _) if size > 0 => Some(consumed as f64 / size as f64),
            (None, Some(total)) if total > 0 => Some(processed as f64 / total as f64),
            _ => None,
        };
        if let Some(share) = share {
            // 100 is reported by the end, once it has committed.
            self.floor = self.floor.max((share * 100.0).clamp(0.0, 99.0) as i32);
        }
        self.event.progress = self.floor;

        let (since, from) = self.rate_from;
        let elapsed = since.elapsed().as_secs_f64();
        if elapsed >= 0.5 {
            let recent = (processed - from).max(0) as f64 / elapsed;
            let weight = (elapsed / RATE_WINDOW).min(1.0);
            let rate = self.rate.map_or(recent, |rate| rate + (recent - rate) * weight);
            self.rate = Some(rate);
            self.rate_from = (Instant::now(), processed);
            self.event.rate = Some((rate * 10.0).round() / 10.0);
        }
        if let (Some(share), Some(rate)) = (share, self.rate)
            && rate > 0.0
            && share > 0.0
        {
            let total = counts.total.map_or(processed as f64 / share, |total| total as f64);
            self.event.eta_seconds = Some(((total - processed as f64).max(0.0) / rate).ceil() as i64);
        }
    }
}
