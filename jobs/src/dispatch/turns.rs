//! The order of jobs: chooses among the due jobs of a pool, as a pure function.
//!
//! Between tenants the one that holds the least for its weight is next, so that a quiet tenant never waits
//! behind a busy one's line. Within a tenant the priority counts, and waiting makes up for a low one.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, HashMap, VecDeque},
};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::lanes::Lane;

/// Waiting time in seconds that equals one level of priority, so that no job starves.
const AGEING: f64 = 60.0;

/// A due job that may be pushed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Candidate {
    pub id: Uuid,
    pub tenant: Uuid,
    pub kind: String,
    pub priority: i16,
    pub run_at: DateTime<Utc>,
    pub checkpoints: bool,
}

impl Candidate {
    /// Its lane.
    pub(crate) fn lane(&self) -> Lane {
        Lane { tenant: self.tenant, kind: self.kind.clone(), priority: self.priority }
    }

    /// A smaller value is served first.
    #[allow(clippy::cast_precision_loss)]
    fn aged_priority(&self, now: DateTime<Utc>) -> f64 {
        let waited = (now - self.run_at).num_milliseconds().max(0) as f64 / 1000.0;
        f64::from(self.priority) - waited / AGEING
    }
}

/// A tenant's share of a pool, and its weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Holding {
    /// Jobs running or pushed.
    pub jobs: usize,
    pub weight: i32,
}

impl Default for Holding {
    fn default() -> Self {
        Self { jobs: 0, weight: 1 }
    }
}

/// The capacity to share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    /// Number of jobs that may be pushed now.
    pub free: usize,
    /// Maximum number of jobs that the pool's workers hold or are about to take.
    pub all: usize,
}

/// A tenant's line, in the order of its jobs.
struct Line {
    tenant: Uuid,
    holding: Holding,
    jobs: VecDeque<Candidate>,
}

impl Line {
    /// The load that decides: its holdings for its weight, then how long its first job has waited.
    #[allow(clippy::cast_precision_loss)]
    fn load(&self) -> (f64, DateTime<Utc>) {
        let head = self.jobs.front().map_or(DateTime::<Utc>::MAX_UTC, |job| job.run_at);
        (self.holding.jobs as f64 / f64::from(self.holding.weight.max(1)), head)
    }
}

impl PartialEq for Line {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Line {}

impl PartialOrd for Line {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Line {
    fn cmp(&self, other: &Self) -> Ordering {
        let ((load, head), (others_load, others_head)) = (self.load(), other.load());
        load.total_cmp(&others_load).then(head.cmp(&others_head)).then(self.tenant.cmp(&other.tenant))
    }
}

/// Chooses the jobs to push, in order. `rooms` is the headroom by tenant and kind, where that
/// is limited. A tenant gets all of the pool only while no other waits, and only for jobs that can be
/// signalled to hand back; otherwise one slot stays free for others.
pub(crate) fn choose(
    candidates: Vec<Candidate>,
    holdings: &HashMap<Uuid, Holding>,
    mut rooms: HashMap<(Uuid, String), usize>,
    others_wait: bool,
    share: Share,
    now: DateTime<Utc>,
) -> Vec<Candidate> {
    let mut lines: HashMap<Uuid, Vec<Candidate>> = HashMap::new();
    for candidate in candidates {
        lines.entry(candidate.tenant).or_default().push(candidate);
    }
    let mut heap: BinaryHeap<Reverse<Line>> = lines
        .into_iter()
        .map(|(tenant, mut jobs)| {
            jobs.sort_by(|a, b| {
                a.aged_priority(now)
                    .total_cmp(&b.aged_priority(now))
                    .then(a.run_at.cmp(&b.run_at))
                    .then(a.id.cmp(&b.id))
            });
            let holding = holdings.get(&tenant).copied().unwrap_or_default();
            Reverse(Line { tenant, holding, jobs: jobs.into() })
        })
        .collect();
    let mut chosen = Vec::new();
    while chosen.len() < share.free {
        let Some(Reverse(mut line)) = heap.pop() else { break };
        let Some(job) = line.jobs.pop_front() else { continue };
        if let Some(room) = rooms.get_mut(&(job.tenant, job.kind.clone())) {
            if *room == 0 {
                // Held back by a limit; the jobs of its other kinds may be served.
                heap.push(Reverse(line));
                continue;
            }
            *room -= 1;
        }
        let most =
            if others_wait || !job.checkpoints { share.all.saturating_sub(1).max(1) } else { share.all };
        if line.holding.jobs >= most {
            continue; // the whole line: the following ones hold no less
        }
        line.holding.jobs += 1;
        chosen.push(job);
        heap.push(Reverse(line));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn job(tenant: u128, n: u128, priority: i16, waited: i64) -> Candidate {
        Candidate {
            id: Uuid::from_u128(tenant * 1_000_000 + n),
            tenant: Uuid::from_u128(tenant),
            kind: "test".into(),
            priority,
            run_at: now() - TimeDelta::seconds(waited),
            checkpoints: false,
        }
    }

    fn tenants(chosen: &[Candidate]) -> Vec<u128> {
        chosen.iter().map(|job| job.tenant.as_u128()).collect()
    }

    fn choose_of(
        candidates: Vec<Candidate>,
        holdings: &[(u128, usize, i32)],
        free: usize,
        all: usize,
    ) -> Vec<Candidate> {
        let holdings = holdings
            .iter()
            .map(|&(tenant, jobs, weight)| (Uuid::from_u128(tenant), Holding { jobs, weight }))
            .collect();
        choose(candidates, &holdings, HashMap::new(), true, Share { free, all }, now())
    }

    #[test]
    fn a_quiet_tenant_goes_before_the_ten_thousandth_job_of_a_busy_one() {
        let mut due: Vec<_> = (0..1000).map(|n| job(1, n, 0, 500)).collect();
        due.push(job(2, 0, 9, 0));
        let chosen = choose_of(due, &[(1, 50, 1)], 3, 100);
        assert_eq!(tenants(&chosen), [2, 1, 1]);
    }

    #[test]
    fn a_heavier_weight_gets_a_larger_share() {
        let due = (1..=2).flat_map(|tenant| (0..100).map(move |n| job(tenant, n, 5, 10))).collect();
        let chosen = choose_of(due, &[(1, 0, 3), (2, 0, 1)], 40, 100);
        assert_eq!(tenants(&chosen).iter().filter(|&&tenant| tenant == 1).count(), 30);
    }

    #[test]
    fn priority_counts_within_a_tenant_until_waiting_makes_up_for_it() {
        let fresh = job(1, 1, 0, 0);
        let waited_a_little = job(1, 2, 9, 60);
        let waited_long = job(1, 3, 9, 600);
        let chosen =
            choose_of(vec![waited_a_little.clone(), fresh.clone(), waited_long.clone()], &[], 3, 100);
        assert_eq!(chosen, [waited_long, fresh, waited_a_little]);
    }

    #[test]
    fn one_slot_stays_free_for_whoever_comes() {
        let due: Vec<_> = (0..10).map(|n| job(1, n, 5, 10)).collect();
        assert_eq!(choose_of(due.clone(), &[], 4, 4).len(), 3);
        assert_eq!(choose_of(due, &[], 1, 1).len(), 1, "a pool of one slot is not left idle");
    }

    #[test]
    fn alone_a_tenant_gets_all_slots_for_jobs_that_can_hand_back() {
        let due: Vec<_> = (0..10).map(|n| Candidate { checkpoints: true, ..job(1, n, 5, 10) }).collect();
        let chosen = choose(due, &HashMap::new(), HashMap::new(), false, Share { free: 4, all: 4 }, now());
        assert_eq!(chosen.len(), 4);
    }

    #[test]
    fn a_limit_on_one_kind_lets_the_others_pass() {
        let mut due: Vec<_> = (0..10).map(|n| job(1, n, 0, 10)).collect();
        due.push(Candidate { kind: "other".into(), ..job(1, 99, 9, 0) });
        let rooms = HashMap::from([((Uuid::from_u128(1), "test".to_owned()), 2)]);
        let chosen = choose(due, &HashMap::new(), rooms, true, Share { free: 8, all: 100 }, now());
        assert_eq!(chosen.iter().map(|job| job.kind.as_str()).collect::<Vec<_>>(), ["test", "test", "other"]);
    }
}
