-- Members: the people of one workspace. Who may enter, and with which role, is said by
-- control.memberships; this is who they are here, and the tours they have taken.
-- Runs with search_path = the tenant's schema, shard_api, ext.

create table members (
    id           uuid primary key,
    user_id      uuid not null,
    name         text not null,
    display_name text,
    email        text not null,
    title        text,
    phone        text,
    bio          text,
    avatar_url   text,                            -- set by an admin; null: the account's picture
    is_active    boolean not null default true,
    onboarded_at timestamptz,                     -- has been shown around
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    constraint members_user_key unique (user_id)
);

-- Where someone was shown around.
create table member_tours (
    member_id  uuid not null references members on delete cascade,
    tour_id    text not null,
    status     text not null check (status in ('completed', 'skipped')),
    updated_at timestamptz not null default now(),
    constraint member_tours_pkey primary key (member_id, tour_id)
);

-- How the workspace is set up, by area.
create table settings (
    key        text primary key,
    value      jsonb not null,
    updated_at timestamptz not null default now()
);
