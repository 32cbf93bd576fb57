//! What the leader knows of one pool: what it pushed, how fast that goes, how many slots there are.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use tokio::time::{Duration, Instant};
use uuid::Uuid;

use super::{
    lanes::{Due, Lane},
    turns::Candidate,
};

/// How much of a pool's measured drain a queue holds ahead, in seconds.
const AHEAD: f64 = 0.03;
/// Ids that a queue holds at the most: apalis-redis unpacks a whole backlog at once.
const QUEUE_MAX: usize = 2000;
/// A pushed id that is still unclaimed after this long may have been lost.
const REPUSH_AFTER: Duration = Duration::from_secs(2);

/// An id in a pool's queue in Redis, as far as is known.
#[derive(Debug)]
struct Pushed {
    at: Instant,
    lane: Lane,
    run_at: DateTime<Utc>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue {
    pushed: HashMap<Uuid, Pushed>,
    /// Slots of the workers that take jobs, and the jobs that others still hold.
    pub slots: usize,
    /// Claims a second, lately.
    drain: f64,
    claimed: usize,
    measured: Option<Instant>,
    /// More was due than could be pushed.
    pub backlog: bool,
    /// Where the next walk begins.
    pub walk: Lane,
    /// Lanes that the last walk passed.
    lanes: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            pushed: HashMap::new(),
            slots: 0,
            drain: 0.0,
            claimed: 0,
            measured: None,
            backlog: false,
            walk: Lane::start(),
            lanes: 1,
        }
    }
}

impl Queue {
    /// Nothing is known to be pushed any more.
    pub(crate) fn forget(&mut self) {
        self.pushed.clear();
        self.walk = Lane::start();
    }

    /// Jobs that the pool's workers hold or are about to take, altogether: their slots, and what they
    /// drain within a moment.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a rate, clamped below
    pub(crate) fn capacity(&self) -> usize {
        if self.slots == 0 {
            0
        } else {
            (self.slots + (self.drain * AHEAD) as usize).min(self.slots + QUEUE_MAX)
        }
    }

    /// Whether its workers finish enough jobs a second to be looked at every few milliseconds.
    pub(crate) fn is_fast(&self) -> bool {
        self.drain > 10.0
    }

    /// Jobs of each lane that a walk must show: all that may be pushed still, and as many as are to come.
    pub(crate) fn depth(&self) -> usize {
        let mut lanes: HashMap<&Lane, usize> = HashMap::new();
        for pushed in self.pushed.values() {
            *lanes.entry(&pushed.lane).or_default() += 1;
        }
        let deepest = lanes.values().copied().max().unwrap_or(0);
        let free = self.capacity().saturating_sub(self.pushed.len());
        // One lane may give all; of several, each somewhat more than its part.
        let each = if self.lanes > 1 { 2 * free / self.lanes } else { free };
        deepest + each.clamp(8, QUEUE_MAX)
    }

    /// Takes what has left the queue since the last look into the drain rate.
    pub(crate) fn settle(&mut self, due: &Due) {
        let began_at_start = self.walk == Lane::start();
        let waiting: HashSet<Uuid> = due.jobs.iter().map(|job| job.id).collect();
        let before = self.pushed.len();
        self.pushed.retain(|id, pushed| {
            waiting.contains(id)
                || match due.shown.get(&pushed.lane) {
                    // Its lane is shown beyond it, and it is not there.
                    Some(None) => false,
                    Some(Some(up_to)) => (pushed.run_at, *id) > *up_to,
                    // Its lane is empty, if the walk has seen all lanes.
                    None => !(began_at_start && due.next.is_none()),
                }
        });
        self.measure(before - self.pushed.len());
        self.lanes = due.shown.len();
        self.walk = due.next.clone().unwrap_or_else(Lane::start);
    }

    #[allow(clippy::cast_precision_loss)]
    fn measure(&mut self, claimed: usize) {
        self.claimed += claimed;
        let now = Instant::now();
        let since = *self.measured.get_or_insert(now);
        let elapsed = (now - since).as_secs_f64();
        if elapsed >= 0.1 {
            let rate = self.claimed as f64 / elapsed;
            self.drain += (rate - self.drain) * 0.5;
            self.claimed = 0;
            self.measured = Some(now);
        }
    }

    /// How many ids are on their way, by tenant.
    pub(crate) fn pushed_by_tenant(&self) -> HashMap<Uuid, usize> {
        let mut counts = HashMap::new();
        for pushed in self.pushed.values() {
            *counts.entry(pushed.lane.tenant).or_default() += 1;
        }
        counts
    }

    /// How many ids are on their way.
    pub(crate) fn len(&self) -> usize {
        self.pushed.len()
    }

    /// How many ids of a tenant's kind are on their way.
    pub(crate) fn pushed_of(&self, tenant: Uuid, kind: &str) -> usize {
        self.pushed.values().filter(|pushed| pushed.lane.tenant == tenant && pushed.lane.kind == kind).count()
    }

    /// Whether the job is on its way.
    pub(crate) fn holds(&self, id: Uuid) -> bool {
        self.pushed.contains_key(&id)
    }

    /// Whether ids have been unclaimed for suspiciously long.
    pub(crate) fn has_overdue(&self) -> bool {
        let now = Instant::now();
        self.pushed.values().any(|pushed| now - pushed.at >= REPUSH_AFTER)
    }

    /// Forgets ids that have been unclaimed for too long, so that they are chosen and pushed again.
    pub(crate) fn forget_overdue(&mut self) {
        let now = Instant::now();
        self.pushed.retain(|_, pushed| now - pushed.at < REPUSH_AFTER);
    }

    /// Believes in all ids for another while: Redis still holds them.
    pub(crate) fn trust(&mut self) {
        let now = Instant::now();
        for pushed in self.pushed.values_mut() {
            pushed.at = now;
        }
    }

    /// Notes what was pushed.
    pub(crate) fn note(&mut self, jobs: Vec<Candidate>) {
        let at = Instant::now();
        self.pushed.extend(jobs.into_iter().map(|job| {
            let lane = Lane { tenant: job.tenant, kind: job.kind, priority: job.priority };
            (job.id, Pushed { at, lane, run_at: job.run_at })
        }));
    }
}
