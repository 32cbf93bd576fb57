//! Retention: the time for which finished jobs stay in the history, and their removal in small batches.
//!
//! Each kind declares its own ([`crate::JobKind::RETENTION`]); rows of `job_retention` override it. A
//! child stays as long as its batch's parent. Data of a job (log, checkpoint) is removed before or
//! with it, so a process killed in between leaves nothing that the next run doesn't find.

use std::time::Duration;

use uuid::Uuid;

use crate::{Database, ledger::interval};

/// Number of rows removed by one transaction.
pub const BATCH: i64 = 1_000;

/// Retention of a finished job in the history, by its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// After success.
    pub completed: Duration,
    /// After failure: as long as it may be needed for an investigation, or a retry.
    pub failed: Duration,
    /// After cancellation.
    pub cancelled: Duration,
}

impl Retention {
    /// A week after success, else 30 days.
    pub const DEFAULT: Self = Self::of_days(7, 30);

    /// So many days after success, and so many otherwise.
    #[must_use]
    pub const fn of_days(completed: u64, otherwise: u64) -> Self {
        let otherwise = Duration::from_secs(otherwise * 86_400);
        Self { completed: Duration::from_secs(completed * 86_400), failed: otherwise, cancelled: otherwise }
    }
}

/// The retention of all kinds of a release; the default for any other.
#[derive(Debug, Clone)]
pub struct Policies(Vec<(Option<&'static str>, Retention)>);

impl Policies {
    pub(crate) fn new(kinds: impl IntoIterator<Item = (&'static str, Retention)>) -> Self {
        let kinds = kinds.into_iter().map(|(kind, retention)| (Some(kind), retention));
        Self(kinds.chain([(None, Retention::DEFAULT)]).collect())
    }

    fn rows(&self) -> impl Iterator<Item = (Option<&'static str>, &'static str, Duration)> {
        self.0.iter().flat_map(|&(kind, keep)| {
            [
                (kind, "completed", keep.completed),
                (kind, "failed", keep.failed),
                (kind, "cancelled", keep.cancelled),
            ]
        })
    }
}

/// A page of the history.
#[derive(Debug, Clone)]
pub struct Page<C> {
    /// Jobs that may be removed, or removed jobs with remaining data.
    pub jobs: Vec<Uuid>,
    /// Start of the next page; none after the last.
    pub next: Option<C>,
}

/// The finished jobs after `after`, oldest first, that are beyond their retention. They are found by their ids, which
/// include the creation time: none has ended before, and an index by the end would cost each job's end a tenth more.
pub async fn expired(
    database: &Database,
    policies: &Policies,
    after: Uuid,
) -> Result<Page<Uuid>, sqlx::Error> {
    let kinds: Vec<_> = policies.rows().map(|(kind, _, _)| kind.map(str::to_owned)).collect();
    let states: Vec<_> = policies.rows().map(|(_, state, _)| state.to_owned()).collect();
    let keeps: Vec<_> = policies.rows().map(|(_, _, keep)| interval(keep)).collect();
    let shortest = policies.rows().map(|(_, _, keep)| keep).min().unwrap_or_default();
    let rows = sqlx::query!(
        r#"
        with policies as (
            select * from unnest($1::text[], $2::text[], $3::interval[]) as p(kind, state, keep)
        ), page as (
            select id, kind, state, finished_at, batch_id
              from finished_jobs
             where id > $5
               and id < id_made_at(now() - least($4, (select min(keep) from job_retention)))
             order by id
             limit $6
        )
        select id as "id!",
               finished_at < now() - coalesce(
                   (select r.keep from job_retention r
                     where (r.kind is null or r.kind = page.kind) and (r.state is null or r.state = page.state)
                     order by r.kind nulls last, r.state nulls last
                     limit 1),
                   (select p.keep from policies p
                     where (p.kind is null or p.kind = page.kind) and p.state = page.state
                     order by p.kind nulls last
                     limit 1))
               and not exists (select from all_jobs parent where parent.id = page.batch_id)
               as "expired!"
          from page
         order by id
        "#,
        &kinds as &[Option<String>],
        &states,
        &keeps,
        interval(shortest),
        after,
        BATCH,
    )
    .fetch_all(&database.pool)
    .await?;
    let full = i64::try_from(rows.len()).is_ok_and(|rows| rows >= BATCH);
    let next = rows.last().filter(|_| full).map(|row| row.id);
    let jobs = rows.into_iter().filter(|row| row.expired).map(|row| row.id).collect();
    Ok(Page { jobs, next })
}

/// Removed jobs with remaining log lines, those after `after` in the order of ids.
pub async fn left_lines(database: &Database, after: Uuid) -> Result<Page<Uuid>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        with recursive logged as (
            (select job_id from job_logs where job_id > $1 order by job_id limit 1)
            union all
            select (select l.job_id from job_logs l where l.job_id > logged.job_id order by l.job_id limit 1)
              from logged where logged.job_id is not null
        ), page as (
            select job_id from logged where job_id is not null limit $2
        )
        select job_id as "job_id!",
               not exists (select from all_jobs j where j.id = page.job_id) as "left!"
          from page
        "#,
        after,
        BATCH,
    )
    .fetch_all(&database.pool)
    .await?;
    let full = i64::try_from(rows.len()).is_ok_and(|rows| rows >= BATCH);
    let next = rows.last().filter(|_| full).map(|row| row.job_id);
    Ok(Page { jobs: rows.into_iter().filter(|row| row.left).map(|row| row.job_id).collect(), next })
}

/// Removes a batch of log lines of those of the jobs that don't exist any longer. Answers whether there may be more.
pub async fn remove_lines(database: &Database, jobs: &[Uuid]) -> Result<bool, sqlx::Error> {
    let removed = sqlx::query!(
        "delete from job_logs
          where (job_id, id) in (
                select l.job_id, l.id from job_logs l
                 where l.job_id = any($1) and not exists (select from jobs j where j.id = l.job_id)
                 limit $2)",
        jobs,
        BATCH,
    )
    .execute(&database.pool)
    .await?;
    Ok(i64::try_from(removed.rows_affected()).is_ok_and(|removed| removed >= BATCH))
}

/// Removes those of the jobs that are still finished, with their checkpoints; answers their number.
pub async fn remove(database: &Database, jobs: &[Uuid]) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        with doomed as (
            select id from finished_jobs where id = any($1) order by id for update skip locked
        ), gone as (
            delete from finished_jobs f using doomed d where f.id = d.id returning f.id
        ), effects as (
            delete from job_checkpoints c using gone where c.job_id = gone.id
        )
        select count(*) as "gone!" from gone
        "#,
        jobs,
    )
    .fetch_one(&database.pool)
    .await
}

/// Removes checkpoints of removed jobs, examining a batch of those after `after`. Answers
/// the position to continue from.
pub async fn remove_left_checkpoints(database: &Database, after: Uuid) -> Result<Option<Uuid>, sqlx::Error> {
    let seen = sqlx::query!(
        r#"
        with page as (
            select job_id from job_checkpoints where job_id > $1 order by job_id limit $2
        ), gone as (
            delete from job_checkpoints c using page p
             where c.job_id = p.job_id and not exists (select from all_jobs j where j.id = c.job_id)
        )
        select (select job_id from page order by job_id desc limit 1) as last, (select count(*) from page) as "seen!"
        "#,
        after,
        BATCH,
    )
    .fetch_one(&database.pool)
    .await?;
    Ok(seen.last.filter(|_| seen.seen >= BATCH))
}

/// Removes a batch of expired unique keys. Answers whether there may be more.
pub async fn remove_expired_keys(database: &Database) -> Result<bool, sqlx::Error> {
    let removed = sqlx::query!(
        "delete from job_keys
          where (tenant, kind, key) in (
                select tenant, kind, key from job_keys where expires_at < now()
                 order by expires_at limit $1 for update skip locked)",
        BATCH,
    )
    .execute(&database.pool)
    .await?;
    Ok(i64::try_from(removed.rows_affected()).is_ok_and(|removed| removed >= BATCH))
}

/// Removes a batch of starts that no rate limit counts. Answers whether there may be more.
pub async fn remove_old_starts(database: &Database) -> Result<bool, sqlx::Error> {
    let removed = sqlx::query!(
        "delete from job_starts
          where (limit_id, subject) in (
                select s.limit_id, s.subject from job_starts s join job_limits l on l.id = s.limit_id
                 where l.per is null or s.opened_at + l.per < now()
                 limit $1 for update of s skip locked)",
        BATCH,
    )
    .execute(&database.pool)
    .await?;
    Ok(i64::try_from(removed.rows_affected()).is_ok_and(|removed| removed >= BATCH))
}
