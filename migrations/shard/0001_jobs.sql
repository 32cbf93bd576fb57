-- The ledger: which jobs exist, who holds them, how they ended. Redis holds none of this.
-- Runs with search_path = shard, so that the names below need no schema.

-- shard_api: what a workspace's role may call. Each function takes the workspace from the session's
-- role, never from an argument; only the pool's own login (role 'none') may name one.
create schema if not exists shard_api;

create function shard_api.acting_workspace(named uuid) returns uuid
language plpgsql stable as $$
declare
    role text := current_setting('role');
begin
    if role = 'none' then
        return named;
    elsif role ~ '^ws_[0-9a-f]{32}$' then
        return substr(role, 4)::uuid;
    end if;
    raise exception 'role % may not reach the shard', role using errcode = 'insufficient_privilege';
end
$$;

create table jobs (
    id               uuid primary key,
    workspace_id     uuid,                        -- null: a job of the installation itself
    -- Whose turn it is; all zeros for the installation's own jobs.
    tenant           uuid generated always as (coalesce(workspace_id, '00000000-0000-0000-0000-000000000000')) stored,
    kind             text not null,
    version          smallint not null,
    pool             text not null,
    payload          jsonb not null,
    origin           jsonb not null,              -- request id, user, credential, surface: who asked
    priority         smallint not null check (priority between 0 and 9),
    state            text not null default 'waiting' check (state in ('waiting', 'running')),
    run_at           timestamptz not null,
    attempt          integer not null default 0,
    max_attempts     integer not null,
    crashes          integer not null default 0,  -- in a row, without a checkpoint between them
    fence            bigint not null default 0,   -- grows with each claim; an older holder can't commit
    epoch            bigint not null default 1,   -- grows with each transition; the high bits of an event's seq
    worker           uuid,
    lease_until      timestamptz,
    claimed_at       timestamptz,                 -- by its present holder
    cancel_requested boolean not null default false,
    checkpoints      boolean not null default false,  -- its handler commits checkpoints: may be asked to hand back
    hand_back        boolean not null default false,  -- has been asked
    isolate          boolean not null default false,  -- its worker died with it: runs alone from now on
    -- The fence under which the job last ran alone, in a process of its own: only a crash there is held against it.
    ran_alone        bigint,
    progress         jsonb,                       -- the last progress persisted with a renewal
    error            jsonb,                       -- why the last attempt ended, when it failed
    unique_key       text,                        -- holds a row of job_keys
    batch_id         uuid,                        -- the parent whose child it is
    created_at       timestamptz not null default now(),
    started_at       timestamptz                  -- of the first attempt
) with (
    -- Room in each page for a second version of all its rows: what was enqueued together is claimed together.
    fillfactor = 45,
    -- A queue turns over many times its own size: vacuum by count, not by share.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);

-- None of them says anything of the state: a claim changes no index, and is an update within the row's page.
create index jobs_lanes on jobs (pool, tenant, kind, priority, run_at, id);
create index jobs_of_workspace on jobs (workspace_id, id) where workspace_id is not null;
create index jobs_of_batch on jobs (batch_id, id) where batch_id is not null;

-- What is too old is found by its id, see id_made_at.
create table finished_jobs (
    id           uuid primary key,
    workspace_id uuid,
    kind         text not null,
    version      smallint not null,
    pool         text not null,
    payload      jsonb not null,
    origin       jsonb not null,
    priority     smallint not null,
    state        text not null check (state in ('completed', 'failed', 'cancelled')),
    attempt      integer not null,
    max_attempts integer not null,
    crashes      integer not null,
    epoch        bigint not null,
    checkpoints  boolean not null default false,
    progress     jsonb,
    result       jsonb,
    error        jsonb,
    unique_key   text,
    batch_id     uuid,
    created_at   timestamptz not null,
    started_at   timestamptz,
    finished_at  timestamptz not null default now(),
    discarded_at timestamptz                      -- a dead letter that someone has put away
);

create index finished_jobs_of_workspace on finished_jobs (workspace_id, id) where workspace_id is not null;
create index finished_jobs_of_batch on finished_jobs (batch_id, id) where batch_id is not null;
-- Dead letters by tenant, the latest first: those of one must not be looked for among everyone's.
create index finished_jobs_dead_of_tenant
    on finished_jobs (coalesce(workspace_id, '00000000-0000-0000-0000-000000000000'), finished_at desc, id desc)
    where state = 'failed' and discarded_at is null;

-- Live and finished jobs as one list, for readers.
create view all_jobs as
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

-- The smallest id of a job that could be made at that time: ids are UUIDv7 (RFC 9562), which begin with milliseconds.
create function id_made_at(at timestamptz) returns uuid language sql stable as $$
    select (lpad(to_hex(greatest(extract(epoch from at) * 1000, 0)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- Which jobs people mean when they list or cancel many: those that match all that is set. One function, so
-- that a list shows what a cancel would stop.
create function job_matches(of_kind text, of_state text, due_at timestamptz, in_batch uuid, asked_at timestamptz,
                            its_error jsonb, its_progress jsonb, kinds text[], wanted_state text, is_due boolean,
                            wanted_batch uuid, since timestamptz, until timestamptz, search text)
returns boolean language sql stable as $$
    select (cardinality(kinds) = 0 or of_kind = any(kinds))
       and (wanted_state is null or of_state = wanted_state)
       and (is_due is null or (due_at <= now()) = is_due)
       and (wanted_batch is null or in_batch = wanted_batch)
       and (since is null or asked_at >= since)
       and (until is null or asked_at < until)
       and (search is null
            or strpos(lower(concat_ws(' ', of_kind, its_error ->> 'message', its_progress ->> 'message',
                                      its_progress ->> 'current_step')), lower(search)) > 0)
$$;

create table job_logs (
    job_id  uuid not null,
    id      bigint generated always as identity,
    at      timestamptz not null default now(),
    attempt integer not null,
    level   text not null,
    message text not null,
    primary key (job_id, id)
);

-- How long finished jobs stay in the history, where that is not what their kind says. The narrowest row counts:
-- one of the kind and the state, else of the kind, else of the state, else the one without either.
create table job_retention (
    kind       text,
    state      text check (state in ('completed', 'failed', 'cancelled')),
    keep       interval not null check (keep >= interval '0'),
    updated_at timestamptz not null default now(),
    constraint job_retention_key unique nulls not distinct (kind, state)
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

-- What every write calls is PL/pgSQL, here and below: it keeps its plans. PostgreSQL plans the statements of an SQL
-- function anew with each call, which took longer than they did.

-- Inserts jobs; answers, for each that has a unique key, with the job that the key stands for: itself, or
-- the one that was there before, in which case nothing was inserted for it. A job without a unique key, as most are,
-- is a plain insert.
create function shard_api.enqueue_jobs(workspace uuid, new_jobs jsonb)
returns table (asked uuid, stands_for uuid)
language plpgsql security definer
set search_path = shard, shard_api, pg_temp
as $$
#variable_conflict use_column
declare
    acting uuid := acting_workspace(workspace);
begin
    if not jsonb_path_exists(new_jobs, '$[*].unique_key') then
        insert into jobs (id, workspace_id, kind, version, pool, payload, origin, priority, run_at, max_attempts,
                          checkpoints, batch_id)
        select n.id, acting, n.kind, n.version, n.pool, n.payload, n.origin, n.priority, coalesce(n.run_at, now()),
               n.max_attempts, coalesce(n.checkpoints, false), n.batch_id
          from jsonb_to_recordset(new_jobs) as n(id uuid, kind text, version smallint, pool text, payload jsonb,
               origin jsonb, priority smallint, run_at timestamptz, max_attempts integer, checkpoints boolean,
               batch_id uuid);
        return;
    end if;
    return query
        with new as (
            select * from jsonb_to_recordset(new_jobs) as n(id uuid, kind text, version smallint, pool text,
                   payload jsonb, origin jsonb, priority smallint, run_at timestamptz, max_attempts integer,
                   checkpoints boolean, batch_id uuid, unique_key text, unique_until text,
                   unique_seconds double precision)
        ), keyed as (
            insert into job_keys as k (tenant, kind, key, job_id, until, expires_at)
            select distinct on (kind, unique_key)
                   coalesce(acting, '00000000-0000-0000-0000-000000000000'), kind, unique_key, id, unique_until,
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
            select n.id, acting, n.kind, n.version, n.pool, n.payload, n.origin, n.priority,
                   coalesce(n.run_at, now()), n.max_attempts, coalesce(n.checkpoints, false), n.batch_id, n.unique_key
              from new n left join keyed k on k.kind = n.kind and k.key = n.unique_key
             where k.job_id is null or k.job_id = n.id
        )
        select n.id, k.job_id from new n join keyed k on k.kind = n.kind and k.key = n.unique_key;
end
$$;

-- How far a job's committed effects reach. The row outlives an attempt, never its job.
create table job_checkpoints (
    job_id       uuid primary key,
    workspace_id uuid,
    fence        bigint not null,
    cursor       jsonb,
    done         bigint not null default 0,
    failed       bigint not null default 0,
    skipped      bigint not null default 0,
    advanced_by  bigint not null default 0,       -- the fence under which the cursor last moved
    updated_at   timestamptz not null default now()
) with (fillfactor = 70);

-- Takes over the effects of a job: waits for a predecessor's open transaction, then answers with the
-- last committed cursor. No row: the caller's fence is not the newest.
create function shard_api.resume_job(job uuid, holder_fence bigint)
returns table (cursor jsonb, done bigint, failed bigint, skipped bigint)
language plpgsql security definer
set search_path = shard, shard_api, pg_temp
as $$
#variable_conflict use_column
begin
    return query
        insert into job_checkpoints as c (job_id, workspace_id, fence)
        select id, workspace_id, holder_fence from jobs
         where id = job and fence = holder_fence
           and workspace_id is not distinct from acting_workspace(workspace_id)
        on conflict (job_id) do update set fence = excluded.fence where c.fence < excluded.fence
        returning c.cursor, c.done, c.failed, c.skipped;
end
$$;

-- The last statement before the commit of a batch. False: a newer holder has taken over, roll back.
create function shard_api.checkpoint_job(job uuid, holder_fence bigint, new_cursor jsonb,
                                         new_done bigint, new_failed bigint, new_skipped bigint)
returns boolean
language plpgsql security definer set search_path = shard, shard_api, pg_temp as $$
begin
    update job_checkpoints
       set cursor = new_cursor, done = new_done, failed = new_failed, skipped = new_skipped,
           advanced_by = holder_fence, updated_at = now()
     where job_id = job and fence = holder_fence
       and workspace_id is not distinct from acting_workspace(workspace_id);
    return found;
end
$$;

revoke execute on all functions in schema shard_api from public;
