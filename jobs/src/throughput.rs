//! Throughput: numbers of runs by outcome, per minute, and their durations.
//!
//! A worker counts in memory and adds its figures to the table as often as it renews its leases. So they
//! cost nothing per job, and a killed worker loses at most one such interval of them; a commit whose answer is lost
//! is counted twice. They are for graphs and for scaling, not for accounting, which uses the ledger.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use metrics::{Counter, Histogram};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    Database, Pool, clock,
    ledger::{Claimed, interval},
};

/// Retention of the history.
pub const KEPT: Duration = Duration::from_secs(14 * 24 * 3600);
/// The counted outcomes.
const OUTCOMES: [&str; 5] = ["completed", "failed", "cancelled", "retried", "returned"];
/// Interval at which a worker removes data beyond the retention.
const PRUNE: Duration = Duration::from_secs(3600);

/// Numbers of runs of one kind within one step of time.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Object))]
pub struct Throughput {
    /// Start of the step.
    pub at: DateTime<Utc>,
    /// Name of the pool.
    pub pool: String,
    /// Job kind.
    pub kind: String,
    /// Number of runs that completed their job.
    pub completed: i64,
    /// Number of runs that failed their job finally.
    pub failed: i64,
    /// Number of runs that were cancelled.
    pub cancelled: i64,
    /// Number of runs that failed and will be retried.
    pub retried: i64,
    /// Number of runs that gave their job back without a failure: handed back, snoozed, or stopped because the
    /// database or the file storage was unreachable.
    pub returned: i64,
    /// Total duration of all these runs in seconds.
    pub run_seconds: f64,
    /// Number of these runs that were their job's first.
    pub first_runs: i64,
    /// Total waiting time in seconds of the jobs of these first runs, from due time to start.
    pub wait_seconds: f64,
}

/// A section of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Pool filter.
    pub pool: Option<Pool>,
    /// Kind filter.
    pub kind: Option<String>,
    /// Start, inclusive.
    pub from: DateTime<Utc>,
    /// End, exclusive.
    pub to: DateTime<Utc>,
    /// Length of a step; whole minutes.
    pub step: Duration,
}

/// The history of a span, oldest first; steps and kinds without any run are left out.
pub async fn history(database: &Database, span: &Span) -> Result<Vec<Throughput>, sqlx::Error> {
    sqlx::query_as!(
        Throughput,
        r#"select date_bin($5, minute, $3) as "at!", pool, kind,
                  coalesce(sum(runs) filter (where outcome = 'completed'), 0)::bigint as "completed!",
                  coalesce(sum(runs) filter (where outcome = 'failed'), 0)::bigint as "failed!",
                  coalesce(sum(runs) filter (where outcome = 'cancelled'), 0)::bigint as "cancelled!",
                  coalesce(sum(runs) filter (where outcome = 'retried'), 0)::bigint as "retried!",
                  coalesce(sum(runs) filter (where outcome = 'returned'), 0)::bigint as "returned!",
                  sum(run_seconds) as "run_seconds!", sum(first_runs)::bigint as "first_runs!",
                  sum(wait_seconds) as "wait_seconds!"
             from job_throughput
            where minute >= $3 and minute < $4
              and ($1::text is null or pool = $1) and ($2::text is null or kind = $2)
            group by 1, pool, kind
            order by 1, pool, kind"#,
        span.pool.map(Pool::name),
        span.kind,
        span.from,
        span.to,
        interval(span.step),
    )
    .fetch_all(&database.pool)
    .await
}

/// The minute of a time.
#[must_use]
pub fn minute_of(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(TimeDelta::minutes(1)).unwrap_or(at)
}

struct Key {
    minute: DateTime<Utc>,
    pool: String,
    kind: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sums {
    runs: i64,
    run_seconds: f64,
    first_runs: i64,
    wait_seconds: f64,
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.runs += other.runs;
        self.run_seconds += other.run_seconds;
        self.first_runs += other.first_runs;
        self.wait_seconds += other.wait_seconds;
    }
}

/// One kind in one worker: its metrics, and its figures that are not yet written.
struct KindTally {
    pool: String,
    started: Counter,
    seconds: Histogram,
    ended: HashMap<&'static str, Counter>,
    sums: HashMap<(DateTime<Utc>, &'static str), Sums>,
}

impl KindTally {
    fn of(job: &Claimed) -> Self {
        Self {
            pool: job.pool.clone(),
            started: metrics::counter!("millrace_jobs_started_total", "kind" => job.kind.clone()),
            seconds: metrics::histogram!("millrace_job_seconds", "kind" => job.kind.clone()),
            ended: HashMap::new(),
            sums: HashMap::new(),
        }
    }
}

/// A worker's figures, by kind.
#[derive(Default)]
pub(crate) struct Tally(Mutex<HashMap<String, KindTally>>);

/// Starts the figures of these kinds at 0.
pub(crate) fn begin(kinds: impl Iterator<Item = &'static str>) {
    for kind in kinds {
        metrics::counter!("millrace_jobs_started_total", "kind" => kind).absolute(0);
        for outcome in OUTCOMES {
            metrics::counter!("millrace_jobs_ended_total", "kind" => kind, "outcome" => outcome).absolute(0);
        }
    }
}

impl Tally {
    /// Counts a run that starts.
    pub(crate) fn started(&self, job: &Claimed) {
        self.of(job, |tally| tally.started.increment(1));
    }

    /// Counts a run that has just ended.
    pub(crate) fn ended(&self, job: &Claimed, outcome: &'static str, took: Duration) {
        let minute = minute_of(clock::now());
        let sums = Sums {
            runs: 1,
            run_seconds: took.as_secs_f64(),
            first_runs: job.waited.is_some().into(),
            wait_seconds: job.waited.unwrap_or(0.0).max(0.0),
        };
        self.of(job, |tally| {
            let ended = tally.ended.entry(outcome).or_insert_with(
                || metrics::counter!("millrace_jobs_ended_total", "kind" => job.kind.clone(), "outcome" => outcome),
            );
            ended.increment(1);
            tally.seconds.record(took.as_secs_f64());
            if OUTCOMES.contains(&outcome) {
                *tally.sums.entry((minute, outcome)).or_default() += sums;
            }
        });
    }

    fn of(&self, job: &Claimed, count: impl FnOnce(&mut KindTally)) {
        let mut kinds = self.lock();
        match kinds.get_mut(&job.kind) {
            Some(tally) => count(tally),
            None => count(kinds.entry(job.kind.clone()).or_insert_with(|| KindTally::of(job))),
        }
    }

    /// Adds the figures to the table; on an error they stay counted.
    pub(crate) async fn flush(&self, database: &Database) -> Result<(), sqlx::Error> {
        let counted: Vec<(Key, Sums)> = self
            .lock()
            .iter_mut()
            .flat_map(|(kind, tally)| {
                let (kind, pool) = (kind.clone(), tally.pool.clone());
                tally.sums.drain().map(move |((minute, outcome), sums)| {
                    (Key { minute, pool: pool.clone(), kind: kind.clone(), outcome }, sums)
                })
            })
            .collect();
        if counted.is_empty() {
            return Ok(());
        }
        let (keys, sums): (Vec<Key>, Vec<Sums>) = counted.into_iter().unzip();
        let written = sqlx::query!(
            // In the order of the keys, so that two workers never wait for each other.
            "insert into job_throughput as t
                    (minute, pool, kind, outcome, runs, run_seconds, first_runs, wait_seconds)
             select * from unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::bigint[],
                                  $6::float8[], $7::bigint[], $8::float8[])
              order by 1, 2, 3, 4
             on conflict (minute, pool, kind, outcome) do update
                set runs = t.runs + excluded.runs,
                    run_seconds = t.run_seconds + excluded.run_seconds,
                    first_runs = t.first_runs + excluded.first_runs,
                    wait_seconds = t.wait_seconds + excluded.wait_seconds",
            &keys.iter().map(|key| key.minute).collect::<Vec<_>>(),
            &keys.iter().map(|key| key.pool.clone()).collect::<Vec<_>>(),
            &keys.iter().map(|key| key.kind.clone()).collect::<Vec<_>>(),
            &keys.iter().map(|key| key.outcome.to_owned()).collect::<Vec<_>>(),
            &sums.iter().map(|sum| sum.runs).collect::<Vec<_>>(),
            &sums.iter().map(|sum| sum.run_seconds).collect::<Vec<_>>(),
            &sums.iter().map(|sum| sum.first_runs).collect::<Vec<_>>(),
            &sums.iter().map(|sum| sum.wait_seconds).collect::<Vec<_>>(),
        )
        .execute(&database.pool)
        .await;
        if let Err(error) = written {
            let mut kept = self.lock();
            for (key, sum) in keys.into_iter().zip(sums) {
                if let Some(tally) = kept.get_mut(&key.kind) {
                    *tally.sums.entry((key.minute, key.outcome)).or_default() += sum;
                }
            }
            return Err(error);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, KindTally>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a worker's figures at the given interval, until `stop` and once more then; and removes data beyond the
/// retention.
pub(crate) async fn keep(tally: Arc<Tally>, database: Database, every: Duration, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut prune_at = Instant::now();
    loop {
        let stopped = tokio::select! {
            _ = ticks.tick() => false,
            () = stop.cancelled() => true,
        };
        if let Err(error) = tally.flush(&database).await {
            tracing::warn!(%error, "could not write the throughput; it is kept for the next time");
        }
        if stopped {
            return;
        }
        if Instant::now() >= prune_at {
            prune_at = Instant::now() + PRUNE;
            if let Err(error) = prune(&database).await {
                tracing::warn!(%error, "could not prune the throughput; trying again in an hour");
            }
        }
    }
}

async fn prune(database: &Database) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from job_throughput where minute < now() - $1::interval", interval(KEPT))
        .execute(&database.pool)
        .await?;
    Ok(())
}
