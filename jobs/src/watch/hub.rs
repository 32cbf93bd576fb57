//! The hub of an API process: one subscription to the bus, fanned out in memory to all watchers.
//!
//! A watcher costs no Redis connection and no database connection, and the cost of an event is that of the
//! watchers of its job. Events that the bus loses are found by a comparison of all watched jobs with the ledger
//! within [`RECONCILE`] and [`IN_FLIGHT`].

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, StreamExt, stream};
use sqlx::PgConnection;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use uuid::Uuid;

use super::{
    Event,
    feed::{FeedWatch, Feeds, Told},
    lines::{Lines, LogWatch},
    snapshot::{self, Snapshot},
};
use crate::{Database, JobId, coalesce::Coalescer};

/// Interval of the comparison of the watched jobs with the ledger, in one query.
const RECONCILE: Duration = Duration::from_secs(2);
/// Time for which an event of a transition in the ledger may still be on its way over the bus. The ledger is
/// ahead of the bus with each commit; replacing the events on their way by its state would leave them out.
pub const IN_FLIGHT: Duration = Duration::from_millis(500);
/// Maximum number of histories that are read concurrently.
const FILLING: usize = 256;
/// Maximum number of events that wait for one watcher. One that falls further behind has to catch up by itself.
const BACKLOG: usize = 32;
/// Events of one job that are kept while a hole before them is filled. Of more, the oldest are given up: where they were
/// is another hole.
const MAX_HELD: usize = 256;
/// Jobs whose newest event is remembered after the last watcher has gone, so that a poll never
/// answers less than the one before.
const REMEMBERED: usize = 4096;

/// A cheap handle on the process's hub.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    database: Database,
    /// Reads jobs from the ledger; all clients that return after an outage do so at the same time.
    ledger: Coalescer<JobId, Option<Snapshot>>,
    watched: Mutex<HashMap<JobId, Watched>>,
    recent: Mutex<HashMap<JobId, Arc<Event>>>,
    closing: CancellationToken,
    lines: Lines,
    feeds: Feeds,
}

#[derive(Default)]
struct Watched {
    /// The number of the newest event that was passed on.
    last: i64,
    /// The newest event that a watcher here has received, live or as a snapshot.
    newest: Option<Arc<Event>>,
    next_watcher: u64,
    watchers: HashMap<u64, mpsc::Sender<Arc<Event>>>,
    filling: bool,
    /// Events that arrived while a hole was being filled, by number.
    held: VecDeque<Event>,
}

/// The live events of one job, for one watcher. Dropping it ends the watch.
pub struct Subscription {
    hub: Hub,
    job: JobId,
    watcher: u64,
    events: mpsc::Receiver<Arc<Event>>,
}

impl Subscription {
    /// The next event; `None` when this watcher has fallen behind and must catch up from the history.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        self.events.recv().await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut watched = self.hub.watched();
        if let Some(job) = watched.get_mut(&self.job) {
            job.watchers.remove(&self.watcher);
            if job.watchers.is_empty() {
                watched.remove(&self.job);
            }
        }
    }
}

impl Hub {
    /// Starts listening and reconciling, for the life of the process.
    #[must_use]
    pub fn start(database: Database) -> Self {
        let ledger = Coalescer::start(database.pool.clone(), |conn, jobs: &[JobId]| read(conn, jobs).boxed());
        let lines = Lines::start(database.clone());
        let feeds = Feeds::start(database.clone());
        let hub = Self(Arc::new(Inner {
            database,
            ledger,
            watched: Mutex::default(),
            recent: Mutex::default(),
            closing: CancellationToken::new(),
            lines,
            feeds,
        }));
        tokio::spawn(hub.clone().listen());
        tokio::spawn(hub.clone().reconcile());
        hub
    }

    /// Dismisses all watchers, since this process is stopping: they reconnect elsewhere.
    pub fn close(&self) {
        self.0.closing.cancel();
    }

    /// Resolves when watchers are dismissed.
    pub fn closing(&self) -> WaitForCancellationFuture<'_> {
        self.0.closing.cancelled()
    }

    /// Cancelled when watchers are dismissed.
    #[must_use]
    pub fn until_closing(&self) -> CancellationToken {
        self.0.closing.child_token()
    }

    /// Watches a job from now on. For earlier events, see [`Hub::snapshot`] and [`Hub::history`];
    /// call those after this, so that no event is missed.
    #[must_use]
    pub fn watch(&self, job: JobId) -> Subscription {
        let (sender, events) = mpsc::channel(BACKLOG);
        let mut watched = self.watched();
        let entry = watched.entry(job).or_default();
        entry.next_watcher += 1;
        let watcher = entry.next_watcher;
        entry.watchers.insert(watcher, sender);
        drop(watched);
        Subscription { hub: self.clone(), job, watcher, events }
    }

    /// Watches a job's log from now on. For existing lines, see [`crate::control::logs`]; call that
    /// after this, so that no line is missed.
    #[must_use]
    pub fn watch_log(&self, job: JobId) -> LogWatch {
        self.0.lines.watch(job)
    }

    /// Watches all jobs of a workspace from now on. For its unfinished jobs, see [`Hub::live`]; call that
    /// after this, so that no event is missed.
    #[must_use]
    pub fn watch_workspace(&self, workspace: Uuid) -> FeedWatch {
        self.0.feeds.watch(workspace)
    }

    /// The newest unfinished jobs of a workspace, oldest first.
    pub async fn live(&self, workspace: Uuid) -> Result<Vec<Arc<Told>>, sqlx::Error> {
        let mut conn = self.0.database.pool.acquire().await?;
        self.0.feeds.live(&mut conn, workspace).await
    }

    /// Number of watched jobs, and of their watchers.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let watched = self.watched();
        (watched.len(), watched.values().map(|job| job.watchers.len()).sum())
    }

    /// The present state of the job: the newest that the ledger, Redis and this process know.
    pub async fn snapshot(&self, job: JobId) -> Result<Option<Snapshot>, sqlx::Error> {
        let Some(mut snapshot) = self.0.ledger.call(job).await.map_err(|error| told(&error))? else {
            return Ok(None);
        };
        if !snapshot.event.status.is_terminal()
            && let Some(event) = snapshot::newest(&self.0.database.bus, job).await
        {
            snapshot.take(&event);
        }
        let mut recent = self.0.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(event) = recent.get(&job) {
            snapshot.take(event);
        }
        if recent.len() >= REMEMBERED {
            recent.clear();
        }
        let event = Arc::new(snapshot.event.clone());
        recent.insert(job, Arc::clone(&event));
        drop(recent);
        if let Some(job) = self.watched().get_mut(&job) {
            job.note(event);
        }
        Ok(Some(snapshot))
    }

    /// The kept events after `after`, oldest first, and whether they follow it without a gap.
    pub async fn history(&self, job: JobId, after: i64) -> (Vec<Event>, bool) {
        snapshot::history(&self.0.database.bus, job, after).await
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<JobId, Watched>> {
        self.0.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives all live events of the installation, and passes on those of watched jobs.
    async fn listen(self) {
        loop {
            if let Ok(mut messages) = self.0.database.bus.messages(self.0.database.bus.event_channels()).await
            {
                // Messages before this subscription were not received.
                self.0.feeds.lost();
                while let Some(message) = messages.next().await {
                    let has_feeds = !self.0.feeds.is_empty();
                    // Most events have no watcher here: read the id before parsing the rest.
                    for line in message.get_payload_bytes().split(|byte| *byte == b'\n') {
                        if let Some(job) = job_of(line)
                            && (has_feeds || self.watched().contains_key(&job))
                            && let Ok(event) = serde_json::from_slice::<Event>(line)
                        {
                            if has_feeds {
                                self.feed(&event);
                            }
                            self.deliver(event);
                        }
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Sends the event to the watchers of the job's workspace.
    fn feed(&self, event: &Event) {
        if let Some(of) = &event.of {
            if let Some(workspace) = of.workspace {
                self.0.feeds.tell(workspace, &of.kind.as_str().into(), event);
            }
            return;
        }
        // Events of users' actions and of the scheduler don't include the workspace; the ledger does.
        let (hub, event) = (self.clone(), event.clone());
        tokio::spawn(async move {
            match hub.0.ledger.call(event.job_id).await {
                Ok(Some(Snapshot { workspace: Some(workspace), kind, .. })) => {
                    hub.0.feeds.tell(workspace, &kind.into(), &event);
                }
                Ok(_) => {}
                // The next check of the ledger sends it.
                Err(error) => tracing::warn!(%error, "could not find the workspace of an event"),
            }
        });
    }

    /// Passes an event on, unless it is old; a gap before it is filled from the history first.
    fn deliver(&self, event: Event) {
        let mut watched = self.watched();
        let Some(job) = watched.get_mut(&event.job_id) else {
            return;
        };
        if event.seq <= job.last {
            return;
        }
        job.hold(event);
        if !job.filling {
            self.send_held(job);
        }
    }

    /// Sends the kept events of a job, and begins to fill its next hole.
    fn send_held(&self, job: &mut Watched) {
        let hole = job.send_held();
        job.filling = hole.is_some();
        if let Some(event) = hole {
            let (hub, id, after) = (self.clone(), event.job_id, job.last);
            tokio::spawn(async move { hub.fill(id, after, event).await });
        }
    }

    /// Sends the events of the history after `after`, then the event that revealed the gap.
    async fn fill(&self, id: JobId, after: i64, event: Event) {
        let (events, _) = self.history(id, after).await;
        self.filled(id, events, |_| event);
    }

    /// Sends the watchers of a job the missing events, then the event derived from what they have, and events
    /// that arrived meanwhile.
    fn filled(&self, id: JobId, events: Vec<Event>, then: impl FnOnce(&Watched) -> Event) {
        let mut watched = self.watched();
        let Some(job) = watched.get_mut(&id) else { return };
        for event in events {
            job.send(event);
        }
        let event = then(job);
        job.send(event);
        self.send_held(job);
    }

    /// Compares all watched jobs with the ledger, and sends missed events.
    async fn reconcile(self) {
        let mut ticks = tokio::time::interval(RECONCILE);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let ids: Vec<_> = self.watched().keys().map(|id| id.0).collect();
            if ids.is_empty() {
                continue;
            }
            match snapshot::readable(&self.0.database, &ids).await {
                Ok(mut snapshots) => {
                    snapshots.retain(|snapshot| self.lags_behind(snapshot));
                    if !snapshots.is_empty() {
                        tokio::time::sleep(IN_FLIGHT).await;
                        let is_silent = AtomicBool::new(false);
                        let missed =
                            snapshots.into_iter().map(|snapshot| self.catch_up(snapshot, &is_silent));
                        stream::iter(missed).for_each_concurrent(FILLING, |done| done).await;
                    }
                }
                Err(error) => tracing::warn!(%error, "could not compare the watched jobs with the ledger"),
            }
        }
    }

    /// Whether the ledger has a transition that the job's watchers have not been sent.
    fn lags_behind(&self, ledger: &Snapshot) -> bool {
        let watched = self.watched();
        let job = watched.get(&ledger.event.job_id).filter(|job| !job.filling);
        job.is_some_and(|job| Event::epoch_of(ledger.event.seq) > Event::epoch_of(job.last))
    }

    /// Sends the watchers of a job that lags behind the ledger the events of its history, and then the ledger's
    /// state. Of many jobs, only the first wait for a Redis that does not answer.
    async fn catch_up(&self, mut ledger: Snapshot, is_silent: &AtomicBool) {
        let id = ledger.event.job_id;
        let after = {
            let mut watched = self.watched();
            let Some(job) = watched.get_mut(&id).filter(|job| !job.filling) else { return };
            if Event::epoch_of(ledger.event.seq) <= Event::epoch_of(job.last) {
                return; // it has arrived
            }
            job.filling = true;
            job.last
        };
        let kept = async {
            if after > 0 {
                return self.history(id, after).await.0;
            }
            // By its number, clients that have returned from elsewhere detect missed events.
            snapshot::newest(&self.0.database.bus, id).await.into_iter().collect()
        };
        let events = if is_silent.load(Ordering::Relaxed) {
            Vec::new()
        } else {
            timeout(IN_FLIGHT, kept).await.unwrap_or_else(|_| {
                is_silent.store(true, Ordering::Relaxed);
                Vec::new()
            })
        };
        self.filled(id, events, |job| {
            if let Some(newest) = &job.newest {
                ledger.take(newest);
            }
            Event { prev: job.last, ..ledger.event }
        });
    }
}

impl Watched {
    /// Keeps an event until those before it have been sent.
    fn hold(&mut self, event: Event) {
        let at = self.held.partition_point(|held| held.seq < event.seq);
        if self.held.get(at).is_none_or(|held| held.seq != event.seq) {
            self.held.insert(at, event);
        }
        if self.held.len() > MAX_HELD {
            self.held.pop_front();
        }
    }

    /// Sends the kept events up to the next hole; returns the event after that.
    fn send_held(&mut self) -> Option<Event> {
        while let Some(event) = self.held.pop_front() {
            let is_after_hole = self.last > 0 && event.prev > self.last;
            if is_after_hole {
                return Some(event);
            }
            self.send(event);
        }
        None
    }

    fn send(&mut self, event: Event) {
        if event.seq <= self.last {
            return;
        }
        self.last = event.seq;
        let event = Arc::new(event);
        self.note(Arc::clone(&event));
        // A full channel is a slow client: it loses its position here and catches up from the history.
        self.watchers.retain(|_, watcher| watcher.try_send(Arc::clone(&event)).is_ok());
    }

    /// Remembers an event that a watcher has received, or is about to.
    fn note(&mut self, event: Arc<Event>) {
        if self.newest.as_ref().is_none_or(|newest| newest.seq < event.seq) {
            self.newest = Some(event);
        }
    }
}

/// The ledger's rows of those jobs, each for all its callers.
async fn read(conn: &mut PgConnection, jobs: &[JobId]) -> Result<Vec<Option<Snapshot>>, sqlx::Error> {
    let ids: Vec<_> = jobs.iter().map(|job| job.0).collect();
    let found: HashMap<_, _> = snapshot::read(conn, &ids)
        .await?
        .into_iter()
        .map(|snapshot| (snapshot.event.job_id, snapshot))
        .collect();
    Ok(jobs.iter().map(|job| found.get(job).cloned()).collect())
}

/// A copy of an error for each of its receivers.
fn told(error: &sqlx::Error) -> sqlx::Error {
    match error {
        sqlx::Error::PoolTimedOut => sqlx::Error::PoolTimedOut,
        sqlx::Error::Io(error) => sqlx::Error::Io(std::io::Error::new(error.kind(), error.to_string())),
        other => sqlx::Error::Protocol(other.to_string()),
    }
}

/// The id at the start of an event's JSON, which our own publisher always puts first.
fn job_of(payload: &[u8]) -> Option<JobId> {
    let rest = payload.strip_prefix(br#"{"job_id":""#)?;
    std::str::from_utf8(rest.get(..36)?).ok()?.parse().ok().map(JobId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock, watch::Status};

    /// Progress of one run, numbered.
    fn progress(n: i64) -> Event {
        let event = Event::transition(JobId(Uuid::from_u128(1)), Status::Running, 1, clock::now());
        Event { seq: n, prev: n - 1, ..event }
    }

    /// A job whose watchers have received number 1, and a receiver of their further events.
    fn watched() -> (Watched, mpsc::Receiver<Arc<Event>>) {
        let (sender, events) = mpsc::channel(2 * MAX_HELD);
        let job = Watched { last: 1, watchers: HashMap::from([(1, sender)]), ..Watched::default() };
        (job, events)
    }

    fn sent(events: &mut mpsc::Receiver<Arc<Event>>) -> Vec<i64> {
        std::iter::from_fn(|| events.try_recv().ok()).map(|event| event.seq).collect()
    }

    #[test]
    fn every_event_that_comes_while_a_hole_is_filled_is_passed_on_in_order_and_once() {
        let (mut job, mut events) = watched();
        job.hold(progress(3));
        let after_hole = job.send_held().expect("number 2 is missing");
        for n in [5, 4, 6, 5] {
            job.hold(progress(n));
        }
        // No history has number 2: only live events can be sent.
        job.send(after_hole);
        assert_eq!(job.send_held(), None);
        assert_eq!(sent(&mut events), [3, 4, 5, 6]);
    }

    #[test]
    fn more_than_can_be_held_leaves_a_hole_that_is_seen() {
        let (mut job, mut events) = watched();
        let most = i64::try_from(MAX_HELD).unwrap();
        for n in 3..most + 10 {
            job.hold(progress(n));
        }
        let after_hole = job.send_held().expect("a hole");
        assert_eq!(after_hole.seq, 10);
        job.send(after_hole);
        assert_eq!(job.send_held(), None);
        assert_eq!(sent(&mut events), (10..most + 10).collect::<Vec<_>>());
    }
}
