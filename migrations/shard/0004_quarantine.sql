-- Crash quarantine and retention.

-- The fence under which the job last ran alone, in a process of its own: only a crash there is held against it.
alter table jobs add column ran_alone bigint;

-- How long finished jobs stay in the history, where that is not what their kind says. The narrowest row counts:
-- one of the kind and the state, else of the kind, else of the state, else the one without either.
create table job_retention (
    kind       text,
    state      text check (state in ('completed', 'failed', 'cancelled')),
    keep       interval not null check (keep >= interval '0'),
    updated_at timestamptz not null default now(),
    constraint job_retention_key unique nulls not distinct (kind, state)
);
