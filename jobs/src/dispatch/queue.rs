//! The leader's knowledge of one pool: pushed ids, drain rate, number of slots.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use tokio::time::{Duration, Instant};
use uuid::Uuid;

use super::{
    lanes::{Depth, Due, Lane, Running},
    turns::{Candidate, Holding, Share},
};

/// Length of a queue in seconds of the pool's measured drain.
const AHEAD: f64 = 0.05;
/// Maximum number of ids in a queue, beyond those for free slots.
const QUEUE_MAX: usize = 4000;
/// Maximum number of tasks pushed at once: apalis-redis unpacks a whole backlog, and 8,000 tasks end its worker.
const TASKS_MAX: usize = 2000;
/// Number of ids per task as seconds of the pool's drain: ids held by one worker wait for its slots
/// while other workers may have free ones.
const BUNCH: f64 = 0.001;
/// Maximum number of ids per task, and maximum share of a pool's slots that they are.
const BUNCH_MAX: usize = 32;
const BUNCH_PART: usize = 8;
/// Time after a walk over all lanes in which passes may continue from its end. Jobs enqueued meanwhile wake
/// the leader, which walks then; only what another leader would find, too, waits for this.
const GO_ON_FOR: Duration = Duration::from_millis(250);
/// Time after which a pushed, unclaimed id may have been lost.
const REPUSH_AFTER: Duration = Duration::from_secs(2);

/// An id in a pool's queue in Redis, as far as is known.
#[derive(Debug)]
struct Pushed {
    at: Instant,
    /// Task that carries it.
    task: u64,
    lane: Lane,
    run_at: DateTime<Utc>,
}

/// The state of one pool's queue.
#[derive(Debug)]
pub(crate) struct Queue {
    pushed: HashMap<Uuid, Pushed>,
    /// Number of tasks pushed so far.
    tasks: u64,
    /// Slots of the workers that accept jobs, and the running jobs of the others.
    pub slots: usize,
    /// Recent claims per second.
    drain: f64,
    claimed: usize,
    measured: Option<Instant>,
    /// Whether more was due than could be pushed.
    pub backlog: bool,
    /// The holdings of each tenant at the last pass, with its weight.
    pub held: HashMap<Uuid, Holding>,
    /// Start of the next walk.
    pub walk: Lane,
    /// Number of lanes that the last walk passed.
    lanes: usize,
    /// Time of the last walk over all lanes, unless a change since then needs a new walk.
    walked: Option<Instant>,
    /// The lanes in which that walk has left jobs, with the job behind which they begin.
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
    /// Forgets all pushed ids.
    pub(crate) fn forget(&mut self) {
        self.pushed.clear();
        self.walk = Lane::start();
        self.walked = None;
    }

    /// Whether a pass may continue from the end of the last walk: the pool is fast, and there is more.
    pub(crate) fn may_go_on(&self) -> bool {
        self.is_fast() && !self.ends.is_empty() && self.walked.is_some_and(|at| at.elapsed() < GO_ON_FOR)
    }

    /// The lanes with further jobs, with the job behind which they begin.
    pub(crate) fn ends(&self) -> Vec<(Lane, (DateTime<Utc>, Uuid))> {
        self.ends.iter().map(|(lane, end)| (lane.clone(), *end)).collect()
    }

    /// Records the end of a walk, if passes may continue from there: in the lanes with more jobs than were pushed.
    pub(crate) fn walked(&mut self, all: bool, more: impl IntoIterator<Item = Lane>) {
        self.walked = all.then(Instant::now);
        self.ends = more.into_iter().map(|lane| (lane, (DateTime::UNIX_EPOCH, Uuid::nil()))).collect();
        for (id, pushed) in &self.pushed {
            if let Some(end) = self.ends.get_mut(&pushed.lane) {
                *end = (pushed.run_at, *id).max(*end);
            }
        }
    }

    /// Removes claimed ids from the queue.
    pub(crate) fn claimed(&mut self, ids: &[Uuid]) {
        let before = self.pushed.len();
        for id in ids {
            self.pushed.remove(id);
        }
        self.measure(before - self.pushed.len());
    }

    /// Updates the tenants' running jobs.
    pub(crate) fn hold(&mut self, running: &HashMap<Uuid, Running>) {
        self.held.values_mut().for_each(|held| held.jobs = 0);
        for (tenant, running) in running {
            self.held.entry(*tenant).or_default().jobs = running.jobs;
        }
    }

    /// Records that those lanes have no further jobs, as far as a continued pass can tell.
    pub(crate) fn over(&mut self, lanes: impl IntoIterator<Item = Lane>) {
        for lane in lanes {
            self.ends.remove(&lane);
        }
    }

    /// Maximum number of jobs that the pool's workers hold or are about to take: their slots, and the number
    /// that they drain within a moment.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a rate, clamped below
    pub(crate) fn capacity(&self) -> usize {
        if self.slots == 0 {
            0
        } else {
            (self.slots + (self.drain * AHEAD) as usize).min(self.slots + QUEUE_MAX)
        }
    }

    /// Whether its workers finish enough jobs per second for passes every few milliseconds.
    pub(crate) fn is_fast(&self) -> bool {
        self.drain > 10.0
    }

    /// Number of jobs of each lane that a walk must show: all that may be pushed still, and as many further ones.
    pub(crate) fn depth(&self) -> Depth {
        let mut lanes: HashMap<&Lane, usize> = HashMap::new();
        for pushed in self.pushed.values() {
            *lanes.entry(&pushed.lane).or_default() += 1;
        }
        let deepest = lanes.values().copied().max().unwrap_or(0);
        Depth { pushed: deepest, more: self.each(self.lanes) }
    }

    /// Number of jobs that a pass must see of each of so many lanes, beyond those that are pushed. One lane may
    /// provide all; of several, each somewhat more than its share.
    pub(crate) fn each(&self, lanes: usize) -> usize {
        let free = self.capacity().saturating_sub(self.pushed.len());
        let each = if lanes > 1 { 2 * free / lanes } else { free };
        each.clamp(8, QUEUE_MAX)
    }

    /// Updates the drain rate by the ids that have left the queue since the last pass. Answers whether the walk
    /// has seen all lanes.
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

    /// The jobs that each tenant holds, and those on their way to it.
    pub(crate) fn holdings(&self) -> HashMap<Uuid, Holding> {
        let mut holdings = self.held.clone();
        for pushed in self.pushed.values() {
            holdings.entry(pushed.lane.tenant).or_default().jobs += 1;
        }
        holdings
    }

    /// The capacity to share now.
    pub(crate) fn share(&self) -> Share {
        let all = self.capacity();
        Share { free: all.saturating_sub(self.in_hand() + self.len()), all }
    }

    /// Number of running jobs.
    pub(crate) fn in_hand(&self) -> usize {
        self.held.values().map(|held| held.jobs).sum()
    }

    /// Number of ids on their way.
    pub(crate) fn len(&self) -> usize {
        self.pushed.len()
    }

    /// Minimum number of tasks that carry them.
    pub(crate) fn tasks(&self) -> usize {
        self.pushed.values().map(|pushed| pushed.task).collect::<HashSet<_>>().len()
    }

    /// Number of ids per task for so many ids: one, unless the pool is a fast or a huge one.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a rate, clamped
    pub(crate) fn bunch(&self, ids: usize) -> usize {
        let drained = ((self.drain * BUNCH) as usize).min(self.slots / BUNCH_PART).clamp(1, BUNCH_MAX);
        drained.max(ids.div_ceil(TASKS_MAX))
    }

    /// Number of ids of a tenant's kind on their way.
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

    /// Restarts the deadlines of all ids: Redis still holds them.
    pub(crate) fn trust(&mut self) {
        let now = Instant::now();
        for pushed in self.pushed.values_mut() {
            pushed.at = now;
        }
    }

    /// Records pushed jobs, so many ids in a task.
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
        assert!(!queue.may_go_on(), "there was no walk");
        queue.walked(true, [lane.clone()]);
        queue.note(jobs[3..5].to_vec(), 1);
        assert!(queue.may_go_on());
        assert_eq!(queue.ends(), [(lane.clone(), end)]);

        queue.claimed(&[jobs[0].id, jobs[4].id, Uuid::from_u128(99)]);
        assert_eq!(queue.len(), 3);
        assert_eq!(queue.ends(), [(lane.clone(), end)], "a claimed job is not seen again");
        queue.over([lane.clone()]);
        assert!(!queue.may_go_on(), "there are no further jobs");

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
