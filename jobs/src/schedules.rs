//! Schedules: jobs that are enqueued at set times, once or recurring.
//!
//! The leader turns due occurrences into jobs ([`due`]): an occurrence, its job and the advance of its
//! schedule are one commit, so that a scheduler that is killed neither forgets an occurrence nor repeats
//! one, and of two leaders one finds nothing. Here: the data of a schedule, and the actions on those of
//! a workspace. Its times are computed by [`timing`].

mod due;
mod recurring;
mod timing;

use std::{borrow::Cow, str::FromStr, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor, PgPool, postgres::types::PgInterval};
use uuid::Uuid;

pub use due::{DisableRefused, enqueue_due};
pub use recurring::Recurring;
pub(crate) use recurring::declare;
pub use timing::{CronTiming, Timing, TimingError};

use crate::{
    JobId, JobKind, Origin, ScheduleId, Tx, clock,
    enqueue::{self, Row},
    ledger::interval,
    watch::Status,
};

/// Maximum age of the history of occurrences,
const RUNS_KEPT: chrono::TimeDelta = chrono::TimeDelta::days(30);
/// and minimum number of them that are kept regardless of their age.
const RUNS_KEPT_AT_LEAST: i64 = 100;

/// Handling of an occurrence while the job of the previous one is unfinished.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Enum), oai(rename_all = "snake_case"))]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Recorded as skipped.
    #[default]
    Skip,
    /// Enqueued all the same; both jobs may run at once.
    Queue,
    /// The previous job is cancelled, and this one enqueued.
    Replace,
}

/// Handling of occurrences that were missed during a downtime.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Enum), oai(rename_all = "snake_case"))]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// Left out.
    None,
    /// Only the newest is made up for.
    #[default]
    Latest,
    /// All are made up for, up to the newest hundred.
    All,
}

/// Outcome of an occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(poem_openapi::Enum),
    oai(rename = "ScheduleRunOutcome", rename_all = "snake_case")
)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// Its job was enqueued.
    Enqueued,
    /// Skipped: the job of the previous one was unfinished, or the maker may no longer start it.
    Skipped,
    /// Its job was enqueued, and the previous one cancelled for it.
    Replaced,
}

/// Gives an enum with one word per value its names in the ledger.
macro_rules! named {
    ($($name:ident { $($value:ident = $word:literal),* $(,)? })*) => { $(
        impl $name {
            /// The name in the ledger.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$value => $word),* }
            }
        }

        impl FromStr for $name {
            type Err = sqlx::Error;

            fn from_str(word: &str) -> Result<Self, sqlx::Error> {
                match word {
                    $($word => Ok(Self::$value),)*
                    other => Err(sqlx::Error::Decode(format!("{other} is unknown here").into())),
                }
            }
        }
    )* };
}

named! {
    Overlap { Skip = "skip", Queue = "queue", Replace = "replace" }
    CatchUp { None = "none", Latest = "latest", All = "all" }
    RunOutcome { Enqueued = "enqueued", Skipped = "skipped", Replaced = "replaced" }
}

/// The job that each occurrence enqueues.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    kind: String,
    version: i16,
    /// Kind by name: it may be of another release.
    pool: Cow<'static, str>,
    payload: Value,
    priority: i16,
    max_attempts: i32,
    checkpoints: bool,
}

impl Template {
    /// A job of that kind, with its kind's policy.
    ///
    /// # Errors
    /// When the payload can't be serialised, or its kind has secrets: they are encrypted per job, and this
    /// payload serves many.
    pub fn of<K: JobKind>(job: &K) -> serde_json::Result<Self> {
        if !K::SECRETS.is_empty() {
            return Err(serde::ser::Error::custom("the job of a schedule can't have secrets"));
        }
        Ok(Self {
            kind: K::NAME.to_owned(),
            version: K::VERSION,
            pool: K::POOL.name().into(),
            payload: serde_json::to_value(job)?,
            priority: K::PRIORITY,
            max_attempts: K::RETRY.attempts,
            checkpoints: K::CHECKPOINTS,
        })
    }

    /// The kind's name, and the payload.
    #[must_use]
    pub fn parts(&self) -> (&str, &Value) {
        (&self.kind, &self.payload)
    }

    /// A row of the ledger.
    fn row(&self, id: JobId, origin: Origin, run_at: Option<DateTime<Utc>>) -> Row {
        Row {
            id,
            kind: self.kind.clone().into(),
            version: self.version,
            pool: self.pool.clone(),
            payload: self.payload.clone(),
            origin,
            priority: self.priority,
            run_at,
            max_attempts: self.max_attempts,
            checkpoints: self.checkpoints,
            batch_id: None,
            unique_key: None,
            unique_until: None,
            unique_seconds: None,
        }
    }
}

/// The plan of a schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Name, for display.
    pub name: String,
    /// Description, for display.
    pub description: Option<String>,
    /// Timing.
    pub timing: Timing,
    /// Job to enqueue.
    pub template: Template,
    /// Handling of an occurrence while the job of the previous one is unfinished.
    pub overlap: Overlap,
    /// Handling of occurrences that were missed during a downtime.
    pub catch_up: CatchUp,
    /// Maximum random delay in seconds, the same for each repetition of the same occurrence.
    pub jitter_seconds: i32,
    /// Whether the schedule is enabled.
    pub enabled: bool,
}

/// A stored schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Schedule id.
    pub id: ScheduleId,
    /// Plan.
    pub plan: Plan,
    /// Origin of the schedule, and of its jobs.
    pub origin: Origin,
    /// Reason why it was disabled without a request; none while it is enabled.
    pub disabled_reason: Option<String>,
    /// Time of the next occurrence; none if there is none, or it is not enabled.
    pub next_at: Option<DateTime<Utc>>,
    /// Time of the latest occurrence.
    pub last_at: Option<DateTime<Utc>>,
    /// Latest job.
    pub last_job: Option<JobId>,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// Time of the last change.
    pub updated_at: DateTime<Utc>,
}

/// The outcome of one occurrence.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Due time.
    pub scheduled_for: DateTime<Utc>,
    /// Outcome.
    pub outcome: RunOutcome,
    /// Whether it was started manually, beside the timing.
    pub manual: bool,
    /// Job; none if it was skipped.
    pub job: Option<JobId>,
    /// Job status; none once it was removed from the history.
    pub status: Option<Status>,
    /// Time of the decision.
    pub created_at: DateTime<Utc>,
}

/// A row of `schedules`.
struct Kept {
    id: Uuid,
    workspace_id: Option<Uuid>,
    name: String,
    description: Option<String>,
    kind: String,
    version: i16,
    pool: String,
    payload: Value,
    priority: i16,
    max_attempts: i32,
    checkpoints: bool,
    cron: Option<String>,
    timezone: String,
    every: Option<PgInterval>,
    run_at: Option<DateTime<Utc>>,
    overlap: String,
    catch_up: String,
    jitter_seconds: i32,
    enabled: bool,
    disabled_reason: Option<String>,
    origin: Value,
    next_at: Option<DateTime<Utc>>,
    last_at: Option<DateTime<Utc>>,
    last_job: Option<Uuid>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Kept> for Schedule {
    type Error = sqlx::Error;

    fn try_from(row: Kept) -> Result<Self, sqlx::Error> {
        let unreadable = |what: String| sqlx::Error::Decode(format!("schedule {}: {what}", row.id).into());
        let timing = match (&row.cron, row.run_at, &row.every) {
            (Some(cron), _, _) => {
                Timing::cron(cron, &row.timezone).map_err(|error| unreadable(error.to_string()))?
            }
            (None, Some(at), _) => Timing::Once(at),
            (None, None, Some(every)) => Timing::Every(duration(every)),
            (None, None, None) => return Err(unreadable("has no timing".to_owned())),
        };
        let template = Template {
            pool: row.pool.into(),
            kind: row.kind,
            version: row.version,
            payload: row.payload,
            priority: row.priority,
            max_attempts: row.max_attempts,
            checkpoints: row.checkpoints,
        };
        Ok(Self {
            id: ScheduleId(row.id),
            plan: Plan {
                name: row.name,
                description: row.description,
                timing,
                template,
                overlap: row.overlap.parse()?,
                catch_up: row.catch_up.parse()?,
                jitter_seconds: row.jitter_seconds,
                enabled: row.enabled,
            },
            origin: Origin::read(row.origin)?,
            disabled_reason: row.disabled_reason,
            next_at: row.next_at.filter(|_| row.enabled),
            last_at: row.last_at,
            last_job: row.last_job.map(JobId),
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// A schedule of a list: one that can't be read is left out, and no other.
fn readable(row: Kept) -> Option<Schedule> {
    let id = row.id;
    Schedule::try_from(row)
        .inspect_err(|error| tracing::error!(schedule = %id, %error, "a schedule's row can't be read"))
        .ok()
}

/// An interval of ours: months are never in it.
fn duration(interval: &PgInterval) -> Duration {
    let days = i64::from(interval.days) * 86_400_000_000;
    Duration::from_micros(u64::try_from(interval.microseconds + days).unwrap_or(0))
}

/// The columns of a timing: cron, timezone, every, `run_at`.
type TimingColumns<'a> = (Option<&'a str>, &'a str, Option<PgInterval>, Option<DateTime<Utc>>);

impl Timing {
    fn columns(&self) -> TimingColumns<'_> {
        match self {
            Self::Cron(cron) => (Some(cron.text()), cron.zone(), None, None),
            Self::Every(period) => (None, "UTC", Some(interval(*period)), None),
            Self::Once(at) => (None, "UTC", None, Some(*at)),
        }
    }

    /// The first occurrence of a schedule that begins now. A single time that has passed is due at once.
    fn first(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Once(at) => Some(*at),
            other => other.next_after(now, now),
        }
    }
}

/// Creates a schedule of a workspace.
pub async fn create(
    tx: &mut Tx,
    workspace: Uuid,
    plan: &Plan,
    origin: &Origin,
) -> Result<ScheduleId, sqlx::Error> {
    let id = Uuid::now_v7();
    let (cron, timezone, every, run_at) = plan.timing.columns();
    let template = &plan.template;
    sqlx::query!(
        "insert into schedules (id, workspace_id, name, description, kind, version, pool, payload, priority,
                max_attempts, checkpoints, cron, timezone, every, run_at, overlap, catch_up, jitter_seconds,
                enabled, origin, next_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)",
        id,
        workspace,
        plan.name,
        plan.description,
        template.kind,
        template.version,
        &*template.pool,
        template.payload,
        template.priority,
        template.max_attempts,
        template.checkpoints,
        cron,
        timezone,
        every,
        run_at,
        plan.overlap.name(),
        plan.catch_up.name(),
        plan.jitter_seconds,
        plan.enabled,
        serde_json::to_value(origin).map_err(|e| sqlx::Error::Encode(e.into()))?,
        plan.timing.first(clock::now()),
    )
    .execute(tx.conn())
    .await?;
    Ok(ScheduleId(id))
}

/// Changes a schedule of a workspace. Its next occurrence stays, unless its timing is
/// changed, or it is enabled again: then it is computed from now, and the origin of its jobs is the caller.
pub async fn update(tx: &mut Tx, schedule: &Schedule, plan: &Plan, by: &Origin) -> Result<(), sqlx::Error> {
    let (cron, timezone, every, run_at) = plan.timing.columns();
    let template = &plan.template;
    let before = &schedule.plan;
    let is_enabled = plan.enabled && !before.enabled;
    let begins = before.timing != plan.timing || is_enabled;
    let origin = if is_enabled { by } else { &schedule.origin };
    // A single time that has passed has no further occurrence.
    let over = matches!(plan.timing, Timing::Once(at) if schedule.last_at == Some(at));
    sqlx::query!(
        "update schedules
            set name = $2, description = $3, kind = $4, version = $5, pool = $6, payload = $7, priority = $8,
                max_attempts = $9, checkpoints = $10, cron = $11, timezone = $12, every = $13, run_at = $14,
                overlap = $15, catch_up = $16, jitter_seconds = $17, enabled = $18,
                next_at = case when $19 then $20 else next_at end, origin = $21,
                disabled_reason = case when not $18 then disabled_reason end, updated_at = now()
          where id = $1",
        schedule.id.0,
        plan.name,
        plan.description,
        template.kind,
        template.version,
        &*template.pool,
        template.payload,
        template.priority,
        template.max_attempts,
        template.checkpoints,
        cron,
        timezone,
        every,
        run_at,
        plan.overlap.name(),
        plan.catch_up.name(),
        plan.jitter_seconds,
        plan.enabled,
        begins,
        plan.timing.first(clock::now()).filter(|_| !over),
        serde_json::to_value(origin).map_err(|e| sqlx::Error::Encode(e.into()))?,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// A schedule of a workspace.
pub async fn find(
    conn: &mut PgConnection,
    workspace: Uuid,
    id: ScheduleId,
) -> Result<Option<Schedule>, sqlx::Error> {
    select(conn, workspace, Some(id), 1, 0).await?.pop().map(Schedule::try_from).transpose()
}

/// The same, locked until the transaction ends.
pub async fn hold(tx: &mut Tx, workspace: Uuid, id: ScheduleId) -> Result<Option<Schedule>, sqlx::Error> {
    let row = sqlx::query_as!(
        Kept,
        "select id, workspace_id, name, description, kind, version, pool, payload, priority, max_attempts,
                checkpoints, cron, timezone, every, run_at, overlap, catch_up, jitter_seconds, enabled, origin,
                disabled_reason, next_at, last_at, last_job, created_at, updated_at
           from schedules where id = $1 and workspace_id = $2 for update",
        id.0,
        workspace,
    )
    .fetch_optional(tx.conn())
    .await?;
    row.map(Schedule::try_from).transpose()
}

/// The schedules of a workspace, newest first.
pub async fn list(
    conn: &mut PgConnection,
    workspace: Uuid,
    limit: i64,
    offset: i64,
) -> Result<Vec<Schedule>, sqlx::Error> {
    let rows = select(conn, workspace, None, limit, offset).await?;
    Ok(rows.into_iter().filter_map(readable).collect())
}

async fn select(
    executor: impl PgExecutor<'_>,
    workspace: Uuid,
    id: Option<ScheduleId>,
    limit: i64,
    offset: i64,
) -> Result<Vec<Kept>, sqlx::Error> {
    sqlx::query_as!(
        Kept,
        "select id, workspace_id, name, description, kind, version, pool, payload, priority, max_attempts,
                checkpoints, cron, timezone, every, run_at, overlap, catch_up, jitter_seconds, enabled, origin,
                disabled_reason, next_at, last_at, last_job, created_at, updated_at
           from schedules where workspace_id = $1 and ($2::uuid is null or id = $2)
          order by id desc limit $3 offset $4",
        workspace,
        id.map(|id| id.0),
        limit,
        offset,
    )
    .fetch_all(executor)
    .await
}

/// Deletes a schedule of a workspace and its history. Its jobs stay. Answers whether there was one.
pub async fn delete(tx: &mut Tx, workspace: Uuid, id: ScheduleId) -> Result<bool, sqlx::Error> {
    let deleted = sqlx::query!("delete from schedules where id = $1 and workspace_id = $2", id.0, workspace)
        .execute(tx.conn())
        .await?;
    Ok(deleted.rows_affected() > 0)
}

/// Enqueues the job of a schedule now, manually: whether it is enabled or not, and regardless of unfinished runs.
pub async fn execute(
    tx: &mut Tx,
    workspace: Uuid,
    schedule: &Schedule,
    origin: Origin,
) -> Result<Run, sqlx::Error> {
    let job = JobId::new();
    enqueue::insert(tx, Some(workspace), &[schedule.plan.template.row(job, origin, None)]).await?;
    // By the clock, not by the transaction's beginning: two in a row are two.
    let at = sqlx::query_scalar!(
        r#"with run as (
               insert into schedule_runs (schedule_id, scheduled_for, job_id, outcome, manual)
               values ($1, clock_timestamp(), $2, 'enqueued', true)
               returning scheduled_for
           ), kept as (
               update schedules set last_job = $2 where id = $1
           )
           select scheduled_for from run"#,
        schedule.id.0,
        job.0,
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(Run {
        scheduled_for: at,
        outcome: RunOutcome::Enqueued,
        manual: true,
        job: Some(job),
        status: Some(Status::Queued),
        created_at: at,
    })
}

/// The history of a schedule, newest first.
pub async fn runs(
    conn: &mut PgConnection,
    id: ScheduleId,
    limit: i64,
    offset: i64,
) -> Result<Vec<Run>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select r.scheduled_for, r.outcome, r.manual, r.job_id, r.created_at,
                  j.state as "state?", j.run_at <= now() as "due?"
             from schedule_runs r
             left join all_jobs j on j.id = r.job_id
            where r.schedule_id = $1
            order by r.scheduled_for desc
            limit $2 offset $3"#,
        id.0,
        limit,
        offset,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Run {
                scheduled_for: row.scheduled_for,
                outcome: row.outcome.parse()?,
                manual: row.manual,
                job: row.job_id.map(JobId),
                status: row.state.map(|state| Status::of_state(&state, row.due.unwrap_or(true))),
                created_at: row.created_at,
            })
        })
        .collect()
}

/// The occurrence that a job was enqueued for, and its schedule; none for other jobs.
pub async fn occurrence_of(
    pool: &PgPool,
    job: JobId,
) -> Result<Option<(ScheduleId, DateTime<Utc>)>, sqlx::Error> {
    let row = sqlx::query!("select schedule_id, scheduled_for from schedule_runs where job_id = $1", job.0)
        .fetch_optional(pool)
        .await?;
    Ok(row.map(|row| (ScheduleId(row.schedule_id), row.scheduled_for)))
}
