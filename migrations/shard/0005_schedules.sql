-- What is enqueued once or again and again: schedules of workspaces beside the installation's own, with a history of
-- their occurrences. An occurrence, its job and the advance of its schedule are one commit, so that a scheduler that is
-- killed neither forgets an occurrence nor repeats one; what has been an occurrence once can't be one again.
-- Runs with search_path = shard.

create table schedules (
    id              uuid not null default gen_random_uuid() primary key,
    workspace_id    uuid,                               -- null: the installation's own, declared by its code
    name            text not null,
    description     text,
    kind            text not null,
    version         smallint not null,
    pool            text not null,
    payload         jsonb not null,
    priority        smallint not null,
    max_attempts    integer not null,
    checkpoints     boolean not null default false,
    cron            text,                               -- one of cron, every and run_at
    timezone        text not null default 'UTC',        -- on whose clock cron is read
    every           interval,
    run_at          timestamptz,
    overlap         text not null default 'skip' check (overlap in ('skip', 'queue', 'replace')),
    catch_up        text not null default 'latest' check (catch_up in ('none', 'latest', 'all')),
    jitter_seconds  integer not null default 0 check (jitter_seconds between 0 and 3600),
    enabled         boolean not null default true,
    -- Why it was disabled by the installation: who made it may not have it run any more. Null: enabled, or disabled by
    -- request.
    disabled_reason text,
    next_at         timestamptz,                        -- null: no more occurrences
    last_at         timestamptz,                        -- the newest occurrence
    last_job        uuid,                               -- the newest job
    origin          jsonb not null default '{}',        -- who asked, for its jobs
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    constraint schedules_timing check (num_nonnulls(cron, every, run_at) = 1)
);

create unique index schedules_own_name on schedules (name) where workspace_id is null;
create index schedules_due on schedules (next_at) where enabled;
create index schedules_of_workspace on schedules (workspace_id, id) where workspace_id is not null;

create table schedule_runs (
    schedule_id   uuid not null references schedules on delete cascade,
    scheduled_for timestamptz not null,
    job_id        uuid,                                       -- null: skipped
    outcome       text not null check (outcome in ('enqueued', 'skipped', 'replaced')),
    manual        boolean not null default false,             -- by hand, beside the timing
    created_at    timestamptz not null default now(),
    primary key (schedule_id, scheduled_for),
    check ((job_id is null) = (outcome = 'skipped'))
);

create index schedule_runs_of_job on schedule_runs (job_id) where job_id is not null;
