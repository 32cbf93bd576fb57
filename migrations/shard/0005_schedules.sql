-- Schedules of workspaces beside the installation's own, with a history of their occurrences.
-- An occurrence, its job and the advance of its schedule are one commit; what has been an occurrence once
-- can't be one again.

alter table schedules drop constraint schedules_pkey;

alter table schedules
    add column id uuid not null default gen_random_uuid() primary key,
    add column workspace_id uuid,                             -- null: the installation's own, declared by its code
    add column description text,
    add column cron text,                                     -- one of cron, every and run_at
    add column timezone text not null default 'UTC',          -- on whose clock cron is read
    add column run_at timestamptz,
    add column overlap text not null default 'skip' check (overlap in ('skip', 'queue', 'replace')),
    add column catch_up text not null default 'latest' check (catch_up in ('none', 'latest', 'all')),
    add column jitter_seconds integer not null default 0 check (jitter_seconds between 0 and 3600),
    add column enabled boolean not null default true,
    add column last_at timestamptz,                           -- the newest occurrence
    add column last_job uuid,                                 -- the newest job
    add column origin jsonb not null default '{}',            -- who asked, for its jobs
    add column checkpoints boolean not null default false,
    add column created_at timestamptz not null default now(),
    alter column every drop not null,
    alter column next_at drop default,
    alter column next_at drop not null,                       -- null: no more occurrences
    add constraint schedules_timing check (num_nonnulls(cron, every, run_at) = 1);

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
