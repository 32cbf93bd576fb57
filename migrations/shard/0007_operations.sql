-- What operators look at: what a worker does and how long it may be silent, and what ran in the past.

-- The lease that the worker was told: silent for twice as long, it counts as gone.
alter table workers
    add column lease interval not null default '15 s',
    add column state text not null default 'taking' check (state in ('taking', 'paused', 'leaving')); -- by its own word

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
