-- The two statements that every job goes through, as cheap as they can be. Both run by plans that are made
-- once and don't depend on statistics: a queue is empty at one moment and holds a million jobs at the next.

-- Claims those of the jobs that are due, waiting, not paused and within their limits. Limits are decided
-- here, one claim after the other, so that they hold however many dispatchers there are for a moment.
create or replace function claim_jobs(wanted uuid[], claimer uuid, lease interval) returns setof jobs
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
        ), ranked as (
            select c.id, l.limit_id is null
                         or row_number() over (partition by l.limit_id, l.subject order by c.place)
                         <= room_under(l.limit_id, l.subject, l.whole, l.counted_kind, l.max_running,
                                       l.max_starts, l.per) as within
              from candidates c left join lateral limits_of(c.tenant, c.kind) l on true
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
    return query
        with due as (
            -- By its primary key, in the order of the ids: no other index has what `<>` asks for. A row that
            -- has just moved is missed below, where the statement's snapshot has its old place, and delivered again.
            select j.ctid as place from jobs j
             where j.id = any(allowed) and j.state <> 'running' and j.run_at <= now()
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

-- Moves jobs to the finished ones, and answers for those whose fence is still their holder's: the epoch of
-- the transition, and the counts of the last checkpoint where there was one.
create function end_jobs(ids uuid[], fences bigint[], states text[], progresses jsonb[], results jsonb[],
                         errors jsonb[])
returns table (id uuid, epoch bigint, done bigint, failed bigint, skipped bigint)
language plpgsql
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
    return query
        with ending as materialized (
            select * from unnest(ids, fences, states, progresses, results, errors)
                       as e(id, fence, state, progress, result, error)
             order by id
        ), gone as (
            -- Row by row in the order of the ids: `<>` keeps to the primary key.
            delete from jobs j using ending e
             where j.id = e.id and j.fence = e.fence and j.state <> 'waiting'
            returning j.id, j.workspace_id, j.kind, j.version, j.pool, j.payload, j.origin, j.priority, e.state,
                      j.attempt, j.max_attempts, case when e.state = 'completed' then 0 else j.crashes end,
                      j.epoch + 1, e.progress, e.result, coalesce(e.error, j.error), j.created_at, j.started_at,
                      j.checkpoints, j.unique_key, j.batch_id
        ), moved as (
            insert into finished_jobs as f (id, workspace_id, kind, version, pool, payload, origin, priority, state,
                   attempt, max_attempts, crashes, epoch, progress, result, error, created_at, started_at,
                   checkpoints, unique_key, batch_id)
            select * from gone
            returning f.id, f.epoch, f.state
        ), reached as materialized (
            select m.id, m.epoch, m.state, c.job_id, c.done, c.failed, c.skipped
              from moved m left join job_checkpoints c on c.job_id = m.id
        ), over as (
            delete from job_checkpoints c using reached r where c.job_id = r.job_id and r.state = 'completed'
        ), sealed as (
            -- Kept for a retry; the fence moves on, so that nothing of this attempt can still commit.
            update job_checkpoints c set fence = c.fence + 1
              from reached r where c.job_id = r.job_id and r.state <> 'completed'
        )
        select r.id, r.epoch, r.done, r.failed, r.skipped from reached r;
end
$$;
