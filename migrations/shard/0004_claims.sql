-- Claims: which worker has which job, how a job gets its holder and how it leaves it.
-- Runs with search_path = shard.

-- Worker processes: what they can take, and when they were last heard of.
create table workers (
    id           uuid primary key,
    host         text not null,
    pid          integer not null,
    version      text not null,
    slots        jsonb not null,                  -- pool → how many jobs at once
    lease        interval not null default '15 s', -- that it was told: silent for twice as long, it counts as gone
    state        text not null default 'taking' check (state in ('taking', 'paused', 'leaving')), -- by its own word
    asked        text check (asked in ('pause', 'drain')), -- by an operator: to take nothing more, or to leave
    started_at   timestamptz not null default now(),
    heartbeat_at timestamptz not null default now()
);

-- When a scheduler that Redis answers last stood by: a leader that Redis does not answer gives up the lead only if
-- another one can do better.
create table leader_standby (
    only_row boolean primary key default true check (only_row),
    seen_at  timestamptz not null
);

-- How runs ended, by the minute. Workers add what they have counted in memory with each renewal of their
-- leases, so a worker that is killed takes the figures since its last one with it.
create table job_throughput (
    minute       timestamptz not null,
    pool         text not null,
    kind         text not null,
    outcome      text not null check (outcome in ('completed', 'failed', 'cancelled', 'retried', 'returned')),
    runs         bigint not null,               -- runs that ended so
    run_seconds  double precision not null,     -- and how long they took together
    first_runs   bigint not null,               -- of them, their job's first
    wait_seconds double precision not null,     -- and how long those jobs had been due before it
    primary key (minute, pool, kind, outcome)
) with (fillfactor = 70);

-- Which jobs have been claimed together, so that those that run can be found without an index on the state. A
-- note says too much as soon as one of its jobs has ended or waits again; the leader shortens and removes them.
create table job_claims (
    id         bigint generated always as identity primary key,
    claimed_at timestamptz not null,              -- as the jobs have it while this claim holds them
    jobs       uuid[] not null check (cardinality(jobs) between 1 and 250) -- they fit into a page
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

alter table job_claims alter column jobs set storage plain;

-- The jobs that have a holder, or had one that has let go of them: from the notes by the primary key, however many
-- jobs the planner believes there are.
create function noted_jobs()
returns table (id uuid, workspace_id uuid, tenant uuid, kind text, pool text, priority smallint, checkpoints boolean,
               hand_back boolean, cancel_requested boolean, epoch bigint, worker uuid, lease_until timestamptz,
               claimed_at timestamptz)
language plpgsql stable rows 100
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
begin
    return query
        select j.id, j.workspace_id, j.tenant, j.kind, j.pool, j.priority, j.checkpoints, j.hand_back,
               j.cancel_requested, j.epoch, j.worker, j.lease_until, j.claimed_at
          from job_claims c
         cross join lateral unnest(c.jobs) as of_claim(id)
         -- An offset keeps the lookup what it is; a join could be turned around.
         cross join lateral (select * from jobs k
                              where k.id = of_claim.id and k.state = 'running' and k.claimed_at = c.claimed_at
                             offset 0) j;
end
$$;

create view running_jobs as select * from noted_jobs();

-- How the live jobs of each lane stand: all that the index has, less those that run.
create view live_lanes as
with running as materialized (
    select pool, tenant, kind, priority, count(*) as jobs
      from (select pool, tenant, kind, priority from running_jobs
             union all
            select j.pool, j.tenant, j.kind, j.priority
              from job_batches b join jobs j on j.id = b.job_id and j.state = 'running') r
     group by pool, tenant, kind, priority
), live as (
    select pool, tenant, kind, priority, count(*) filter (where run_at <= now()) as due,
           count(*) filter (where run_at > now()) as later
      from jobs
     group by pool, tenant, kind, priority
)
select l.pool, l.tenant, l.kind, l.priority, coalesce(r.jobs, 0) as running,
       greatest(l.due - coalesce(r.jobs, 0), 0) as due, l.later,
       case when l.due > coalesce(r.jobs, 0) then
           (select j.run_at from jobs j
             where j.pool = l.pool and j.tenant = l.tenant and j.kind = l.kind and j.priority = l.priority
               and j.state = 'waiting'
             order by j.run_at
             limit 1) end as due_since
  from live l left join running r using (pool, tenant, kind, priority);

-- The two statements that every job goes through, as cheap as they can be. Both run by plans that are made
-- once and don't depend on statistics: a queue is empty at one moment and holds a million jobs at the next.

-- Claims those of the jobs that are due, waiting, not paused and within their limits. Limits are decided
-- here, one claim after the other, so that they hold however many dispatchers there are for a moment.
create function claim_jobs(wanted uuid[], claimer uuid, lease interval) returns setof jobs
language plpgsql
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
    allowed uuid[] := wanted;
begin
    if exists (select from job_limits) then
        perform pg_advisory_xact_lock(hashtextextended(limit_id::text || subject::text, 3))
           from (select distinct l.limit_id, l.subject
                   from (select distinct tenant, kind from jobs where id = any(wanted)) j, limits_of(j.tenant, j.kind) l
                  order by l.limit_id, l.subject) locked;
        with candidates as (
            select id, tenant, kind, row_number() over (order by priority, run_at, id) as place
              from jobs where id = any(wanted) and state = 'waiting' and run_at <= now()
        ), limited as materialized (
            select c.id, c.place, l.*
              from candidates c left join lateral limits_of(c.tenant, c.kind) l on true
        ), rooms as materialized (
            select l.limit_id, l.subject, room_under(l.limit_id, l.subject, l.whole, l.counted_kind, l.max_running,
                                                     l.max_starts, l.per) as room
              from (select distinct limit_id, subject, whole, counted_kind, max_running, max_starts, per
                      from limited where limit_id is not null) l
        ), ranked as (
            select l.id, l.limit_id is null
                         or row_number() over (partition by l.limit_id, l.subject order by l.place) <= r.room as within
              from limited l left join rooms r on r.limit_id = l.limit_id and r.subject = l.subject
        )
        select coalesce(array_agg(id), '{}') into allowed
          from (select id from ranked group by id having bool_and(within)) passed;
    end if;
    if exists (select from job_pauses) then
        select coalesce(array_agg(j.id), '{}') into allowed
          from jobs j
         where j.id = any(allowed)
           and not exists (select from job_pauses p
                            where (p.pool is null or p.pool = j.pool) and (p.kind is null or p.kind = j.kind)
                              and (p.tenant is null or p.tenant = j.tenant));
    end if;
    -- Of those that turn out to be someone else's, the note says too much.
    insert into job_claims (claimed_at, jobs)
    select now(), allowed[first : first + 249] from generate_series(1, cardinality(allowed), 250) as first;
    return query
        with due as (
            -- By its primary key, in the order of the ids. A row that has just moved is missed below, where the
            -- statement's snapshot has its old place, and delivered again.
            select j.ctid as place from jobs j
             where j.id = any(allowed) and j.state = 'waiting' and j.run_at <= now()
             order by j.id
               for update skip locked
        )
        update jobs j
           set state = 'running', attempt = j.attempt + 1, fence = j.fence + 1, epoch = j.epoch + 1,
               worker = claimer, lease_until = now() + lease, claimed_at = now(), hand_back = false,
               started_at = coalesce(j.started_at, now())
          from due
         where j.ctid = due.place
        returning j.*;
    if exists (select from job_limits where max_starts is not null) then
        insert into job_starts as s (limit_id, subject, opened_at, started)
        select l.limit_id, l.subject, clock_timestamp(), count(*)
          from jobs j, limits_of(j.tenant, j.kind) l
         where j.id = any(allowed) and j.state = 'running' and j.worker = claimer and j.claimed_at = now()
           and l.max_starts is not null
         group by l.limit_id, l.subject
        on conflict (limit_id, subject) do update
           set started = case when s.opened_at + (select per from job_limits where id = s.limit_id) > clock_timestamp()
                              then s.started else 0 end + excluded.started,
               opened_at = case when s.opened_at + (select per from job_limits where id = s.limit_id) > clock_timestamp()
                                then s.opened_at else excluded.opened_at end;
    end if;
end
$$;

-- Moves jobs to the finished ones, and answers for those that it has moved: the epoch of the transition, and the counts
-- of the last checkpoint where there was one. A job is moved if its fence is still its holder's or, where no fence is
-- given, in any case: the caller holds its row, and its progress stays. Arrays may be null, except for ids and states.
create function end_jobs(ids uuid[], fences bigint[], states text[], progresses jsonb[], results jsonb[],
                         errors jsonb[], crashed integer[])
returns table (id uuid, epoch bigint, done bigint, failed bigint, skipped bigint)
language plpgsql
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
    -- Those of them with a checkpoint: few, mostly none.
    reached uuid[] := array(select c.job_id from job_checkpoints c where c.job_id = any(ids) order by c.job_id);
begin
    return query
        with gone as (
            -- Row by row in the order of the ids: `ordered` is small, and a primary key leads from it.
            delete from jobs j
             using (select * from unnest(ids, fences, states, progresses, results, errors, crashed)
                               as e(id, fence, state, progress, result, error, crashes)
                     order by id) ordered
             where j.id = ordered.id
               and (ordered.fence is null or j.fence = ordered.fence and j.state = 'running')
            returning j.id, j.workspace_id, j.kind, j.version, j.pool, j.payload, j.origin, j.priority, ordered.state,
                      j.attempt, j.max_attempts,
                      case when ordered.state = 'completed' then 0 else coalesce(ordered.crashes, j.crashes) end,
                      j.epoch + 1, case when ordered.fence is null then j.progress else ordered.progress end,
                      ordered.result, coalesce(ordered.error, j.error), j.created_at, j.started_at, j.checkpoints,
                      j.unique_key, j.batch_id
        )
        insert into finished_jobs as f (id, workspace_id, kind, version, pool, payload, origin, priority, state,
               attempt, max_attempts, crashes, epoch, progress, result, error, created_at, started_at,
               checkpoints, unique_key, batch_id)
        select * from gone
        returning f.id, f.epoch,
                  case when f.id = any(reached) then (select c.done from job_checkpoints c where c.job_id = f.id) end,
                  case when f.id = any(reached) then (select c.failed from job_checkpoints c where c.job_id = f.id) end,
                  case when f.id = any(reached) then (select c.skipped from job_checkpoints c where c.job_id = f.id) end;
    if cardinality(reached) > 0 then
        delete from job_checkpoints c using finished_jobs f
         where c.job_id = any(reached) and f.id = c.job_id and f.state = 'completed';
        -- Kept for a retry; the fence moves on, so that nothing of this attempt can still commit.
        update job_checkpoints c set fence = c.fence + 1
          from finished_jobs f
         where c.job_id = any(reached) and f.id = c.job_id and f.state <> 'completed';
    end if;
end
$$;
