//! Retrying dead letters, with a fresh set of attempts.

use std::ops::ControlFlow;

use chrono::{DateTime, Utc};
use serde_json::json;
use uuid::Uuid;

use super::{AT_ONCE, Filter};
use crate::{
    JobId, Origin, Owner, Pool, Steps, Tx,
    audit::{self, Change},
    batch, clock,
    control::{self, Retry},
    watch::{Event, Status},
};

/// Result of retrying many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetriedAll {
    /// Number of jobs that wait again.
    pub retried: i64,
    /// Number of jobs whose unique key another job has taken meanwhile; they stay dead letters.
    pub duplicates: i64,
    /// Whether there may be more, for another call.
    pub more: bool,
}

/// Position in the list that a transaction has reached.
type Place = (DateTime<Utc>, Uuid);

/// Retries a dead letter, as [`control::retry`] does. Other jobs are not found.
pub async fn retry(tx: &mut Tx, owner: Owner, id: JobId, by: &Origin) -> Result<Retry, sqlx::Error> {
    let dead = sqlx::query_scalar!(
        r#"select true as "dead!" from finished_jobs
            where id = $1 and workspace_id is not distinct from $2 and state = 'failed' and discarded_at is null
              for update"#,
        id.0,
        owner.workspace(),
    )
    .fetch_optional(tx.conn())
    .await?;
    if dead.is_none() {
        return Ok(Retry::NotFound);
    }
    control::retry(tx, owner, id, by).await
}

/// Retries the matching dead letters, the oldest first, some hundred in a step, until none is left that existed
/// at the call, or about `at_most` have been examined. A batch is reopened.
#[derive(Debug)]
pub struct RetryAll<'a> {
    owner: Owner,
    filter: &'a Filter,
    at_most: i64,
    by: &'a Origin,
    done: RetriedAll,
    until: Option<DateTime<Utc>>,
    after: Option<Place>,
}

impl<'a> RetryAll<'a> {
    /// Those of the owner that match.
    #[must_use]
    pub fn new(owner: Owner, filter: &'a Filter, at_most: i64, by: &'a Origin) -> Self {
        let done = RetriedAll::default();
        Self { owner, filter, at_most, by, done, until: None, after: None }
    }
}

impl Steps for RetryAll<'_> {
    type Done = RetriedAll;

    fn limit(&mut self, at_most: i64) {
        self.at_most = self.at_most.min(at_most);
    }

    async fn step(&mut self, tx: &mut Tx) -> Result<ControlFlow<RetriedAll>, sqlx::Error> {
        // A job that fails again meanwhile fails after the first step, and is not retried once more.
        let until = if let Some(until) = self.until {
            until
        } else {
            let now = sqlx::query_scalar!(r#"select now() as "now!""#).fetch_one(tx.conn()).await?;
            *self.until.insert(self.filter.until.map_or(now, |until| until.min(now)))
        };
        let bounds = (until, self.after);
        let (retried, duplicates, last) = retry_some(tx, self.owner, self.filter, bounds, self.by).await?;
        self.done.retried += retried;
        self.done.duplicates += duplicates;
        self.after = last;
        if retried + duplicates < AT_ONCE {
            return Ok(ControlFlow::Break(self.done));
        }
        if self.done.retried + self.done.duplicates >= self.at_most {
            return Ok(ControlFlow::Break(RetriedAll { more: true, ..self.done }));
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// One step: the numbers of jobs that wait again and of duplicates, and the position of its end.
async fn retry_some(
    tx: &mut Tx,
    owner: Owner,
    filter: &Filter,
    (until, after): (DateTime<Utc>, Option<Place>),
    by: &Origin,
) -> Result<(i64, i64, Option<Place>), sqlx::Error> {
    let rows = sqlx::query!(
        r#"with dead as (
               select id, kind, unique_key, finished_at from finished_jobs
                where state = 'failed' and discarded_at is null
                  and coalesce(workspace_id, '00000000-0000-0000-0000-000000000000') = $1
                  and (cardinality($2::text[]) = 0 or kind = any($2))
                  and (cardinality($3::text[]) = 0 or error ->> 'code' = any($3))
                  and ($4::timestamptz is null or finished_at >= $4)
                  and finished_at < $5
                  and ($6::timestamptz is null or (finished_at, id) > ($6, $7::uuid))
                  and kind <> all($10)
                order by finished_at, id
                limit $8
                  for update skip locked
           ), keyed as (
               -- Of several with one key, the youngest is tried again.
               insert into job_keys as k (tenant, kind, key, job_id, until)
               select distinct on (kind, unique_key) $1, kind, unique_key, id, 'done'
                 from dead where unique_key is not null
                order by kind, unique_key, finished_at desc, id desc
               on conflict (tenant, kind, key) do update
                  set job_id = case when k.expires_at < now() then excluded.job_id else k.job_id end,
                      until = case when k.expires_at < now() then excluded.until else k.until end,
                      expires_at = case when k.expires_at < now() then null else k.expires_at end
               returning k.kind, k.key, k.job_id
           ), free as (
               select array_agg(d.id) as ids
                 from dead d left join keyed k on k.kind = d.kind and k.key = d.unique_key
                where (k.job_id is null or k.job_id = d.id) and d.kind <> $9
           ), again as (
               select r.id, r.epoch, r.pool from free, restart_jobs(free.ids, true) r
           )
           select d.id, d.kind, d.finished_at, a.epoch as "epoch?", a.pool as "pool?"
             from dead d left join again a on a.id = d.id
            order by d.finished_at, d.id"#,
        owner.tenant(),
        &filter.kinds,
        &filter.codes,
        filter.since,
        until,
        after.map(|(at, _)| at),
        after.map(|(_, id)| id),
        AT_ONCE,
        batch::KIND,
        &filter.except,
    )
    .fetch_all(tx.conn())
    .await?;
    let (mut retried, mut beginnings, mut duplicates) = (Vec::new(), Vec::new(), 0);
    let last = rows.last().map(|row| (row.finished_at, row.id));
    for row in rows {
        let (Some(epoch), Some(pool)) = (row.epoch, row.pool) else {
            let reopened = row.kind == batch::KIND && batch::reopen(tx, owner, JobId(row.id)).await?;
            if reopened {
                retried.push(row.id);
            } else {
                duplicates += 1;
            }
            continue;
        };
        retried.push(row.id);
        beginnings.push(Event::transition(JobId(row.id), Status::Queued, epoch, clock::now()));
        if let Some(pool) = Pool::named(&pool) {
            tx.wake_after_commit(pool);
        }
    }
    control::begin_anew(tx, beginnings).await?;
    if !retried.is_empty() {
        let data = json!({ "job_ids": retried });
        let change = Change {
            workspace: owner.workspace(),
            action: "jobs.retried",
            resource_type: "job",
            resource_id: None,
            data,
        };
        audit::note(tx, by, change).await?;
    }
    Ok((i64::try_from(retried.len()).unwrap_or(i64::MAX), duplicates, last))
}
