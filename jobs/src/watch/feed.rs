//! Feeds: what happens to all jobs of a workspace, for those who watch them together.
//!
//! Workers' events say whose they are; for the few that others make, the hub asks the ledger. A new job
//! publishes nothing, so that enqueueing costs no more: one look finds those of all watched workspaces,
//! together with what the bus has lost of the jobs that were told of. An event costs one workspace's
//! watchers, however many jobs there are, and a feed keeps no more than it may.
//!
//! The number of an event in a feed is the time in microseconds at which this process told of it, so that a
//! client can go on in another process; it is then told again of the last seconds, or that there is a gap.

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

/// How often the watched workspaces are compared with the ledger.
const LOOK: Duration = Duration::from_secs(2);
/// Events that wait for one watcher. One that falls further behind catches up from what is kept.
const BACKLOG: usize = 32;
/// Events that a feed keeps.
const KEPT: usize = 128;
/// How long a feed outlives its last watcher, who may come back.
const OUTLIVES: Duration = Duration::from_secs(60);
/// Jobs of which a feed knows how far they are, twice.
const KNOWN: usize = 1024;
/// Jobs of one workspace that one look tells of, or looks after.
const LOOKED_AT: usize = 200;
/// How long a job that isn't over may say nothing before a look asks after it.
const SILENT: Duration = Duration::from_secs(5);
/// How far a transaction may commit behind the id that it has made, and processes' clocks may be apart.
const LATE: Duration = Duration::from_secs(5);
/// Live jobs that a new watcher is told of, the newest.
const LIVE: i64 = 100;

/// An event in a feed.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Its number in the feed.
    pub id: i64,
    /// The job's kind.
    pub kind: Arc<str>,
    /// What happened.
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
    /// What was told up to that number may not be kept.
    whole_after: i64,
    last: i64,
    known: Known,
    /// Jobs made later may not have been told of.
    made_after: DateTime<Utc>,
    /// Since when nobody watches.
    left: Option<Instant>,
}

/// How far jobs are: of the last few hundred, at the least.
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

    /// What was told after that number; none where not all of it is kept. A number that another process has
    /// given is taken for an earlier one: some events then come again.
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
    /// Starts looking, for as long as the process lives.
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

    /// Whether anybody watches any workspace.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Tells the watchers of a workspace, unless they know.
    pub(super) fn tell(&self, workspace: Uuid, kind: &Arc<str>, event: &Event) {
        if let Some(feed) = self.lock().get_mut(&workspace) {
            feed.tell(kind, event);
        }
    }

    /// Events were lost on their way here, nobody knows which.
    pub(super) fn lost(&self) {
        self.lock().values_mut().for_each(Feed::lost);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Feed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest live jobs of a workspace, as events in its feed.
    pub(super) async fn live(
        &self,
        conn: &mut PgConnection,
        workspace: Uuid,
    ) -> Result<Vec<Arc<Told>>, sqlx::Error> {
        // Before the ledger is read: what happens meanwhile comes again.
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
        // A full channel is a slow client: it loses its place here and catches up from what is kept.
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
    /// Notes how far a job is; false where that was known.
    fn note(&mut self, event: &Event) -> bool {
        let job = event.job_id;
        let known = self.young.get(&job).or_else(|| self.old.get(&job));
        let is_new = known.is_none_or(|far| far.seq < event.seq);
        let seq = known.map_or(event.seq, |far| far.seq.max(event.seq));
        let over = known.is_some_and(|far| far.over && !is_new) || (is_new && event.status.is_terminal());
        self.insert(job, Far { seq, over, heard: Instant::now() });
        is_new
    }

    /// Has a live job looked after that one watcher was shown. The others may still have to be told of it.
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

    /// Jobs that are not over and have said nothing for a while; they are asked after now.
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

/// The newest live jobs of a workspace, newest first.
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

/// The live jobs that were made in those workspaces after those times: of each one more than may be told of, at
/// the most.
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
