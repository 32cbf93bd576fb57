//! Turning due occurrences into jobs: the leader's part.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{CatchUp, Kept, Overlap, Plan, RUNS_KEPT, RUNS_KEPT_AT_LEAST, RunOutcome, Schedule};
use crate::{Database, JobId, Origin, Owner, ScheduleId, Tx, control, enqueue};

/// Number of schedules per transaction.
const AT_ONCE: i64 = 200;
/// Maximum age of an occurrence that counts as on time.
const ON_TIME: TimeDelta = TimeDelta::seconds(60);
/// Maximum number of occurrences of one schedule that are made up for.
const MOST: usize = 100;

/// Disables those of the schedules whose maker may no longer run them, and answers them: their
/// occurrences are skipped. The maker's permissions are not known to the ledger.
pub type DisableRefused =
    for<'a> fn(&'a mut Tx, &'a [ScheduleId]) -> BoxFuture<'a, Result<HashSet<ScheduleId>, sqlx::Error>>;

/// Enqueues the occurrences that are due at a time, and advances their schedules, in one commit. Of two
/// leaders, one finds nothing.
pub async fn enqueue_due(
    database: &Database,
    now: DateTime<Utc>,
    disable_refused: Option<DisableRefused>,
) -> Result<(), sqlx::Error> {
    while enqueue_some(database, now, disable_refused).await? == AT_ONCE {}
    Ok(())
}

/// An occurrence to be recorded.
struct Occurrence<'a> {
    schedule: &'a Schedule,
    workspace: Option<Uuid>,
    at: DateTime<Utc>,
    outcome: RunOutcome,
    job: Option<JobId>,
}

async fn enqueue_some(
    database: &Database,
    now: DateTime<Utc>,
    disable_refused: Option<DisableRefused>,
) -> Result<i64, sqlx::Error> {
    let mut tx = database.begin().await?;
    let rows = sqlx::query_as!(
        Kept,
        "select id, workspace_id, name, description, kind, version, pool, payload, priority, max_attempts,
                checkpoints, cron, timezone, every, run_at, overlap, catch_up, jitter_seconds, enabled, origin,
                disabled_reason, next_at, last_at, last_job, created_at, updated_at
           from schedules where enabled and next_at <= $1
          order by next_at limit $2
            for update skip locked",
        now,
        AT_ONCE,
    )
    .fetch_all(tx.conn())
    .await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let found = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let live = live_jobs(&mut tx, &rows).await?;
    let ids: Vec<ScheduleId> = rows.iter().map(|row| ScheduleId(row.id)).collect();
    let refused = match disable_refused {
        Some(disable_refused) => disable_refused(&mut tx, &ids).await?,
        None => HashSet::new(),
    };
    let mut due = Vec::with_capacity(rows.len());
    for row in rows {
        let (id, workspace) = (row.id, row.workspace_id);
        match Schedule::try_from(row) {
            Ok(schedule) => due.push((workspace, schedule)),
            // Possibly one of a newer release; the others must not wait for it.
            Err(error) => {
                tracing::error!(schedule = %id, %error, "a schedule is postponed by a minute");
                put_off(&mut tx, id, now).await?;
            }
        }
    }

    let mut occurrences = Vec::new();
    let mut replaced = Vec::new();
    for (workspace, schedule) in &due {
        let before = schedule.last_job.filter(|job| live.contains(job));
        for (at, outcome) in decide(&schedule.plan, schedule.next_at, now, before.is_some()) {
            let outcome = if refused.contains(&schedule.id) { RunOutcome::Skipped } else { outcome };
            let job = (outcome != RunOutcome::Skipped).then(JobId::new);
            if outcome == RunOutcome::Replaced {
                replaced.extend(before.map(|before| (Owner::of_row(*workspace), before)));
            }
            occurrences.push(Occurrence { schedule, workspace: *workspace, at, outcome, job });
        }
    }
    let occurrences = record(&mut tx, occurrences).await?;
    for occurrence in &occurrences {
        let Some(job) = occurrence.job else { continue };
        let Occurrence { schedule, workspace, at, .. } = occurrence;
        let run_at = *at + jitter(schedule.id, *at, schedule.plan.jitter_seconds);
        let row = schedule.plan.template.row(job, schedule.origin.clone(), Some(run_at));
        enqueue::insert(&mut tx, *workspace, &[row]).await?;
    }
    advance(&mut tx, &due, &occurrences, now).await?;
    for (owner, job) in replaced {
        control::cancel(&mut tx, owner, job, &Origin::default()).await?;
    }
    tx.commit().await?;
    metrics::counter!("millrace_schedule_runs_total")
        .increment(occurrences.iter().filter(|occurrence| occurrence.job.is_some()).count() as u64);
    Ok(found)
}

/// The outcomes of a schedule's occurrences up to `now`, oldest first.
fn decide(
    plan: &Plan,
    next_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    live: bool,
) -> Vec<(DateTime<Utc>, RunOutcome)> {
    let Some(first) = next_at else { return Vec::new() };
    let mut times = plan.timing.newest(first, now, MOST);
    let on_time = times.partition_point(|at| *at < now - ON_TIME);
    match plan.catch_up {
        CatchUp::All => {}
        CatchUp::Latest => drop(times.drain(..on_time.min(times.len().saturating_sub(1)))),
        CatchUp::None => drop(times.drain(..on_time)),
    }
    let (oldest, newest) = (0, times.len().saturating_sub(1));
    let outcome = |place| match plan.overlap {
        // The oldest of several is the one that the others overlap with.
        Overlap::Skip if live || place != oldest => RunOutcome::Skipped,
        // The newest of several would replace the others at once.
        Overlap::Replace if place != newest => RunOutcome::Skipped,
        Overlap::Replace if live => RunOutcome::Replaced,
        Overlap::Queue | Overlap::Skip | Overlap::Replace => RunOutcome::Enqueued,
    };
    times.into_iter().enumerate().map(|(place, at)| (at, outcome(place))).collect()
}

/// Random delay of an occurrence's job, always the same for the same occurrence.
fn jitter(schedule: ScheduleId, at: DateTime<Utc>, most_seconds: i32) -> TimeDelta {
    let most = u64::try_from(most_seconds).unwrap_or(0) * 1000;
    let mut hash = Sha256::new();
    hash.update(schedule.0.as_bytes());
    hash.update(at.timestamp_micros().to_be_bytes());
    let chance = hash.finalize().iter().take(8).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    TimeDelta::milliseconds(i64::try_from(chance % (most + 1)).unwrap_or(0))
}

/// The unfinished ones of the schedules' latest jobs.
async fn live_jobs(tx: &mut Tx, schedules: &[Kept]) -> Result<HashSet<JobId>, sqlx::Error> {
    let newest: Vec<Uuid> = schedules.iter().filter_map(|schedule| schedule.last_job).collect();
    let live =
        sqlx::query_scalar!("select id from jobs where id = any($1)", &newest).fetch_all(tx.conn()).await?;
    Ok(live.into_iter().map(JobId).collect())
}

async fn put_off(tx: &mut Tx, id: Uuid, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query!("update schedules set next_at = $2 where id = $1", id, now + TimeDelta::minutes(1))
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Records occurrences; answers those that were not recorded before.
async fn record<'a>(
    tx: &mut Tx,
    occurrences: Vec<Occurrence<'a>>,
) -> Result<Vec<Occurrence<'a>>, sqlx::Error> {
    let ids: Vec<Uuid> = occurrences.iter().map(|occurrence| occurrence.schedule.id.0).collect();
    let times: Vec<DateTime<Utc>> = occurrences.iter().map(|occurrence| occurrence.at).collect();
    let jobs: Vec<Option<Uuid>> =
        occurrences.iter().map(|occurrence| occurrence.job.map(|job| job.0)).collect();
    let outcomes: Vec<String> =
        occurrences.iter().map(|occurrence| occurrence.outcome.name().to_owned()).collect();
    let new: HashSet<(Uuid, DateTime<Utc>)> = sqlx::query!(
        "insert into schedule_runs (schedule_id, scheduled_for, job_id, outcome)
         select * from unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::text[])
         on conflict (schedule_id, scheduled_for) do nothing
         returning schedule_id, scheduled_for",
        &ids,
        &times,
        &jobs as &[Option<Uuid>],
        &outcomes,
    )
    .fetch_all(tx.conn())
    .await?
    .into_iter()
    .map(|row| (row.schedule_id, row.scheduled_for))
    .collect();
    let is_new = |occurrence: &Occurrence<'_>| new.contains(&(occurrence.schedule.id.0, occurrence.at));
    Ok(occurrences.into_iter().filter(is_new).collect())
}

/// Advances schedules to their next occurrence, and removes history beyond its retention.
async fn advance(
    tx: &mut Tx,
    due: &[(Option<Uuid>, Schedule)],
    occurrences: &[Occurrence<'_>],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let newest = |id: ScheduleId, with_job: bool| {
        let of_it = |occurrence: &&Occurrence<'_>| {
            occurrence.schedule.id == id && (!with_job || occurrence.job.is_some())
        };
        occurrences.iter().rfind(of_it)
    };
    let mut ids = Vec::with_capacity(due.len());
    let mut next: Vec<Option<DateTime<Utc>>> = Vec::with_capacity(due.len());
    let mut last: Vec<Option<DateTime<Utc>>> = Vec::with_capacity(due.len());
    let mut jobs: Vec<Option<Uuid>> = Vec::with_capacity(due.len());
    for (_, schedule) in due {
        ids.push(schedule.id.0);
        next.push(schedule.plan.timing.next_after(now, schedule.next_at.unwrap_or(now)));
        last.push(newest(schedule.id, false).map(|occurrence| occurrence.at));
        jobs.push(newest(schedule.id, true).and_then(|occurrence| occurrence.job).map(|job| job.0));
    }
    sqlx::query!(
        "update schedules s
            set next_at = moved.next_at, last_at = coalesce(moved.last_at, s.last_at),
                last_job = coalesce(moved.last_job, s.last_job)
           from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::uuid[])
                as moved (id, next_at, last_at, last_job)
          where s.id = moved.id",
        &ids,
        &next as &[Option<DateTime<Utc>>],
        &last as &[Option<DateTime<Utc>>],
        &jobs as &[Option<Uuid>],
    )
    .execute(tx.conn())
    .await?;
    sqlx::query!(
        "delete from schedule_runs r using unnest($1::uuid[]) as moved (id)
          where r.schedule_id = moved.id and r.scheduled_for < $2
            and r.scheduled_for < (select newer.scheduled_for from schedule_runs newer
                                    where newer.schedule_id = moved.id
                                    order by newer.scheduled_for desc limit 1 offset $3)",
        &ids,
        now - RUNS_KEPT,
        RUNS_KEPT_AT_LEAST - 1,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        kinds::NoOp,
        schedules::{Template, Timing},
    };

    fn plan(timing: Timing, overlap: Overlap, catch_up: CatchUp) -> Plan {
        Plan {
            name: "n".to_owned(),
            description: None,
            timing,
            template: Template::of(&NoOp::default()).unwrap(),
            overlap,
            catch_up,
            jitter_seconds: 0,
            enabled: true,
        }
    }

    fn hourly(overlap: Overlap, catch_up: CatchUp) -> Plan {
        plan(Timing::cron("@hourly", "UTC").unwrap(), overlap, catch_up)
    }

    fn at(text: &str) -> DateTime<Utc> {
        format!("2026-01-01T{text}Z").parse().unwrap()
    }

    fn decided(plan: &Plan, now: &str, live: bool) -> Vec<(String, &'static str)> {
        decide(plan, Some(at("01:00:00")), at(now), live)
            .into_iter()
            .map(|(at, outcome)| (at.format("%H:%M").to_string(), outcome.name()))
            .collect()
    }

    fn one(at: &str, outcome: &'static str) -> Vec<(String, &'static str)> {
        vec![(at.to_owned(), outcome)]
    }

    #[test]
    fn an_occurrence_on_time_is_enqueued_whatever_the_catch_up_policy() {
        for catch_up in [CatchUp::None, CatchUp::Latest, CatchUp::All] {
            let plan = hourly(Overlap::Skip, catch_up);
            assert_eq!(decided(&plan, "01:00:01", false), one("01:00", "enqueued"));
            assert_eq!(decided(&plan, "00:59:59", false), []);
        }
    }

    #[test]
    fn after_a_downtime_the_policy_says_what_is_made_up_for() {
        assert_eq!(decided(&hourly(Overlap::Queue, CatchUp::None), "03:30:00", false), []);
        let latest = decided(&hourly(Overlap::Queue, CatchUp::Latest), "03:30:00", false);
        assert_eq!(latest, one("03:00", "enqueued"));
        let all = decided(&hourly(Overlap::Queue, CatchUp::All), "03:30:00", false);
        assert_eq!(all.iter().map(|(at, _)| at.as_str()).collect::<Vec<_>>(), ["01:00", "02:00", "03:00"]);
        // An occurrence that is on time at the end of a downtime is not missed.
        let none = decided(&hourly(Overlap::Queue, CatchUp::None), "03:00:10", false);
        assert_eq!(none, one("03:00", "enqueued"));
    }

    #[test]
    fn while_the_job_before_is_live_the_overlap_policy_decides() {
        let decided = |overlap, live| decided(&hourly(overlap, CatchUp::Latest), "01:00:01", live);
        assert_eq!(decided(Overlap::Skip, true), one("01:00", "skipped"));
        assert_eq!(decided(Overlap::Queue, true), one("01:00", "enqueued"));
        assert_eq!(decided(Overlap::Replace, true), one("01:00", "replaced"));
        assert_eq!(decided(Overlap::Replace, false), one("01:00", "enqueued"));
    }

    #[test]
    fn occurrences_made_up_for_together_overlap_with_each_other() {
        let outcomes = |overlap| -> Vec<&str> {
            let all = decided(&hourly(overlap, CatchUp::All), "03:30:00", false);
            all.into_iter().map(|(_, outcome)| outcome).collect()
        };
        assert_eq!(outcomes(Overlap::Skip), ["enqueued", "skipped", "skipped"]);
        assert_eq!(outcomes(Overlap::Replace), ["skipped", "skipped", "enqueued"]);
    }

    #[test]
    fn no_more_than_the_newest_hundred_are_made_up_for() {
        let seconds = plan(Timing::Every(Duration::from_secs(1)), Overlap::Queue, CatchUp::All);
        let decided = decide(&seconds, Some(at("01:00:00")), at("02:00:00"), false);
        assert_eq!((decided.len(), decided[99].0), (MOST, at("02:00:00")));
    }

    proptest! {
        #[test]
        fn jitter_is_within_its_bound_and_the_same_for_the_same_occurrence(
            id in any::<u128>(), seconds in 0..4_000_000_000_i64, most in 0..3600_i32,
        ) {
            let id = ScheduleId(Uuid::from_u128(id));
            let at = DateTime::from_timestamp(seconds, 0).unwrap();
            let first = jitter(id, at, most);
            prop_assert!(first >= TimeDelta::zero() && first <= TimeDelta::seconds(most.into()));
            prop_assert_eq!(jitter(id, at, most), first);
        }

        /// For any ticks of the scheduler without a long gap, each occurrence is
        /// decided once.
        #[test]
        fn every_occurrence_is_decided_once(
            period in 1..40_u64,
            ticks in prop::collection::vec(0..59_i64, 1..60),
            catch_up in prop::sample::select(&[CatchUp::None, CatchUp::Latest, CatchUp::All][..]),
        ) {
            let plan = plan(Timing::Every(Duration::from_secs(period)), Overlap::Queue, catch_up);
            let start = at("00:00:00");
            let (mut now, mut next, mut seen) = (start, start, Vec::new());
            for tick in ticks {
                now += TimeDelta::seconds(tick);
                if next <= now {
                    seen.extend(decide(&plan, Some(next), now, false).into_iter().map(|(at, _)| at));
                    next = plan.timing.next_after(now, next).unwrap();
                }
            }
            let step = TimeDelta::seconds(i64::try_from(period).unwrap());
            let expected: Vec<_> = std::iter::successors(Some(start), |at| Some(*at + step))
                .take_while(|at| *at <= now)
                .collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
