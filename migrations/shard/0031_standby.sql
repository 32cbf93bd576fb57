-- When a scheduler that Redis answers last stood by: a leader that Redis does not answer gives up the lead only if
-- another one can do better.

create table leader_standby (
    only_row boolean     primary key default true check (only_row),
    seen_at  timestamptz not null
);
