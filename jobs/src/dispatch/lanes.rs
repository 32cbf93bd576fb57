//! The dispatcher's reads: the due jobs of a pool, lane by lane, and the running jobs of its tenants.
//!
//! A lane is the waiting jobs of one tenant, kind and priority. The walk jumps from lane to lane by the
//! index, so its cost depends on the number of lanes, not of jobs; a paused lane is skipped. The
//! index doesn't tell a waiting job from a running one: there are no more of those than slots, and the
//! parents of batches, which run without one, are a kind of their own.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::turns::Candidate;
use crate::{Pool, batch};

/// Maximum number of lanes in one walk; the next walk continues from there.
const LANES: i32 = 200;

/// Position of a walk.
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

/// Result of a walk.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// The first jobs of each lane, including those that are pushed already.
    pub jobs: Vec<Candidate>,
    /// The lanes of these jobs.
    pub lanes: Vec<Lane>,
    /// All lanes that it has passed, each with the job up to which it is shown; none: to its end.
    pub shown: HashMap<Lane, Option<(DateTime<Utc>, Uuid)>>,
    /// Headroom: number of jobs that may still start, by tenant and kind, where that is limited.
    pub rooms: HashMap<(Uuid, String), usize>,
    /// Weights of the tenants among them.
    pub weights: HashMap<Uuid, i32>,
    /// Start of the next walk; none when this one has reached the end.
    pub next: Option<Lane>,
}

/// Number of jobs that a walk reads of a lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Depth {
    /// Maximum number of those that are pushed already.
    pub pushed: usize,
    /// Number of further ones.
    pub more: usize,
}

/// Walks on from `after`, reading some jobs of each lane: where a limit leaves less room, one more than that,
/// to detect that there are more.
pub(crate) async fn due(
    conn: &mut PgConnection,
    pool: Pool,
    after: &Lane,
    depth: Depth,
) -> Result<Due, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        with recursive lanes as (
            (select tenant, kind, priority, 1 as place
               from jobs
              where pool = $1 and state = 'waiting' and kind <> $7 and (tenant, kind, priority) > ($2, $3, $4)
              order by tenant, kind, priority
              limit 1)
            union all
            select j.tenant, j.kind, j.priority, l.place + 1
              from lanes l,
                   lateral (select tenant, kind, priority
                              from jobs
                             where pool = $1 and state = 'waiting' and kind <> $7
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
                              limit $6::bigint + least($8::bigint, o.room::bigint + 1)) h on true
         order by o.place, h.run_at, h.id
        "#,
        pool.name(),
        after.tenant,
        after.kind,
        after.priority,
        LANES,
        i64::try_from(depth.pushed).unwrap_or(i64::MAX),
        batch::KIND,
        i64::try_from(depth.more).unwrap_or(i64::MAX),
    )
    .fetch_all(conn)
    .await?;
    let mut due = Due::default();
    let mut place = 0;
    let mut jobs = 0;
    for row in rows {
        if row.place != place {
            (place, jobs) = (row.place, 0);
            let lane = Lane { tenant: row.tenant, kind: row.kind.clone(), priority: row.priority };
            if place >= LANES {
                due.next = Some(lane.clone());
            }
            due.weights.insert(lane.tenant, row.weight);
            if let Some(room) = row.room {
                due.rooms.insert((lane.tenant, lane.kind.clone()), usize::try_from(room).unwrap_or(0));
            }
            if row.id.is_some() {
                due.lanes.push(lane.clone());
            }
            due.shown.insert(lane, None);
        }
        let (Some(id), Some(run_at)) = (row.id, row.run_at) else { continue };
        jobs += 1;
        if jobs == depth.pushed + depth.more
            && let Some(shown) = due.lanes.last().and_then(|lane| due.shown.get_mut(lane))
        {
            *shown = Some((run_at, id));
        }
        due.jobs.push(Candidate {
            id,
            tenant: row.tenant,
            kind: row.kind,
            priority: row.priority,
            run_at,
            checkpoints: row.checkpoints.unwrap_or(false),
        });
    }
    Ok(due)
}

/// Up to `each` due jobs of those lanes, behind the given job of each.
pub(crate) async fn beyond(
    conn: &mut PgConnection,
    pool: Pool,
    ends: &[(Lane, (DateTime<Utc>, Uuid))],
    each: usize,
) -> Result<Vec<Candidate>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select e.place as "place!", h.id as "id!", h.run_at as "run_at!", h.checkpoints as "checkpoints!"
          from unnest($2::uuid[], $3::text[], $4::smallint[], $5::timestamptz[], $6::uuid[]) with ordinality
                   as e(tenant, kind, priority, run_at, id, place)
         cross join lateral (select id, run_at, checkpoints
                               from jobs
                              where pool = $1 and state = 'waiting' and tenant = e.tenant and kind = e.kind
                                and priority = e.priority and run_at <= now() and (run_at, id) > (e.run_at, e.id)
                              order by run_at, id
                              limit $7) h
        "#,
        pool.name(),
        &ends.iter().map(|(lane, _)| lane.tenant).collect::<Vec<_>>(),
        &ends.iter().map(|(lane, _)| lane.kind.clone()).collect::<Vec<_>>(),
        &ends.iter().map(|(lane, _)| lane.priority).collect::<Vec<_>>(),
        &ends.iter().map(|(_, (run_at, _))| *run_at).collect::<Vec<_>>(),
        &ends.iter().map(|(_, (_, id))| *id).collect::<Vec<_>>(),
        i64::try_from(each).unwrap_or(i64::MAX),
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let (lane, _) = ends.get(usize::try_from(row.place - 1).ok()?)?;
            Some(Candidate {
                id: row.id,
                tenant: lane.tenant,
                kind: lane.kind.clone(),
                priority: lane.priority,
                run_at: row.run_at,
                checkpoints: row.checkpoints,
            })
        })
        .collect())
}

/// The newest note of claims, and the jobs in those after the given one. A note that commits late may
/// be missed; the next walk sees its effect.
pub(crate) async fn claimed_since(
    conn: &mut PgConnection,
    after: i64,
) -> Result<(i64, Vec<Uuid>), sqlx::Error> {
    let rows = sqlx::query!("select id, jobs from job_claims where id > $1 order by id", after)
        .fetch_all(conn)
        .await?;
    let newest = rows.last().map_or(after, |row| row.id);
    Ok((newest, rows.into_iter().flat_map(|row| row.jobs).collect()))
}

/// The running jobs of a tenant in a pool.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Running {
    pub jobs: usize,
    /// Number of these that were signalled to hand back.
    pub leaving: usize,
}

/// The running jobs in a pool, by tenant. In passing, the notes of claims are updated: ended jobs
/// are removed from those that have mostly ended.
pub(crate) async fn running(
    conn: &mut PgConnection,
    pool: Pool,
) -> Result<HashMap<Uuid, Running>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        with noted as materialized (
            select c.id as claim, cardinality(c.jobs) as jobs, j.id, j.pool, j.tenant, j.worker, j.hand_back
              from job_claims c
              cross join lateral unnest(c.jobs) as of_claim(id)
              -- An offset keeps it a lookup by the primary key; a join could be turned around.
              left join lateral (select * from jobs k
                                  where k.id = of_claim.id and k.state = 'running' and k.claimed_at = c.claimed_at
                                 offset 0) j on true
        ), claims as (
            select claim, jobs, array_agg(id) filter (where id is not null) as held from noted group by claim, jobs
        ), over as (
            delete from job_claims c using claims o where c.id = o.claim and o.held is null
        ), shortened as (
            update job_claims c set jobs = o.held from claims o where c.id = o.claim and 2 * cardinality(o.held) <= o.jobs
        )
        select tenant as "tenant!", count(*) as "jobs!", count(*) filter (where hand_back) as "leaving!"
          from noted
         where pool = $1 and worker is not null
         group by tenant
        "#,
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
