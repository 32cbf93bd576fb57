//! The statements for a job's transitions. Each takes many jobs at once, and each is a
//! no-op for a job that is no longer in the state that its caller expects: the `where` clause is the state machine.
//!
//! Rows are always locked in the order of their ids, so that two statements never wait for each other.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use sqlx::{PgConnection, PgPool, postgres::types::PgInterval, types::Json};
use uuid::Uuid;

use crate::{
    JobId, Origin, Pool,
    roster::{Asked, Registration, State},
};

/// A job that a worker has claimed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Claimed {
    pub id: JobId,
    pub workspace: Option<Uuid>,
    pub kind: String,
    pub pool: String,
    pub version: i16,
    pub payload: Value,
    /// Origin; none if unreadable.
    pub origin: Option<Origin>,
    /// Latest due time.
    pub run_at: DateTime<Utc>,
    pub attempt: i32,
    pub max_attempts: i32,
    pub fence: i64,
    pub epoch: i64,
    pub progress: Option<Value>,
    /// A worker crashed while it ran: it runs alone.
    pub isolate: bool,
    /// Number of consecutive crashes while it ran alone.
    pub crashes: i32,
    /// Seconds for which it had been due, if this is its first run.
    pub waited: Option<f64>,
}

/// The final result of a claimed job.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub id: JobId,
    pub fence: i64,
    /// `completed`, `failed` or `cancelled`.
    pub state: &'static str,
    pub progress: Option<Value>,
    pub result: Option<Value>,
    pub error: Option<Value>,
}

/// The ledger's record of an end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// The epoch of the transition.
    pub epoch: i64,
    /// The counts of the last checkpoint, where there was one.
    pub checkpoint: Option<(i64, i64, i64)>,
}

/// The return of a claimed job to waiting.
#[derive(Debug, Clone)]
pub(crate) struct Returned {
    pub id: JobId,
    pub fence: i64,
    pub delay: Duration,
    /// Whether the attempt counts (a failure) or not (a snooze, a hand-back).
    pub counts: bool,
    pub progress: Option<Value>,
    pub error: Option<Value>,
}

/// A job whose holder is dead.
#[derive(Debug, Clone)]
pub(crate) struct Rescued {
    pub id: JobId,
    pub pool: Option<Pool>,
    pub epoch: i64,
    /// The last one that counts: a freed job gets the lost one back.
    pub attempt: i32,
    pub crashes: i32,
    /// The reason, if too many consecutive crashes have finished it as failed.
    pub quarantined: Option<String>,
}

/// Maximum number of jobs that are freed at once.
const RESCUED: i64 = 500;

pub(crate) fn interval(duration: Duration) -> PgInterval {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}

/// Claims those of the jobs that are due, waiting, not paused and within their limits. Jobs that another
/// worker took meanwhile are left out.
pub(crate) async fn claim(
    conn: &mut PgConnection,
    worker: Uuid,
    lease: Duration,
    ids: &[Uuid],
) -> Result<Vec<Option<Claimed>>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select id as "id!", workspace_id, kind as "kind!", pool as "pool!", version as "version!",
               payload as "payload!", origin as "origin!: Json<Box<RawValue>>", run_at as "run_at!", attempt as "attempt!",
               max_attempts as "max_attempts!", fence as "fence!", epoch as "epoch!", progress,
               isolate as "isolate!", crashes as "crashes!", claimed_at as "claimed_at!",
               started_at = claimed_at as "first!"
          from claim_jobs($1, $2, $3)
        "#,
        ids,
        worker,
        interval(lease),
    )
    .fetch_all(conn)
    .await?;
    let places: HashMap<Uuid, usize> = ids.iter().enumerate().map(|(place, id)| (*id, place)).collect();
    let mut claimed: Vec<Option<Claimed>> = std::iter::repeat_with(|| None).take(ids.len()).collect();
    for row in rows {
        if let Some(&place) = places.get(&row.id) {
            claimed[place] = Some(Claimed {
                id: JobId(row.id),
                workspace: row.workspace_id,
                kind: row.kind,
                pool: row.pool,
                version: row.version,
                payload: row.payload,
                origin: serde_json::from_str(row.origin.get()).ok().and_then(|kept| Origin::read(kept).ok()),
                run_at: row.run_at,
                attempt: row.attempt,
                max_attempts: row.max_attempts,
                fence: row.fence,
                epoch: row.epoch,
                progress: row.progress,
                isolate: row.isolate,
                crashes: row.crashes,
                waited: row.first.then(|| (row.claimed_at - row.run_at).as_seconds_f64()),
            });
        }
    }
    Ok(claimed)
}

/// Moves jobs to the finished ones. `None` for a job whose fence is no longer the caller's.
pub(crate) async fn end(
    conn: &mut PgConnection,
    ended: &[Arc<Ended>],
) -> Result<Vec<Option<End>>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select id as "id!", epoch as "epoch!", done, failed, skipped
          from end_jobs($1, $2, $3, $4, $5, $6, null)
        "#,
        &ended.iter().map(|e| e.id.0).collect::<Vec<_>>(),
        &ended.iter().map(|e| e.fence).collect::<Vec<_>>(),
        &ended.iter().map(|e| e.state).collect::<Vec<_>>() as &[&str],
        &ended.iter().map(|e| e.progress.as_ref()).collect::<Vec<_>>() as &[Option<&Value>],
        &ended.iter().map(|e| e.result.as_ref()).collect::<Vec<_>>() as &[Option<&Value>],
        &ended.iter().map(|e| e.error.as_ref()).collect::<Vec<_>>() as &[Option<&Value>],
    )
    .fetch_all(conn)
    .await?;
    let mut ends: HashMap<Uuid, End> = rows
        .into_iter()
        .map(|row| {
            let checkpoint = match (row.done, row.failed, row.skipped) {
                (Some(done), Some(failed), Some(skipped)) => Some((done, failed, skipped)),
                _ => None,
            };
            (row.id, End { epoch: row.epoch, checkpoint })
        })
        .collect();
    Ok(ended.iter().map(|e| ends.remove(&e.id.0)).collect())
}

/// Puts jobs back to waiting. `None` for a job whose fence is no longer the caller's, else its epoch.
pub(crate) async fn put_back(
    conn: &mut PgConnection,
    returned: &[Returned],
) -> Result<Vec<Option<i64>>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        with returning_jobs as (
            select * from unnest($1::uuid[], $2::bigint[], $3::interval[], $4::boolean[], $5::jsonb[], $6::jsonb[])
                       as r(id, fence, delay, counts, progress, error)
        ), held as (
            select j.id from jobs j join returning_jobs r on r.id = j.id
             where j.fence = r.fence and j.state = 'running'
             order by j.id
               for update of j
        )
        update jobs j
           set state = 'waiting',
               -- What is given back without a failure keeps its place.
               run_at = case when r.counts or r.delay > interval '0' then now() + r.delay else j.run_at end,
               attempt = case when r.counts then j.attempt else j.attempt - 1 end,
               -- A handler that came to an answer has not crashed; one that was given back may yet.
               crashes = case when r.counts or r.delay > interval '0' then 0 else j.crashes end,
               isolate = j.isolate and (j.crashes > 0 or not r.counts),
               epoch = j.epoch + 1,
               worker = null,
               lease_until = null,
               progress = r.progress,
               error = coalesce(r.error, j.error)
          from held join returning_jobs r on r.id = held.id
         where j.id = held.id
        returning j.id, j.epoch
        "#,
        &returned.iter().map(|r| r.id.0).collect::<Vec<_>>(),
        &returned.iter().map(|r| r.fence).collect::<Vec<_>>(),
        &returned.iter().map(|r| interval(r.delay)).collect::<Vec<_>>(),
        &returned.iter().map(|r| r.counts).collect::<Vec<_>>(),
        &returned.iter().map(|r| r.progress.clone()).collect::<Vec<_>>() as &[Option<Value>],
        &returned.iter().map(|r| r.error.clone()).collect::<Vec<_>>() as &[Option<Value>],
    )
    .fetch_all(conn)
    .await?;
    let epochs: HashMap<Uuid, i64> = rows.into_iter().map(|row| (row.id, row.epoch)).collect();
    Ok(returned.iter().map(|r| epochs.get(&r.id.0).copied()).collect())
}

/// Renews leases, stores the progress, and records the worker's heartbeat and state, unless another
/// process does that; answers the operator's commands to it. A loss in a crash of the server is acceptable, so the
/// commit does not wait for the disk. An expired lease may be renewed as long as the fence is current.
pub(crate) async fn renew(
    pool: &PgPool,
    worker: &Registration,
    state: Option<State>,
    jobs: &[(JobId, i64, Option<Value>)],
) -> Result<Option<Asked>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query!("set local synchronous_commit = off").execute(&mut *tx).await?;
    sqlx::query!(
        r#"
        with mine as (
            select * from unnest($1::uuid[], $2::bigint[], $3::jsonb[]) as m(id, fence, progress)
        ), held as (
            select j.id from jobs j join mine m on m.id = j.id
             where j.fence = m.fence and j.state = 'running'
             order by j.id
               for update of j
        )
        update jobs j
           set lease_until = now() + $4, progress = coalesce(m.progress, j.progress)
          from held join mine m on m.id = held.id
         where j.id = held.id
        "#,
        &jobs.iter().map(|(id, _, _)| id.0).collect::<Vec<_>>(),
        &jobs.iter().map(|(_, fence, _)| *fence).collect::<Vec<_>>(),
        &jobs.iter().map(|(_, _, progress)| progress.clone()).collect::<Vec<_>>() as &[Option<Value>],
        interval(worker.lease),
    )
    .execute(&mut *tx)
    .await?;
    let asked = match state {
        Some(state) => worker.heartbeat(state, &mut tx).await?,
        None => None,
    };
    tx.commit().await?;
    Ok(asked)
}

/// Records that a job is about to run alone. False: another worker holds it by now.
pub(crate) async fn begin_alone(pool: &PgPool, id: JobId, fence: i64) -> Result<bool, sqlx::Error> {
    let begun = sqlx::query!(
        "update jobs set ran_alone = fence where id = $1 and fence = $2 and state = 'running'",
        id.0,
        fence
    )
    .execute(pool)
    .await?;
    Ok(begun.rows_affected() > 0)
}

/// Releases a job that ran alone and has died with its process, so that the rescue finds it at once.
/// False: it never started, or had ended before.
pub(crate) async fn let_go(pool: &PgPool, id: JobId, fence: i64) -> Result<bool, sqlx::Error> {
    let let_go = sqlx::query!(
        "update jobs set worker = null, lease_until = now()
          where id = $1 and fence = $2 and ran_alone = $2 and state = 'running'",
        id.0,
        fence
    )
    .execute(pool)
    .await?;
    Ok(let_go.rows_affected() > 0)
}

/// Frees jobs whose lease has expired. The attempt is given back: the holder's death was not
/// the job's own failure. If the holder's process is dead too, the job runs alone from now on, and
/// only if it did so already does this count as a crash; `crash_limit` consecutive ones, without a
/// checkpoint in between, end the job.
pub(crate) async fn rescue(
    pool: &PgPool,
    lease: Duration,
    crash_limit: i32,
) -> Result<Vec<Rescued>, sqlx::Error> {
    let expired = sqlx::query_scalar!(
        r#"select id as "id!" from running_jobs where lease_until < now() limit $1"#,
        RESCUED
    )
    .fetch_all(pool)
    .await?;
    if expired.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query!(
        r#"
        with lost as (
            select j.id, j.pool, j.attempt,
                   w.id is null as gone,
                   case when c.advanced_by = j.fence then 0 else j.crashes end
                     + case when w.id is null and j.ran_alone = j.fence then 1 else 0 end as crashes
              from jobs j
              left join workers w on w.id = j.worker and w.heartbeat_at > now() - $1::interval
              left join job_checkpoints c on c.job_id = j.id
             where j.id = any($3) and j.state = 'running' and j.lease_until < now()
             order by j.id
               for update of j skip locked
        ), freed as (
            update jobs j
               set state = 'waiting',
                   attempt = j.attempt - 1,
                   crashes = lost.crashes,
                   isolate = j.isolate or lost.gone,
                   epoch = j.epoch + 1,
                   worker = null,
                   lease_until = null
              from lost
             where j.id = lost.id and lost.crashes < $2
            returning j.id, j.pool, j.epoch, j.attempt, j.crashes
        ), doomed as (
            select id, pool, attempt, crashes,
                   format('the process that ran this job, and nothing else, died %s times in a row; '
                          'it is not tried again by itself', crashes) as reason
              from lost where crashes >= $2
        ), buried as (
            select d.id, d.pool, e.epoch, d.attempt, d.crashes, d.reason
              from (select array_agg(id) as ids, array_agg('failed'::text) as states,
                           array_agg(jsonb_build_object('code', 'quarantined', 'attempt', attempt,
                                                        'message', reason)) as errors,
                           array_agg(crashes) as crashes
                      from doomed having count(*) > 0) a,
                   end_jobs(a.ids, null, a.states, null, null, a.errors, a.crashes) e
              join doomed d on d.id = e.id
        )
        select id as "id!", pool as "pool!", epoch as "epoch!", attempt as "attempt!", crashes as "crashes!",
               null as reason
          from freed
        union all
        select id, pool, epoch, attempt, crashes, reason from buried
        "#,
        interval(lease),
        crash_limit,
        &expired,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Rescued {
            id: JobId(row.id),
            pool: Pool::named(&row.pool),
            epoch: row.epoch,
            attempt: row.attempt,
            crashes: row.crashes,
            quarantined: row.reason,
        })
        .collect())
}

/// A request to a running job.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Request {
    /// Stop, in that epoch.
    Cancel { epoch: i64 },
    /// Return to waiting at the next checkpoint.
    HandBack,
}

/// The running jobs of a worker with requests.
pub(crate) async fn requests(pool: &PgPool, worker: Uuid) -> Result<Vec<(JobId, Request)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select id as "id!", epoch as "epoch!", cancel_requested as "cancel_requested!" from running_jobs
            where worker = $1 and (cancel_requested or hand_back)"#,
        worker
    )
    .fetch_all(pool)
    .await?;
    let request = |cancel, epoch| if cancel { Request::Cancel { epoch } } else { Request::HandBack };
    Ok(rows.into_iter().map(|row| (JobId(row.id), request(row.cancel_requested, row.epoch))).collect())
}
