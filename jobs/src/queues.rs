//! State of the queues: waiting and running jobs of each pool, their amount of work, and the slots that they
//! need. Everything is read from the ledger, the worker registry and the throughput; nothing is stored.
//!
//! [`Gauge`] is for frequent reads: it counts at most every two seconds, and the less often the
//! longer counting takes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::{sync::Mutex, time::Instant};
use uuid::Uuid;

use crate::{Database, Pool, clock, dispatch, throughput};

/// Minimum lifetime of a count.
const GOOD_FOR: Duration = Duration::from_secs(2);
/// Counting takes at most one part in so many of a connection's time.
const PART: u32 = 10;
/// Assumed duration of a job of an unknown kind, in seconds.
const UNKNOWN_SECONDS: f64 = 1.0;

/// State of the jobs of one kind.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Object))]
pub struct KindQueue {
    /// Job kind.
    pub kind: String,
    /// Pool that runs it.
    pub pool: String,
    /// Number of jobs that are due and not paused. Some may be held back by a limit.
    pub ready: i64,
    /// Number of jobs that are due and paused.
    pub paused: i64,
    /// Number of jobs that are not due yet.
    pub scheduled: i64,
    /// Number of running jobs.
    pub running: i64,
    /// Time in seconds for which the oldest ready job has been due; 0 if there is none.
    pub oldest_seconds: f64,
    /// Mean duration in seconds of a job of the kind, all its runs together: over the last hour; without data,
    /// its pool's, else one second.
    pub mean_seconds: f64,
    /// Estimated time in seconds for one slot to work off the ready jobs.
    pub work_seconds: f64,
}

/// State of a pool.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Object))]
pub struct PoolQueue {
    /// Name of the pool.
    pub pool: String,
    /// Number of jobs that are due and not paused. Some may be held back by a limit.
    pub ready: i64,
    /// Number of jobs that are due and paused.
    pub paused: i64,
    /// Number of jobs that are not due yet.
    pub scheduled: i64,
    /// Number of running jobs.
    pub running: i64,
    /// Time in seconds for which the oldest ready job has been due; 0 if there is none.
    pub oldest_seconds: f64,
    /// Estimated time in seconds for one slot to work off the ready jobs, by the durations of the last hour.
    pub work_seconds: f64,
    /// Estimated time in seconds for the live slots to work off the ready jobs; without live slots, for one slot.
    pub backlog_seconds: f64,
    /// Number of slots of the live workers that accept jobs.
    pub slots: i64,
    /// Number of live workers of the pool that accept jobs.
    pub workers: i64,
    /// Rate of new jobs per minute, over the last one to two minutes.
    pub enqueued_per_minute: f64,
    /// Rate of finished jobs per minute, over the same time.
    pub ended_per_minute: f64,
}

impl PoolQueue {
    /// Number of slots with which the pool works off the ready jobs within `target`: the busy ones,
    /// and as many more as are needed, but no more than there are jobs.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // clamped to the ready jobs
    pub fn desired(&self, target: Duration) -> i64 {
        let more = (self.work_seconds / target.as_secs_f64().max(1.0)).ceil();
        let at_least = i64::from(self.ready > 0);
        self.running + (more.min(self.ready as f64) as i64).max(at_least)
    }
}

/// State of one workspace's jobs in a pool.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Object), oai(rename = "WorkspaceQueue"))]
pub struct TenantQueue {
    /// Workspace id; the nil id stands for the installation itself.
    #[cfg_attr(feature = "openapi", oai(rename = "workspace_id"))]
    pub tenant: Uuid,
    /// Number of jobs that are due and not paused.
    pub ready: i64,
    /// Number of jobs that are due and paused.
    pub paused: i64,
    /// Number of jobs that are not due yet.
    pub scheduled: i64,
    /// Number of running jobs.
    pub running: i64,
    /// Time in seconds for which the oldest ready job has been due; 0 if there is none.
    pub oldest_seconds: f64,
}

/// Numbers of workers by state. Those without a heartbeat within two leases count as silent
/// only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Workers {
    /// Number of workers that accept jobs.
    pub taking: i64,
    /// Number of paused workers.
    pub paused: i64,
    /// Number of draining workers.
    pub leaving: i64,
    /// Number of workers without a recent heartbeat.
    pub silent: i64,
}

/// Current state of queues and workers.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueStats {
    /// All pools, including those without jobs and workers.
    pub pools: Vec<PoolQueue>,
    /// All kinds with unfinished jobs.
    pub kinds: Vec<KindQueue>,
    /// Workers.
    pub workers: Workers,
    /// Number of pauses.
    pub pauses: i64,
    /// Whether a scheduler is active.
    pub led: bool,
    /// Time of the count.
    pub at: DateTime<Utc>,
}

impl QueueStats {
    /// The pool of that name.
    #[must_use]
    pub fn pool(&self, pool: Pool) -> Option<&PoolQueue> {
        self.pools.iter().find(|queue| queue.pool == pool.name())
    }
}

/// Cached figures for many readers.
#[derive(Debug, Clone)]
pub struct Gauge {
    database: Database,
    counted: Arc<Mutex<Option<Counted>>>,
}

#[derive(Debug)]
struct Counted {
    figures: Arc<QueueStats>,
    good_until: Instant,
}

impl Gauge {
    /// A gauge without a count yet.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self { database, counted: Arc::default() }
    }

    /// The state as of at most two seconds ago, or of ten times as long as counting
    /// takes. Concurrent calls wait for the same count.
    pub async fn read(&self) -> Result<Arc<QueueStats>, sqlx::Error> {
        let mut counted = self.counted.lock().await;
        if let Some(counted) = &*counted
            && Instant::now() < counted.good_until
        {
            return Ok(Arc::clone(&counted.figures));
        }
        let began = Instant::now();
        let figures = Arc::new(count(&self.database).await?);
        let good_for = GOOD_FOR.max(began.elapsed() * PART);
        *counted = Some(Counted { figures: Arc::clone(&figures), good_until: Instant::now() + good_for });
        Ok(figures)
    }
}

/// Counts everything now.
pub async fn count(database: &Database) -> Result<QueueStats, sqlx::Error> {
    let at = clock::now();
    let mut kinds = live_kinds(database).await?;
    let slots = live_slots(database).await?;
    let since = throughput::minute_of(at) - TimeDelta::minutes(1);
    let past = past_runs(database, since).await?;
    let enqueued = enqueued_since(database, since).await?;

    #[allow(clippy::cast_precision_loss)] // milliseconds of two minutes
    let minutes = (at - since).num_milliseconds() as f64 / 60_000.0;
    let mut pools: BTreeMap<String, PoolQueue> = Pool::all()
        .iter()
        .copied()
        .map(|pool| (pool.name().to_owned(), PoolQueue { pool: pool.name().into(), ..PoolQueue::default() }))
        .collect();
    for kind in &mut kinds {
        kind.mean_seconds = mean_seconds(&past, kind);
        #[allow(clippy::cast_precision_loss)] // a number of jobs
        let ready = kind.ready as f64;
        kind.work_seconds = ready * kind.mean_seconds;
        let pool = entry(&mut pools, &kind.pool);
        pool.ready += kind.ready;
        pool.paused += kind.paused;
        pool.scheduled += kind.scheduled;
        pool.running += kind.running;
        pool.oldest_seconds = pool.oldest_seconds.max(kind.oldest_seconds);
        pool.work_seconds += kind.work_seconds;
    }
    for (name, (workers, slots)) in slots {
        let pool = entry(&mut pools, &name);
        (pool.workers, pool.slots) = (workers, slots);
    }
    for runs in &past {
        entry(&mut pools, &runs.pool).ended_per_minute += runs.ended_lately / minutes;
    }
    for (name, jobs) in enqueued {
        entry(&mut pools, &name).enqueued_per_minute = jobs / minutes;
    }
    for pool in pools.values_mut() {
        #[allow(clippy::cast_precision_loss)] // a number of slots
        let slots = pool.slots.max(1) as f64;
        pool.backlog_seconds = pool.work_seconds / slots;
    }
    Ok(QueueStats {
        pools: pools.into_values().collect(),
        kinds,
        workers: workers(database).await?,
        pauses: pauses(database).await?,
        led: dispatch::is_led(database).await?,
        at,
    })
}

fn entry<'a>(pools: &'a mut BTreeMap<String, PoolQueue>, name: &str) -> &'a mut PoolQueue {
    // A pool of a newer release has jobs and workers too.
    pools
        .entry(name.to_owned())
        .or_insert_with(|| PoolQueue { pool: name.to_owned(), ..PoolQueue::default() })
}

/// Unfinished jobs by kind: all entries of the index of the lanes, less the running ones. Pauses are decided by
/// lane, not by job.
async fn live_kinds(database: &Database) -> Result<Vec<KindQueue>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        with waiting as materialized (
            select l.*, exists (select from job_pauses p
                                 where (p.pool is null or p.pool = l.pool) and (p.kind is null or p.kind = l.kind)
                                   and (p.tenant is null or p.tenant = l.tenant)) as held
              from live_lanes l
        )
        select pool as "pool!", kind as "kind!",
               coalesce(sum(due) filter (where not held), 0)::bigint as "ready!",
               coalesce(sum(due) filter (where held), 0)::bigint as "paused!",
               sum(later)::bigint as "scheduled!", sum(running)::bigint as "running!",
               greatest(coalesce(extract(epoch from now() - min(due_since) filter (where not held)), 0),
                        0)::float8 as "oldest_seconds!"
          from waiting
         group by pool, kind
         order by pool, kind
        "#
    )
    .fetch_all(&database.pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| KindQueue {
            kind: row.kind,
            pool: row.pool,
            ready: row.ready,
            paused: row.paused,
            scheduled: row.scheduled,
            running: row.running,
            oldest_seconds: row.oldest_seconds,
            ..KindQueue::default()
        })
        .collect())
}

/// The tenants with the most unfinished jobs in a pool, and the state of those.
pub async fn tenants(database: &Database, pool: Pool, limit: i64) -> Result<Vec<TenantQueue>, sqlx::Error> {
    sqlx::query_as!(
        TenantQueue,
        r#"
        with waiting as materialized (
            select l.*, exists (select from job_pauses p
                                 where (p.pool is null or p.pool = $1) and (p.kind is null or p.kind = l.kind)
                                   and (p.tenant is null or p.tenant = l.tenant)) as held
              from live_lanes l
             where l.pool = $1
        )
        select tenant as "tenant!", coalesce(sum(due) filter (where not held), 0)::bigint as "ready!",
               coalesce(sum(due) filter (where held), 0)::bigint as "paused!",
               sum(later)::bigint as "scheduled!", sum(running)::bigint as "running!",
               greatest(coalesce(extract(epoch from now() - min(due_since) filter (where not held)), 0),
                        0)::float8 as "oldest_seconds!"
          from waiting
         group by tenant
         order by sum(due + later + running) desc, tenant
         limit $2
        "#,
        pool.name(),
        limit,
    )
    .fetch_all(&database.pool)
    .await
}

/// Pool → live workers that accept its jobs, and their slots.
async fn live_slots(database: &Database) -> Result<Vec<(String, (i64, i64))>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select s.key as "pool!", count(*) as "workers!", sum(s.value::bigint)::bigint as "slots!"
             from workers w, jsonb_each_text(w.slots) s
            where w.heartbeat_at > now() - 2 * w.lease and w.asked is null
            group by s.key"#
    )
    .fetch_all(&database.pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.pool, (row.workers, row.slots))).collect())
}

/// Recent runs of a kind.
struct Past {
    pool: String,
    kind: String,
    /// Number of runs of the last hour.
    runs: f64,
    /// Number of them that ended their job.
    ended: f64,
    /// Their total duration.
    run_seconds: f64,
    /// Number of ends since the given time.
    ended_lately: f64,
}

async fn past_runs(database: &Database, lately: DateTime<Utc>) -> Result<Vec<Past>, sqlx::Error> {
    sqlx::query_as!(
        Past,
        r#"select pool, kind, sum(runs)::float8 as "runs!", sum(run_seconds)::float8 as "run_seconds!",
                  coalesce(sum(runs) filter (where outcome in ('completed', 'failed', 'cancelled')),
                           0)::float8 as "ended!",
                  coalesce(sum(runs) filter (where outcome in ('completed', 'failed', 'cancelled')
                                               and minute >= $1), 0)::float8 as "ended_lately!"
             from job_throughput
            where minute > now() - interval '1 hour'
            group by pool, kind"#,
        lately,
    )
    .fetch_all(&database.pool)
    .await
}

/// Mean duration of a job of the kind, all its runs together.
fn mean_seconds(past: &[Past], kind: &KindQueue) -> f64 {
    let mean = |of: &dyn Fn(&&Past) -> bool| {
        let (mut seconds, mut jobs, mut runs) = (0.0, 0.0, 0.0);
        for past in past.iter().filter(of) {
            seconds += past.run_seconds;
            jobs += past.ended;
            runs += past.runs;
        }
        // If no job has ended yet, its runs so far are the best estimate.
        let over = if jobs > 0.0 { jobs } else { runs };
        (over > 0.0).then(|| seconds / over)
    };
    mean(&|past| past.pool == kind.pool && past.kind == kind.kind)
        .or_else(|| mean(&|past| past.pool == kind.pool))
        .unwrap_or(UNKNOWN_SECONDS)
}

/// Pool → jobs enqueued since then. Ids include the time, so the primary keys find them.
async fn enqueued_since(
    database: &Database,
    since: DateTime<Utc>,
) -> Result<Vec<(String, f64)>, sqlx::Error> {
    let milliseconds = u128::try_from(since.timestamp_millis()).unwrap_or(0);
    let rows = sqlx::query!(
        r#"select pool as "pool!", count(*)::float8 as "jobs!"
             from (select pool from jobs where id >= $1
                   union all select pool from finished_jobs where id >= $1) new
            group by pool"#,
        Uuid::from_u128(milliseconds << 80),
    )
    .fetch_all(&database.pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.pool, row.jobs)).collect())
}

async fn workers(database: &Database) -> Result<Workers, sqlx::Error> {
    sqlx::query_as!(
        Workers,
        r#"select count(*) filter (where live and asked is null) as "taking!",
                  count(*) filter (where live and asked = 'pause') as "paused!",
                  count(*) filter (where live and asked = 'drain') as "leaving!",
                  count(*) filter (where not live) as "silent!"
             from (select asked, heartbeat_at > now() - 2 * lease as live from workers) w"#
    )
    .fetch_one(&database.pool)
    .await
}

async fn pauses(database: &Database) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"select count(*) as "pauses!" from job_pauses"#).fetch_one(&database.pool).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(kind: &str, runs: f64, ended: f64, run_seconds: f64) -> Past {
        Past { pool: "imports".into(), kind: kind.into(), runs, ended, run_seconds, ended_lately: 0.0 }
    }

    fn kind(name: &str) -> KindQueue {
        KindQueue { kind: name.into(), pool: "imports".into(), ..KindQueue::default() }
    }

    fn queue(ready: i64, running: i64, work_seconds: f64) -> PoolQueue {
        PoolQueue { ready, running, work_seconds, ..PoolQueue::default() }
    }

    #[test]
    fn a_job_that_was_handed_back_took_all_its_runs_together() {
        let past = [past("a", 10.0, 2.0, 100.0)];
        assert!((mean_seconds(&past, &kind("a")) - 50.0).abs() < 1e-9);
    }

    #[test]
    fn a_kind_that_never_ran_is_taken_for_its_pools_mean_else_for_a_second() {
        let past = [past("a", 4.0, 4.0, 8.0)];
        assert!((mean_seconds(&past, &kind("b")) - 2.0).abs() < 1e-9);
        assert!((mean_seconds(&[], &kind("b")) - UNKNOWN_SECONDS).abs() < 1e-9);
    }

    #[test]
    fn desired_slots_are_the_busy_ones_and_what_the_target_takes() {
        let minute = Duration::from_secs(60);
        assert_eq!(queue(0, 0, 0.0).desired(minute), 0, "no jobs");
        assert_eq!(queue(0, 3, 0.0).desired(minute), 3, "running jobs keep their slots");
        assert_eq!(queue(100, 2, 600.0).desired(minute), 12, "ten minutes of work within one");
        assert_eq!(queue(5, 0, 6000.0).desired(minute), 5, "no more than one slot a job");
        assert_eq!(queue(5, 0, 0.01).desired(minute), 1, "a pool without workers comes up");
    }
}
