-- Fairness, limits, pauses, uniqueness: what the dispatcher and the claim decide by.
-- The dispatcher looks at lanes: the waiting jobs of one tenant, kind and priority within a pool. A lane is
-- let through or held back as a whole, so that a million jobs that must wait cost no more than one.

-- Whose turn it is; all zeros for the installation's own jobs.
alter table jobs
    add column tenant uuid generated always as (coalesce(workspace_id, '00000000-0000-0000-0000-000000000000')) stored,
    add column checkpoints boolean not null default false,  -- its handler commits checkpoints: may be asked to hand back
    add column hand_back boolean not null default false,    -- has been asked
    add column isolate boolean not null default false,      -- its worker died with it: runs alone from now on
    add column claimed_at timestamptz,                      -- by its present holder
    add column unique_key text,                             -- holds a row of job_keys
    add column batch_id uuid;                               -- the parent whose child it is

alter table finished_jobs
    add column checkpoints boolean not null default false,
    add column unique_key text,
    add column batch_id uuid,
    add column discarded_at timestamptz;                    -- a dead letter that someone has put away

create index jobs_lanes on jobs (pool, tenant, kind, priority, run_at, id) where state = 'waiting';
create index jobs_of_batch on jobs (batch_id, id) where batch_id is not null;
create index finished_jobs_of_batch on finished_jobs (batch_id, id) where batch_id is not null;
create index finished_jobs_dead on finished_jobs (finished_at desc, id) where state = 'failed' and discarded_at is null;
drop index jobs_due;

create or replace view all_jobs as
select id, workspace_id, kind, version, pool, payload, origin, priority, state, run_at, attempt, max_attempts,
       crashes, fence, epoch, worker, cancel_requested, progress, null::jsonb as result, error,
       created_at, started_at, null::timestamptz as finished_at,
       unique_key, batch_id, null::timestamptz as discarded_at
  from jobs
union all
select id, workspace_id, kind, version, pool, payload, origin, priority, state, created_at, attempt, max_attempts,
       crashes, 0, epoch, null::uuid, false, progress, result, error,
       created_at, started_at, finished_at,
       unique_key, batch_id, discarded_at
  from finished_jobs;

-- What an operator has asked of a worker: to take nothing more, or to leave.
alter table workers add column asked text check (asked in ('pause', 'drain'));

-- How large a tenant's share of a busy pool is, beside the others'. No row: 1.
create table job_shares (
    tenant     uuid primary key,
    weight     integer not null check (weight between 1 and 1000),
    updated_at timestamptz not null default now()
);

-- How many jobs may run at once, and how many may start in a period. A limit of the installation counts all
-- tenants together; one of a tenant counts that tenant alone; one without either is every tenant's own,
-- unless it has one of its own for the same kind. Without a kind, all kinds count together.
create table job_limits (
    id          uuid primary key,
    scope       text not null check (scope in ('installation', 'tenant')),
    tenant      uuid,
    kind        text,
    max_running integer check (max_running >= 0),
    max_starts  integer check (max_starts >= 0),
    per         interval check (per > interval '0'),
    updated_at  timestamptz not null default now(),
    constraint job_limits_key unique nulls not distinct (scope, tenant, kind),
    check (scope = 'tenant' or tenant is null),
    check ((max_starts is null) = (per is null)),
    check (max_running is not null or max_starts is not null)
);

-- Starts within the present window of a limit, which opens with its first start.
create table job_starts (
    limit_id  uuid not null references job_limits on delete cascade,
    subject   uuid not null,                    -- the tenant, or all zeros for the installation
    opened_at timestamptz not null,
    started   integer not null,
    primary key (limit_id, subject)
);

-- What is paused: the waiting jobs that match every column that is set.
create table job_pauses (
    id         uuid primary key,
    pool       text,
    kind       text,
    tenant     uuid,
    reason     text,
    paused_by  text,
    created_at timestamptz not null default now(),
    constraint job_pauses_key unique nulls not distinct (pool, kind, tenant),
    check (num_nonnulls(pool, kind, tenant) > 0)
);

-- Which job a unique key stands for. The key outlives its job's success as its kind says; a failure frees it.
create table job_keys (
    tenant     uuid not null,
    kind       text not null,
    key        text not null,
    job_id     uuid not null,
    until      text not null check (until in ('done', 'period', 'ever')),
    expires_at timestamptz,                     -- of a period
    primary key (tenant, kind, key)
);

create index job_keys_by_expiry on job_keys (expires_at) where expires_at is not null;

create function free_job_key() returns trigger language plpgsql set search_path = shard as $$
begin
    delete from job_keys
     where tenant = coalesce(new.workspace_id, '00000000-0000-0000-0000-000000000000')
       and kind = new.kind and key = new.unique_key and job_id = new.id
       and (new.state <> 'completed' or until = 'done');
    return null;
end
$$;

create trigger free_job_key after insert on finished_jobs
    for each row when (new.unique_key is not null) execute function free_job_key();

-- Inserts jobs; answers, for each that has a unique key, with the job that the key stands for: itself, or
-- the one that was there before, in which case nothing was inserted for it.
drop function shard_api.enqueue_jobs(uuid, jsonb);

create function shard_api.enqueue_jobs(workspace uuid, new_jobs jsonb) returns table (asked uuid, stands_for uuid)
language sql security definer set search_path = shard, shard_api, pg_temp as $$
    with new as (
        select j.*, acting_workspace(workspace) as workspace_id
          from jsonb_to_recordset(new_jobs) as j(id uuid, kind text, version smallint, pool text, payload jsonb,
               origin jsonb, priority smallint, run_at timestamptz, max_attempts integer, checkpoints boolean,
               batch_id uuid, unique_key text, unique_until text, unique_seconds double precision)
    ), keyed as (
        insert into job_keys as k (tenant, kind, key, job_id, until, expires_at)
        select distinct on (kind, unique_key)
               coalesce(workspace_id, '00000000-0000-0000-0000-000000000000'), kind, unique_key, id, unique_until,
               now() + make_interval(secs => unique_seconds)
          from new where unique_key is not null
         order by kind, unique_key, id
        on conflict (tenant, kind, key) do update
           set job_id = case when k.expires_at < now() then excluded.job_id else k.job_id end,
               until = case when k.expires_at < now() then excluded.until else k.until end,
               expires_at = case when k.expires_at < now() then excluded.expires_at else k.expires_at end
        returning k.kind, k.key, k.job_id
    ), inserted as (
        insert into jobs (id, workspace_id, kind, version, pool, payload, origin, priority, run_at, max_attempts,
                          checkpoints, batch_id, unique_key)
        select n.id, n.workspace_id, n.kind, n.version, n.pool, n.payload, n.origin, n.priority,
               coalesce(n.run_at, now()), n.max_attempts, coalesce(n.checkpoints, false), n.batch_id, n.unique_key
          from new n left join keyed k on k.kind = n.kind and k.key = n.unique_key
         where k.job_id is null or k.job_id = n.id
    )
    select n.id, k.job_id from new n join keyed k on k.kind = n.kind and k.key = n.unique_key
$$;

revoke execute on function shard_api.enqueue_jobs(uuid, jsonb) from public;

-- The limits that a tenant's jobs of a kind are under. `whole` ones count all tenants together, under the
-- subject of all zeros; the others count the tenant.
create function limits_of(of_tenant uuid, of_kind text)
returns table (limit_id uuid, subject uuid, whole boolean, counted_kind text, max_running integer,
               max_starts integer, per interval)
language sql stable as $$
    select id, '00000000-0000-0000-0000-000000000000'::uuid, true, kind, max_running, max_starts, per
      from job_limits
     where scope = 'installation' and (kind is null or kind = of_kind)
    union all
    select id, of_tenant, false, kind, max_running, max_starts, per
      from (select distinct on (kind) * from job_limits
             where scope = 'tenant' and (tenant is null or tenant = of_tenant) and (kind is null or kind = of_kind)
             order by kind, tenant nulls last) own
$$;

-- How many more jobs one of those limits lets start just now.
create function room_under(limited uuid, of_subject uuid, of_whole boolean, of_kind text, most_running integer,
                           most_starts integer, in_period interval)
returns integer language plpgsql as $$
declare
    room integer := 2147483647;
begin
    if most_running is not null then
        select most_running - count(*) into room from jobs
         where state = 'running' and worker is not null and (of_whole or tenant = of_subject)
           and (of_kind is null or kind = of_kind);
    end if;
    if most_starts is not null then
        select least(room, most_starts - coalesce(sum(s.started), 0)::integer) into room from job_starts s
         where s.limit_id = limited and s.subject = of_subject and s.opened_at + in_period > clock_timestamp();
    end if;
    return greatest(room, 0);
end
$$;

-- How many more jobs of a lane may start; null: no limit concerns it.
create function room_of(of_tenant uuid, of_kind text) returns integer language sql as $$
    select min(room_under(limit_id, subject, whole, counted_kind, max_running, max_starts, per))
      from limits_of(of_tenant, of_kind)
$$;

-- Claims those of the jobs that are due, waiting, not paused and within their limits. Limits are decided
-- here, one claim after the other, so that they hold however many dispatchers there are for a moment.
create function claim_jobs(wanted uuid[], claimer uuid, lease interval) returns setof jobs language plpgsql as $$
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
    return query
        with due as (
            select j.id from jobs j
             where j.id = any(allowed) and j.state = 'waiting' and j.run_at <= now()
               and not exists (select from job_pauses p
                                where (p.pool is null or p.pool = j.pool) and (p.kind is null or p.kind = j.kind)
                                  and (p.tenant is null or p.tenant = j.tenant))
             order by j.id
               for update skip locked
        )
        update jobs j
           set state = 'running', attempt = j.attempt + 1, fence = j.fence + 1, epoch = j.epoch + 1,
               worker = claimer, lease_until = now() + lease, claimed_at = now(), hand_back = false,
               started_at = coalesce(j.started_at, now())
          from due
         where j.id = due.id
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
