-- Running jobs are looked up one by one, whatever the planner believes of the table: right after thousands were
-- enqueued it took hardly any to be running, and read all that wait for every look at what runs.

create or replace function noted_jobs()
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

-- As before; what room a limit leaves is asked once in a claim, not once for each of its jobs.
--
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
