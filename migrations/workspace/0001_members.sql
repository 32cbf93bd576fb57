-- Members: the people of one workspace. Who may enter, and with which role, is said by
-- control.memberships; this is who they are here.
-- Runs with search_path = the tenant's schema, shard_api, ext.

create table members (
    id         uuid primary key,
    user_id    uuid not null,
    name       text not null,
    email      text not null,
    title      text,
    phone      text,
    bio        text,
    avatar_url text,
    is_active  boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint members_user_key unique (user_id)
);

-- How the workspace is set up, by area.
create table settings (
    key        text primary key,
    value      jsonb not null,
    updated_at timestamptz not null default now()
);
