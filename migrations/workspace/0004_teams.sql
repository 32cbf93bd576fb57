-- Teams: groups of members, below each other.
-- Runs with search_path = the tenant's schema, shard_api, ext.

-- Who changes which team stands below which holds this table's lock: nobody closes a circle unseen.
create table teams (
    id             uuid primary key,
    parent_team_id uuid references teams,
    name           text not null,
    description    text,
    is_active      boolean not null default true,
    created_by     uuid,
    created_at     timestamptz not null default now(),
    updated_at     timestamptz not null default now()
);

-- One name once below the same team.
create unique index teams_name_key on teams (parent_team_id, lower(name)) nulls not distinct;

create table team_members (
    team_id    uuid not null references teams on delete cascade,
    member_id  uuid not null references members on delete cascade,
    role       text not null check (role in ('lead', 'member')),
    created_at timestamptz not null default now(),
    constraint team_members_pkey primary key (team_id, member_id)
);

create index team_members_of_member on team_members (member_id);
