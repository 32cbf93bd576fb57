-- What is enqueued again and again. Advancing a schedule and enqueueing its occurrence are one commit, so
-- a scheduler that is killed neither forgets an occurrence nor repeats one.

create table schedules (
    name         text primary key,
    kind         text not null,
    version      smallint not null,
    pool         text not null,
    payload      jsonb not null,
    priority     smallint not null,
    max_attempts integer not null,
    every        interval not null,
    next_at      timestamptz not null default now(),
    updated_at   timestamptz not null default now()
);
