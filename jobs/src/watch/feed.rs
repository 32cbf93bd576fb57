//! Feeds: the events of all jobs of a workspace, for watchers of the workspace.
//!
//! Workers' events include their workspace; for the few others, the hub asks the ledger. A new job
//! publishes nothing, so that enqueueing costs no more: one periodic check finds those of all watched workspaces,
//! together with the events that the bus has lost of known jobs. The cost of an event is that of one workspace's
//! watchers, however many jobs there are, and the size of a feed is limited.
//!
//! The number of an event in a feed is the time in microseconds at which this process sent it, so that a
//! client can continue in another process, which repeats the events of the last seconds, or sends a gap.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use tokio::{sync::mpsc, time::Instant};
use uuid::Uuid;

use super::{
    Event,
    snapshot::{self, Row, Snapshot},
};
use crate::{Database, JobId};

/// Interval of the comparison of the watched workspaces with the ledger.
const LOOK: Duration = Duration::from_secs(2);
/// Maximum number of events that wait for one watcher. One that falls further behind catches up from the kept ones.
const BACKLOG: usize = 32;
/// Number of events that a feed keeps.
const KEPT: usize = 128;
/// Time for which a feed is kept after its last watcher has left, who may return.
const OUTLIVES: Duration = Duration::from_secs(60);
/// Half the number of jobs whose latest event a feed remembers.
const KNOWN: usize = 1024;
/// Maximum number of jobs of one workspace that one check covers.
const LOOKED_AT: usize = 200;
/// Maximum silence of an unfinished job before a check reads its state.
const SILENT: Duration = Duration::from_secs(5);
/// Maximum delay of a commit behind the id that it has created, plus the difference of processes' clocks.
const LATE: Duration = Duration::from_secs(5);
/// Maximum number of unfinished jobs that a new watcher is sent, the newest.
const LIVE: i64 = 100;

/// An event in a feed.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Number in the feed.
    pub id: i64,
    /// Job kind.
    pub kind: Arc<str>,
    /// The event.
    pub event: Event,
}

/// The feeds of a process.
#[derive(Clone, Default)]
pub(super) struct Feeds(Arc<Mutex<HashMap<Uuid, Feed>>>);

struct Feed {
    next_watcher: u64,
    watchers: HashMap<u64, mpsc::Sender<Arc<Told>>>,
    /// The newest events, oldest first.
    kept: VecDeque<Arc<Told>>,
    /// Events up to that number may not be kept.
    whole_after: i64,
    last: i64,
    known: Known,
    /// Jobs created later may not have been sent.
    made_after: DateTime<Utc>,
    /// Time since which there is no watcher.
    left: Option<Instant>,
}

/// The latest events of jobs: of at least the last few hundred.
#[derive(Default)]
struct Known {
    young: HashMap<JobId, Far>,
    old: HashMap<JobId, Far>,
}

struct Far {
    seq: i64,
    over: bool,
    heard: Instant,
}

/// The live events of all jobs of a workspace, for one watcher. Dropping it ends the watch.
pub struct FeedWatch {
    feeds: Feeds,
    workspace: Uuid,
    watcher: u64,
    events: mpsc::Receiver<Arc<Told>>,
}

impl FeedWatch {
    /// The next event; `None` when this watcher has fallen behind or events were lost: see
    /// [`FeedWatch::kept_after`].
    pub async fn next(&mut self) -> Option<Arc<Told>> {
        self.events.recv().await
    }

    /// The events after that number; none if not all of them are kept. A number from another process
    /// is treated as an earlier one: some events are then repeated.
    #[must_use]
    pub fn kept_after(&self, id: i64, of_this_process: bool) -> Option<Vec<Arc<Told>>> {
        let feeds = self.feeds.lock();
        let feed = feeds.get(&self.workspace)?;
        let is_ours = of_this_process || feed.kept.iter().any(|told| told.id == id);
        let id = if is_ours { id } else { id.saturating_sub(micros(LATE)) };
        let is_whole = id >= feed.whole_after && id <= feed.last.max(now());
        is_whole.then(|| feed.kept.iter().filter(|told| told.id > id).cloned().collect())
    }
}

impl Drop for FeedWatch {
    fn drop(&mut self) {
        if let Some(feed) = self.feeds.lock().get_mut(&self.workspace) {
            feed.watchers.remove(&self.watcher);
            if feed.watchers.is_empty() {
                feed.left = Some(Instant::now());
            }
        }
    }
}

impl Feeds {
    /// Starts the checks, for the life of the process.
    pub(super) fn start(database: Database) -> Self {
        let feeds = Self::default();
        tokio::spawn(feeds.clone().look(database));
        feeds
    }

    pub(super) fn watch(&self, workspace: Uuid) -> FeedWatch {
        let (sender, events) = mpsc::channel(BACKLOG);
        let mut feeds = self.lock();
        let feed = feeds.entry(workspace).or_insert_with(Feed::new);
        feed.next_watcher += 1;
        feed.left = None;
        let watcher = feed.next_watcher;
        feed.watchers.insert(watcher, sender);
        drop(feeds);
        FeedWatch { feeds: self.clone(), workspace, watcher, events }
    }

    /// Whether there is any watcher of a workspace.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Sends an event to the watchers of a workspace, unless they have it.
    pub(super) fn tell(&self, workspace: Uuid, kind: &Arc<str>, event: &Event) {
        if let Some(feed) = self.lock().get_mut(&workspace) {
            feed.tell(kind, event);
        }
    }

    /// Handles an unknown loss of events on their way here.
    pub(super) fn lost(&self) {
        self.lock().values_mut().for_each(Feed::lost);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Feed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest unfinished jobs of a workspace, as events in its feed.
    pub(super) async fn live(
        &self,
        conn: &mut PgConnection,
        workspace: Uuid,
    ) -> Result<Vec<Arc<Told>>, sqlx::Error> {
        // Before the ledger is read: concurrent events are repeated.
        let id = now();
        let mut live = read_live(conn, workspace).await?;
        live.reverse();
        if let Some(feed) = self.lock().get_mut(&workspace) {
            for job in &live {
                feed.known.expect(&job.event);
            }
        }
        Ok(live
            .into_iter()
            .map(|job| Arc::new(Told { id, kind: job.kind.into(), event: job.event }))
            .collect())
    }

    async fn look(self, database: Database) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.look_once(&database).await {
                tracing::warn!(%error, "could not compare the watched workspaces with the ledger");
            }
        }
    }

    async fn look_once(&self, database: &Database) -> Result<(), sqlx::Error> {
        let at = crate::clock::now();
        let (mut workspaces, mut since, mut silent) = (Vec::new(), Vec::new(), Vec::new());
        self.lock().retain(|&workspace, feed| {
            if feed.left.is_some_and(|left| left.elapsed() >= OUTLIVES) {
                return false;
            }
            workspaces.push(workspace);
            since.push(feed.made_after);
            silent.extend(feed.known.silent());
            true
        });
        if workspaces.is_empty() {
            return Ok(());
        }
        let mut conn = database.pool.acquire().await?;
        let made = read_made(&mut conn, &workspaces, &since).await?;
        let found = if silent.is_empty() { Vec::new() } else { snapshot::read(&mut conn, &silent).await? };
        drop(conn);

        let mut feeds = self.lock();
        let mut counts: HashMap<Uuid, usize> = HashMap::new();
        for job in &made {
            *counts.entry(job.workspace.unwrap_or_default()).or_default() += 1;
        }
        for workspace in workspaces {
            let Some(feed) = feeds.get_mut(&workspace) else { continue };
            if counts.get(&workspace).is_some_and(|count| *count > LOOKED_AT) {
                feed.made_after = at;
                feed.lost();
            } else {
                feed.made_after = at - LATE;
            }
        }
        for job in made.into_iter().chain(found) {
            let workspace = job.workspace.unwrap_or_default();
            if counts.get(&workspace).is_none_or(|count| *count <= LOOKED_AT)
                && let Some(feed) = feeds.get_mut(&workspace)
            {
                feed.tell(&job.kind.into(), &job.event);
            }
        }
        Ok(())
    }
}

impl Feed {
    fn new() -> Self {
        Self {
            next_watcher: 0,
            watchers: HashMap::new(),
            kept: VecDeque::new(),
            whole_after: now(),
            last: 0,
            known: Known::default(),
            made_after: crate::clock::now() - LATE,
            left: None,
        }
    }

    fn tell(&mut self, kind: &Arc<str>, event: &Event) {
        if !self.known.note(event) {
            return;
        }
        self.last = now().max(self.last + 1);
        let told = Arc::new(Told { id: self.last, kind: Arc::clone(kind), event: event.clone() });
        if self.kept.len() >= KEPT
            && let Some(oldest) = self.kept.pop_front()
        {
            self.whole_after = oldest.id;
        }
        self.kept.push_back(Arc::clone(&told));
        // A full channel is a slow client: it loses its position here and catches up from the kept events.
        self.watchers.retain(|_, watcher| watcher.try_send(Arc::clone(&told)).is_ok());
    }

    fn lost(&mut self) {
        self.last = now().max(self.last + 1);
        self.whole_after = self.last;
        self.kept.clear();
        self.watchers.clear();
    }
}

impl Known {
    /// Records a job's latest event; false if it was known.
    fn note(&mut self, event: &Event) -> bool {
        let job = event.job_id;
        let known = self.young.get(&job).or_else(|| self.old.get(&job));
        let is_new = known.is_none_or(|far| far.seq < event.seq);
        let seq = known.map_or(event.seq, |far| far.seq.max(event.seq));
        let over = known.is_some_and(|far| far.over && !is_new) || (is_new && event.status.is_terminal());
        self.insert(job, Far { seq, over, heard: Instant::now() });
        is_new
    }

    /// Schedules the check of an unfinished job that one watcher was shown. The others may still have to be sent it.
    fn expect(&mut self, event: &Event) {
        let job = event.job_id;
        if !self.young.contains_key(&job) && !self.old.contains_key(&job) {
            self.insert(job, Far { seq: event.seq - 1, over: false, heard: Instant::now() });
        }
    }

    fn insert(&mut self, job: JobId, far: Far) {
        if self.young.len() >= KNOWN && !self.young.contains_key(&job) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(job, far);
    }

    /// Unfinished jobs that have been silent for a while; they are checked now.
    fn silent(&mut self) -> Vec<Uuid> {
        let now = Instant::now();
        let mut silent = Vec::new();
        for (job, far) in self.young.iter_mut().chain(&mut self.old) {
            if !far.over && now.duration_since(far.heard) >= SILENT && silent.len() < LOOKED_AT {
                far.heard = now;
                silent.push(job.0);
            }
        }
        silent
    }
}

fn now() -> i64 {
    crate::clock::now().timestamp_micros()
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// The newest unfinished jobs of a workspace, newest first.
async fn read_live(conn: &mut PgConnection, workspace: Uuid) -> Result<Vec<Snapshot>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select id as "id!", workspace_id, kind as "kind!", pool as "pool!", origin as "origin!",
                  priority as "priority!", state as "state!", run_at as "run_at!", run_at <= now() as "due!",
                  attempt as "attempt!", max_attempts as "max_attempts!", epoch as "epoch!",
                  cancel_requested as "cancel_requested!", progress, null::jsonb as result, error,
                  created_at as "created_at!", started_at, null::timestamptz as finished_at
             from jobs
            where workspace_id = $1
            order by id desc
            limit $2"#,
        workspace,
        LIVE,
    )
    .fetch_all(conn)
    .await?;
    Ok(snapshot::keep_readable(rows))
}

/// The unfinished jobs that were created in those workspaces after those times: of each at most one more than may be
/// sent.
async fn read_made(
    conn: &mut PgConnection,
    workspaces: &[Uuid],
    since: &[DateTime<Utc>],
) -> Result<Vec<Snapshot>, sqlx::Error> {
    let most = i64::try_from(LOOKED_AT + 1).unwrap_or(i64::MAX);
    let rows = sqlx::query_as!(
        Row,
        r#"select j.id as "id!", j.workspace_id, j.kind as "kind!", j.pool as "pool!", j.origin as "origin!",
                  j.priority as "priority!", j.state as "state!", j.run_at as "run_at!",
                  j.run_at <= now() as "due!", j.attempt as "attempt!", j.max_attempts as "max_attempts!",
                  j.epoch as "epoch!", j.cancel_requested as "cancel_requested!", j.progress,
                  null::jsonb as result, j.error, j.created_at as "created_at!", j.started_at,
                  null::timestamptz as finished_at
             from unnest($1::uuid[], $2::timestamptz[]) as w (workspace, since)
            cross join lateral (select * from jobs
                                 where workspace_id = w.workspace and id >= id_made_at(w.since)
                                 order by id
                                 limit $3) j"#,
        workspaces,
        since,
        most,
    )
    .fetch_all(conn)
    .await?;
    Ok(snapshot::keep_readable(rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock, watch::Status};

    fn event(job: JobId, epoch: i64, status: Status) -> Event {
        Event::transition(job, status, epoch, clock::now())
    }

    #[tokio::test]
    async fn an_event_is_told_once_to_the_watchers_of_its_workspace_in_order() {
        let (feeds, here, there) = (Feeds::default(), Uuid::from_u128(1), Uuid::from_u128(2));
        let (mut watch, job, kind) = (feeds.watch(here), JobId::new(), Arc::from("test"));
        let (running, over) = (event(job, 2, Status::Running), event(job, 3, Status::Completed));
        feeds.tell(here, &kind, &running);
        feeds.tell(here, &kind, &running);
        feeds.tell(there, &kind, &event(JobId::new(), 1, Status::Queued));
        feeds.tell(here, &kind, &over);
        feeds.tell(here, &kind, &running);

        let (first, second) = (watch.next().await.unwrap(), watch.next().await.unwrap());
        assert_eq!((&first.event, &second.event), (&running, &over));
        assert!(first.id < second.id && watch.events.try_recv().is_err());
        assert_eq!(watch.kept_after(first.id, true), Some(vec![second]));
    }

    #[tokio::test]
    async fn what_is_not_kept_any_more_is_a_gap() {
        let (feeds, here, kind) = (Feeds::default(), Uuid::from_u128(1), Arc::from("test"));
        let mut watch = feeds.watch(here);
        feeds.tell(here, &kind, &event(JobId::new(), 1, Status::Queued));
        let first = watch.next().await.unwrap();
        for _ in 0..KEPT {
            feeds.tell(here, &kind, &event(JobId::new(), 1, Status::Queued));
        }
        assert_eq!(watch.kept_after(first.id, true).map(|kept| kept.len()), Some(KEPT));
        feeds.tell(here, &kind, &event(JobId::new(), 1, Status::Queued));
        assert_eq!(watch.kept_after(first.id, true), None);

        feeds.lost();
        while watch.next().await.is_some() {}
        assert_eq!(watch.kept_after(first.id, true), None);
        let again = feeds.watch(here);
        assert_eq!(again.kept_after(now(), true), Some(vec![]), "from now on all is kept again");
    }
}
