//! What the dispatcher reads: the due jobs of a pool, lane by lane, and what its tenants hold.
//!
//! A lane is the waiting jobs of one tenant, kind and priority. The walk jumps from lane to lane by the
//! index, so what it costs depends on the number of lanes, not of jobs; a paused lane is passed by.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::turns::Candidate;
use crate::Pool;

/// Lanes in one walk, at the most; the next walk goes on from there.
const LANES: i32 = 200;

/// Where a walk has come to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    pub tenant: Uuid,
    pub kind: String,
    pub priority: i16,
}

impl Lane {
    /// Before the first.
    pub(crate) fn start() -> Self {
        Self { tenant: Uuid::nil(), kind: String::new(), priority: -1 }
    }
}

/// What a walk has found.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// The first jobs of each lane, those that are pushed already among them.
    pub jobs: Vec<Candidate>,
    /// The lanes that it has passed, each with the job up to which it is shown; none: to its end.
    pub shown: HashMap<Lane, Option<(DateTime<Utc>, Uuid)>>,
    /// How many more may start, by tenant and kind, where that is limited.
    pub rooms: HashMap<(Uuid, String), usize>,
    /// The weights of the tenants among them.
    pub weights: HashMap<Uuid, i32>,
    /// Where the next walk goes on; none when this one has reached the end.
    pub next: Option<Lane>,
}

/// Walks on from `after`, taking up to `depth` jobs of each lane.
pub(crate) async fn due(
    conn: &mut PgConnection,
    pool: Pool,
    after: &Lane,
    depth: usize,
) -> Result<Due, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        with recursive lanes as (
            (select tenant, kind, priority, 1 as place
               from jobs
              where pool = $1 and state = 'waiting' and (tenant, kind, priority) > ($2, $3, $4)
              order by tenant, kind, priority
              limit 1)
            union all
            select j.tenant, j.kind, j.priority, l.place + 1
              from lanes l,
                   lateral (select tenant, kind, priority
                              from jobs
                             where pool = $1 and state = 'waiting'
                               and (tenant, kind, priority) > (l.tenant, l.kind, l.priority)
                             order by tenant, kind, priority
                             limit 1) j
             where l.place < $5
        ), open as materialized (
            select l.tenant, l.kind, l.priority, l.place, coalesce(s.weight, 1) as weight,
                   case when exists (select from job_limits) then room_of(l.tenant, l.kind) end as room,
                   exists (select from job_pauses p
                            where (p.pool is null or p.pool = $1) and (p.kind is null or p.kind = l.kind)
                              and (p.tenant is null or p.tenant = l.tenant)) as paused
              from lanes l
              left join job_shares s on s.tenant = l.tenant
        )
        select o.tenant as "tenant!", o.kind as "kind!", o.priority as "priority!", o.place as "place!",
               o.weight as "weight!", o.room, h.id as "id?", h.run_at as "run_at?", h.checkpoints as "checkpoints?"
          from open o
          left join lateral (select id, run_at, checkpoints
                               from jobs
                              where pool = $1 and state = 'waiting' and tenant = o.tenant and kind = o.kind
                                and priority = o.priority and run_at <= now() and not o.paused
                              order by run_at, id
                              limit $6) h on true
         order by o.place, h.run_at, h.id
        "#,
        pool.name(),
        after.tenant,
        after.kind,
        after.priority,
        LANES,
        i64::try_from(depth).unwrap_or(i64::MAX),
    )
    .fetch_all(conn)
    .await?;
    let mut due = Due::default();
    let mut counts: HashMap<Lane, usize> = HashMap::new();
    for row in rows {
        let lane = Lane { tenant: row.tenant, kind: row.kind, priority: row.priority };
        if row.place >= LANES {
            due.next = Some(lane.clone());
        }
        due.weights.insert(lane.tenant, row.weight);
        if let Some(room) = row.room {
            due.rooms.insert((lane.tenant, lane.kind.clone()), usize::try_from(room).unwrap_or(0));
        }
        let (Some(id), Some(run_at)) = (row.id, row.run_at) else {
            due.shown.insert(lane, None);
            continue;
        };
        let count = counts.entry(lane.clone()).or_default();
        *count += 1;
        due.shown.insert(lane.clone(), (*count >= depth).then_some((run_at, id)));
        due.jobs.push(Candidate {
            id,
            tenant: lane.tenant,
            kind: lane.kind,
            priority: lane.priority,
            run_at,
            checkpoints: row.checkpoints.unwrap_or(false),
        });
    }
    Ok(due)
}

/// What a tenant has running in a pool.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Running {
    pub jobs: usize,
    /// Of these, asked to hand back.
    pub leaving: usize,
}

/// What runs in a pool, by tenant.
pub(crate) async fn running(
    conn: &mut PgConnection,
    pool: Pool,
) -> Result<HashMap<Uuid, Running>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select tenant as "tenant!", count(*) as "jobs!", count(*) filter (where hand_back) as "leaving!"
             from jobs
            where state = 'running' and pool = $1 and worker is not null
            group by tenant"#,
        pool.name(),
    )
    .fetch_all(conn)
    .await?;
    let count = |n: i64| usize::try_from(n).unwrap_or(0);
    Ok(rows
        .into_iter()
        .map(|row| (row.tenant, Running { jobs: count(row.jobs), leaving: count(row.leaving) }))
        .collect())
}
