-- The ledger: which jobs exist, who holds them, how they ended. Redis holds none of this.
-- Runs with search_path = shard, so that the names below need no schema.

create table jobs (
    id               uuid primary key,
    workspace_id     uuid,                        -- null: a job of the installation itself
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
    cancel_requested boolean not null default false,
    progress         jsonb,                       -- the last progress persisted with a renewal
    error            jsonb,                       -- why the last attempt ended, when it failed
    created_at       timestamptz not null default now(),
    started_at       timestamptz                  -- of the first attempt
) with (
    fillfactor = 80,
    -- A queue turns over many times its own size: vacuum by count, not by share.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);

create index jobs_due on jobs (pool, priority, run_at, id) where state = 'waiting';
create index jobs_leases on jobs (lease_until) where state = 'running';
create index jobs_of_workspace on jobs (workspace_id, id) where workspace_id is not null;

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
    progress     jsonb,
    result       jsonb,
    error        jsonb,
    created_at   timestamptz not null,
    started_at   timestamptz,
    finished_at  timestamptz not null default now()
);

create index finished_jobs_of_workspace on finished_jobs (workspace_id, id) where workspace_id is not null;
create index finished_jobs_by_end on finished_jobs (finished_at);

-- Live and finished jobs as one list, for readers.
create view all_jobs as
select id, workspace_id, kind, version, pool, payload, origin, priority, state, run_at, attempt, max_attempts,
       crashes, fence, epoch, worker, cancel_requested, progress, null::jsonb as result, error,
       created_at, started_at, null::timestamptz as finished_at
  from jobs
union all
select id, workspace_id, kind, version, pool, payload, origin, priority, state, created_at, attempt, max_attempts,
       crashes, 0, epoch, null::uuid, false, progress, result, error,
       created_at, started_at, finished_at
  from finished_jobs;

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

-- Worker processes: what they can take, and when they were last heard of.
create table workers (
    id           uuid primary key,
    host         text not null,
    pid          integer not null,
    version      text not null,
    slots        jsonb not null,                  -- pool → how many jobs at once
    started_at   timestamptz not null default now(),
    heartbeat_at timestamptz not null default now()
);

create table job_logs (
    job_id  uuid not null,
    id      bigint generated always as identity,
    at      timestamptz not null default now(),
    attempt integer not null,
    level   text not null,
    message text not null,
    primary key (job_id, id)
);

-- What others care about, in the transaction that made it so. Partitioned by time so that old
-- events leave by dropping a table.
create table events (
    id              bigint generated always as identity,
    xid             xid8 not null default pg_current_xact_id(),
    workspace_id    uuid,
    type            text not null,
    actor           jsonb not null,
    subject         text not null,
    subject_id      uuid,
    subject_version bigint,
    data            jsonb not null,
    occurred_at     timestamptz not null default now(),
    primary key (occurred_at, id)
) partition by range (occurred_at);

create table events_default partition of events default;
create index events_in_order on events (xid, id);

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

create function shard_api.enqueue_jobs(workspace uuid, new_jobs jsonb) returns void
language sql security definer set search_path = shard, shard_api, pg_temp as $$
    insert into jobs (id, workspace_id, kind, version, pool, payload, origin, priority, run_at, max_attempts)
    select j.id, acting_workspace(workspace), j.kind, j.version, j.pool, j.payload, j.origin, j.priority,
           coalesce(j.run_at, now()), j.max_attempts
      from jsonb_to_recordset(new_jobs) as j(id uuid, kind text, version smallint, pool text, payload jsonb,
           origin jsonb, priority smallint, run_at timestamptz, max_attempts integer)
$$;

-- Takes over the effects of a job: waits for a predecessor's open transaction, then answers with the
-- last committed cursor. No row: the caller's fence is not the newest.
create function shard_api.resume_job(job uuid, holder_fence bigint)
returns table (cursor jsonb, done bigint, failed bigint, skipped bigint)
language sql security definer set search_path = shard, shard_api, pg_temp as $$
    insert into job_checkpoints as c (job_id, workspace_id, fence)
    select id, workspace_id, holder_fence from jobs
     where id = job and fence = holder_fence and workspace_id is not distinct from acting_workspace(workspace_id)
    on conflict (job_id) do update set fence = excluded.fence where c.fence < excluded.fence
    returning cursor, done, failed, skipped
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

create function shard_api.append_event(workspace uuid, type text, actor jsonb, subject text, subject_id uuid,
                                       subject_version bigint, data jsonb)
returns void
language sql security definer set search_path = shard, shard_api, pg_temp as $$
    insert into events (workspace_id, type, actor, subject, subject_id, subject_version, data)
    values (acting_workspace(workspace), type, actor, subject, subject_id, subject_version, data)
$$;

revoke execute on all functions in schema shard_api from public;
