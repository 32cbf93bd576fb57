//! Reasons for waiting: the dispatcher's, read from the ledger in the order of their precedence.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::{Database, JobId, dispatch, ledger::interval};

/// Maximum counted position.
const FARTHEST: i64 = 10_000;
/// Maximum age of a worker's heartbeat for it to count.
const HEARD_OF: Duration = Duration::from_secs(30);

/// Reason why a job waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(
    feature = "openapi",
    derive(poem_openapi::Enum),
    oai(rename = "WaitingReason", rename_all = "snake_case")
)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Its due time has not come: a later start, or the wait before another attempt.
    Later,
    /// Its pool, kind or workspace is paused.
    Paused,
    /// The maximum number of jobs of its kind or workspace are running.
    ConcurrencyLimit,
    /// The maximum number of them have started in this period.
    RateLimit,
    /// No scheduler is active, so that no job starts.
    NoScheduler,
    /// No worker of its pool is alive and accepts jobs.
    NoWorker,
    /// All slots are taken, or other jobs are first.
    Position,
}

/// State of a waiting job.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(poem_openapi::Object), oai(rename = "Waiting"))]
pub struct Waiting {
    /// Reason.
    pub reason: Reason,
    /// Position among the due jobs of its workspace in the pool, from 1; counted up to 10,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", oai(skip_serializing_if_is_none))]
    pub position: Option<i64>,
    /// Time until which it waits, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", oai(skip_serializing_if_is_none))]
    pub until: Option<DateTime<Utc>>,
    /// Message for display.
    pub detail: String,
}

/// The reason why the job waits; none if it isn't waiting.
pub async fn why(database: &Database, id: JobId) -> Result<Option<Waiting>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select j.pool, j.kind, j.run_at, j.run_at > now() as "later!", j.attempt, j.batch_id,
                  p.id as "pause?", p.reason as "pause_reason?", p.pool as "paused_pool?",
                  p.kind as "paused_kind?", p.tenant as "paused_tenant?",
                  l.max_running as "max_running?", l.max_starts as "max_starts?", l.counted_kind as "limited_kind?",
                  l.whole as "whole?", l.reopens_at as "reopens_at?", l.starts_full as "starts_full?",
                  (select count(*) from (
                      select from jobs o
                       where o.pool = j.pool and o.tenant = j.tenant and o.state = 'waiting' and o.run_at <= now()
                         and (o.priority, o.run_at, o.id) < (j.priority, j.run_at, j.id)
                       limit $2) ahead) + 1 as "position!",
                  (select count(*) from running_jobs o where o.pool = j.pool) as "running!",
                  coalesce((select sum((w.slots ->> j.pool)::bigint) from workers w
                             where w.asked is null and w.heartbeat_at > now() - $3::interval), 0)::bigint as "slots!"
             from jobs j
             left join lateral (
                 select * from job_pauses p
                  where (p.pool is null or p.pool = j.pool) and (p.kind is null or p.kind = j.kind)
                    and (p.tenant is null or p.tenant = j.tenant)
                  order by p.created_at limit 1) p on true
             left join lateral (
                 select l.*, s.opened_at + l.per as reopens_at,
                        l.max_starts is not null and s.opened_at + l.per > now() and s.started >= l.max_starts
                            as starts_full
                   from limits_of(j.tenant, j.kind) l
                   left join job_starts s on s.limit_id = l.limit_id and s.subject = l.subject
                  where room_under(l.limit_id, l.subject, l.whole, l.counted_kind, l.max_running, l.max_starts,
                                   l.per) = 0
                  limit 1) l on true
            where j.id = $1 and j.state = 'waiting'"#,
        id.0,
        FARTHEST,
        interval(HEARD_OF),
    )
    .fetch_optional(database.reader().await?.conn())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let waiting =
        |reason, until, detail: String| Waiting { reason, position: Some(row.position), until, detail };
    Ok(Some(if row.later {
        let detail = if row.attempt > 0 {
            format!("attempt {} failed; the next one starts then", row.attempt)
        } else {
            "its start was requested for then".to_owned()
        };
        Waiting { position: None, ..waiting(Reason::Later, Some(row.run_at), detail) }
    } else if row.pause.is_some() {
        let what = match (row.paused_tenant, row.paused_kind, row.paused_pool) {
            (Some(_), Some(kind), _) => format!("jobs of the kind {kind} are paused in this workspace"),
            (Some(_), None, _) => "this workspace's jobs are paused".to_owned(),
            (None, Some(kind), _) => format!("jobs of the kind {kind} are paused"),
            (None, None, pool) => format!("the queue {} is paused", pool.unwrap_or_default()),
        };
        let why = row.pause_reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        waiting(Reason::Paused, None, what + &why)
    } else if !dispatch::is_led(database).await? {
        waiting(Reason::NoScheduler, None, "no scheduler is active; jobs start again once one is".to_owned())
    } else if row.slots == 0 {
        waiting(Reason::NoWorker, None, format!("no worker of the pool {} is alive", row.pool))
    } else if let Some(whole) = row.whole {
        let what = row.limited_kind.map_or("jobs".to_owned(), |kind| format!("jobs of the kind {kind}"));
        let whose = if whole { "altogether" } else { "of this workspace" };
        if row.starts_full == Some(true) {
            let most = row.max_starts.unwrap_or_default();
            waiting(
                Reason::RateLimit,
                row.reopens_at,
                format!("{most} {what} {whose} have started in this period"),
            )
        } else {
            let most = row.max_running.unwrap_or_default();
            waiting(
                Reason::ConcurrencyLimit,
                None,
                format!("no more than {most} {what} {whose} may run at once"),
            )
        }
    } else {
        let detail = format!("{} of {} slots of the pool {} are taken", row.running, row.slots, row.pool);
        waiting(Reason::Position, None, detail)
    }))
}
