//! What the leader knows of one pool: what it pushed, how fast that goes, how many slots there are.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use tokio::time::{Duration, Instant};
use uuid::Uuid;

use super::{
    lanes::{Depth, Due, Lane, Running},
    turns::{Candidate, Holding, Share},
};

/// How much of a pool's measured drain a queue holds ahead, in seconds.
const AHEAD: f64 = 0.05;
/// Ids that a queue holds at the most, beyond those for free slots.
const QUEUE_MAX: usize = 4000;
/// Tasks pushed at once, at the most: apalis-redis unpacks a whole backlog, and 8,000 tasks end its worker.
const TASKS_MAX: usize = 2000;
/// A task carries what the pool drains in this time, in seconds: ids in one worker's hand wait for its slots
/// while its neighbours may have some.
const BUNCH: f64 = 0.001;
/// The ids of a task, at the most, and the part of a pool's slots that they are, at the most.
const BUNCH_MAX: usize = 32;
const BUNCH_PART: usize = 8;
/// How long after a walk over all lanes looks may go on from where it ended. What is enqueued meanwhile wakes
/// the leader, which walks then; nothing waits for this but what another leader would find, too.
const GO_ON_FOR: Duration = Duration::from_millis(250);
/// A pushed id that is still unclaimed after this long may have been lost.
const REPUSH_AFTER: Duration = Duration::from_secs(2);

/// An id in a pool's queue in Redis, as far as is known.
#[derive(Debug)]
struct Pushed {
    at: Instant,
    /// Which task carries it.
    task: u64,
    lane: Lane,
    run_at: DateTime<Utc>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue {
    pushed: HashMap<Uuid, Pushed>,
    /// Tasks pushed so far.
    tasks: u64,
    /// Slots of the workers that take jobs, and the jobs that others still hold.
    pub slots: usize,
    /// Claims a second, lately.
    drain: f64,
    claimed: usize,
    measured: Option<Instant>,
    /// More was due than could be pushed.
    pub backlog: bool,
    /// What each tenant held at the last look, with its weight.
    pub held: HashMap<Uuid, Holding>,
    /// Where the next walk begins.
    pub walk: Lane,
    /// Lanes that the last walk passed.
    lanes: usize,
    /// When the last walk over all lanes was, unless something has changed since that only a walk sees.
    walked: Option<Instant>,
    /// The lanes in which that walk has left jobs, and behind which one they begin.
    ends: HashMap<Lane, (DateTime<Utc>, Uuid)>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            pushed: HashMap::new(),
            tasks: 0,
            slots: 0,
            drain: 0.0,
            claimed: 0,
            measured: None,
            backlog: false,
            walk: Lane::start(),
            lanes: 1,
            walked: None,
            ends: HashMap::new(),
            held: HashMap::new(),
        }
    }
}

impl Queue {
    /// Nothing is known to be pushed any more.
    pub(crate) fn forget(&mut self) {
        self.pushed.clear();
        self.walk = Lane::start();
        self.walked = None;
    }

    /// Whether a look may go on from where the last walk ended: the pool is fast, and there is more.
    pub(crate) fn may_go_on(&self) -> bool {
        self.is_fast() && !self.ends.is_empty() && self.walked.is_some_and(|at| at.elapsed() < GO_ON_FOR)
    }

    /// The lanes with more to come, and behind which job it comes.
    pub(crate) fn ends(&self) -> Vec<(Lane, (DateTime<Utc>, Uuid))> {
        self.ends.iter().map(|(lane, end)| (lane.clone(), *end)).collect()
    }

    /// Notes where a walk has ended, if looks may go on from there: in the lanes with more than has been pushed.
    pub(crate) fn walked(&mut self, all: bool, more: impl IntoIterator<Item = Lane>) {
        self.walked = all.then(Instant::now);
        self.ends = more.into_iter().map(|lane| (lane, (DateTime::UNIX_EPOCH, Uuid::nil()))).collect();
        for (id, pushed) in &self.pushed {
            if let Some(end) = self.ends.get_mut(&pushed.lane) {
                *end = (pushed.run_at, *id).max(*end);
            }
        }
    }

    /// Takes ids that workers have claimed out of the queue.
    pub(crate) fn claimed(&mut self, ids: &[Uuid]) {
        let before = self.pushed.len();
        for id in ids {
            self.pushed.remove(id);
        }
        self.measure(before - self.pushed.len());
    }

    /// Takes in what the tenants hold now.
    pub(crate) fn hold(&mut self, running: &HashMap<Uuid, Running>) {
        self.held.values_mut().for_each(|held| held.jobs = 0);
        for (tenant, running) in running {
            self.held.entry(*tenant).or_default().jobs = running.jobs;
        }
    }

    /// There is no more to come in those lanes, as far as a look can tell that went on.
    pub(crate) fn over(&mut self, lanes: impl IntoIterator<Item = Lane>) {
        for lane in lanes {
            self.ends.remove(&lane);
        }
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
    pub(crate) fn depth(&self) -> Depth {
        let mut lanes: HashMap<&Lane, usize> = HashMap::new();
        for pushed in self.pushed.values() {
            *lanes.entry(&pushed.lane).or_default() += 1;
        }
        let deepest = lanes.values().copied().max().unwrap_or(0);
        Depth { pushed: deepest, more: self.each(self.lanes) }
    }

    /// Jobs that a look must see of each of so many lanes, beyond those that are pushed. One lane may give all;
    /// of several, each somewhat more than its part.
    pub(crate) fn each(&self, lanes: usize) -> usize {
        let free = self.capacity().saturating_sub(self.pushed.len());
        let each = if lanes > 1 { 2 * free / lanes } else { free };
        each.clamp(8, QUEUE_MAX)
    }

    /// Takes what has left the queue since the last look into the drain rate. Answers whether the walk has seen
    /// all lanes.
    pub(crate) fn settle(&mut self, due: &Due) -> bool {
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
        began_at_start && due.next.is_none()
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

    /// What each tenant holds, and what is on its way to it.
    pub(crate) fn holdings(&self) -> HashMap<Uuid, Holding> {
        let mut holdings = self.held.clone();
        for pushed in self.pushed.values() {
            holdings.entry(pushed.lane.tenant).or_default().jobs += 1;
        }
        holdings
    }

    /// What there is to share out now.
    pub(crate) fn share(&self) -> Share {
        let all = self.capacity();
        Share { free: all.saturating_sub(self.in_hand() + self.len()), all }
    }

    /// Jobs in hand.
    pub(crate) fn in_hand(&self) -> usize {
        self.held.values().map(|held| held.jobs).sum()
    }

    /// How many ids are on their way.
    pub(crate) fn len(&self) -> usize {
        self.pushed.len()
    }

    /// How many tasks carry them, at the least.
    pub(crate) fn tasks(&self) -> usize {
        self.pushed.values().map(|pushed| pushed.task).collect::<HashSet<_>>().len()
    }

    /// How many of so many ids a task is to carry now: one, unless the pool is a fast one, or a huge one.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a rate, clamped
    pub(crate) fn bunch(&self, ids: usize) -> usize {
        let drained = ((self.drain * BUNCH) as usize).min(self.slots / BUNCH_PART).clamp(1, BUNCH_MAX);
        drained.max(ids.div_ceil(TASKS_MAX))
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

    /// Notes what was pushed, so many ids in a task.
    pub(crate) fn note(&mut self, jobs: Vec<Candidate>, bunch: usize) {
        let at = Instant::now();
        for (place, job) in jobs.into_iter().enumerate() {
            if place % bunch.max(1) == 0 {
                self.tasks += 1;
            }
            let lane = Lane { tenant: job.tenant, kind: job.kind, priority: job.priority };
            if let Some(end) = self.ends.get_mut(&lane) {
                *end = (job.run_at, job.id).max(*end);
            }
            self.pushed.insert(job.id, Pushed { at, task: self.tasks, lane, run_at: job.run_at });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(count: u128) -> Vec<Candidate> {
        let job = |n| Candidate {
            id: Uuid::from_u128(n),
            tenant: Uuid::nil(),
            kind: "test".into(),
            priority: 5,
            run_at: crate::clock::now(),
            checkpoints: false,
        };
        (0..count).map(job).collect()
    }

    #[test]
    fn only_a_fast_pool_with_many_slots_has_several_ids_in_a_task() {
        let bunch = |drain, slots| Queue { slots, drain, ..Queue::default() }.bunch(100);
        assert_eq!(bunch(100.0, 256), 1);
        assert_eq!(bunch(5_000.0, 256), 5);
        assert_eq!(bunch(1_000_000.0, 256), 32);
        assert_eq!(bunch(1_000_000.0, 16), 2);
        assert_eq!(bunch(1_000_000.0, 4), 1);
        assert_eq!(
            Queue { slots: 10_000, ..Queue::default() }.bunch(10_000),
            5,
            "or there were too many tasks"
        );
    }

    #[test]
    fn a_look_goes_on_behind_the_last_job_that_was_pushed_until_the_lane_is_over() {
        let mut queue = Queue { drain: 1000.0, slots: 8, ..Queue::default() };
        let jobs = jobs(7);
        let lane = jobs[0].lane();
        let end = (jobs[4].run_at.max(jobs[3].run_at), jobs[4].id);
        queue.note(jobs[..3].to_vec(), 1);
        assert!(!queue.may_go_on(), "nothing has been walked");
        queue.walked(true, [lane.clone()]);
        queue.note(jobs[3..5].to_vec(), 1);
        assert!(queue.may_go_on());
        assert_eq!(queue.ends(), [(lane.clone(), end)]);

        queue.claimed(&[jobs[0].id, jobs[4].id, Uuid::from_u128(99)]);
        assert_eq!(queue.len(), 3);
        assert_eq!(queue.ends(), [(lane.clone(), end)], "what was claimed is not seen again");
        queue.over([lane.clone()]);
        assert!(!queue.may_go_on(), "there is no more to come");

        queue.walked(false, [lane]);
        assert!(!queue.may_go_on(), "the walk has not seen all lanes");
    }

    #[test]
    fn ids_that_one_task_carries_count_as_one() {
        let mut queue = Queue::default();
        queue.note(jobs(7), 3);
        assert_eq!((queue.len(), queue.tasks()), (7, 3));
    }
}
