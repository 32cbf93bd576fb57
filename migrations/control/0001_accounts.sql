-- Accounts: who may sign in, which workspaces there are, who belongs to them.
-- Runs with search_path = control, ext.

create table users (
    id            uuid primary key,
    email         text not null,                  -- as written; mail goes there
    email_key     text not null,                  -- what it is compared by, made by the program (users::Email)
    email_verified_at timestamptz,                -- null: nobody has shown yet that they read its mail
    name          text not null,
    password_hash text not null,                  -- argon2id, in PHC form
    is_active     boolean not null default true,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    constraint users_email_key unique (email_key)
);

create table workspaces (
    id             uuid primary key,
    name           text not null,
    slug           text not null,
    state          text not null default 'provisioning' check (state in ('provisioning', 'ready')),
    migrations     bigint[] not null default '{}', -- those that its schema has
    created_at     timestamptz not null default now(),
    updated_at     timestamptz not null default now(),
    constraint workspaces_slug_key unique (slug)
);

create table memberships (
    workspace_id uuid not null references workspaces on delete cascade,
    user_id      uuid not null references users on delete cascade,
    role         text not null check (role in ('owner', 'admin', 'member', 'viewer')),
    created_at   timestamptz not null default now(),
    primary key (workspace_id, user_id)
);

create index memberships_of_user on memberships (user_id);

create table sessions (
    id           uuid primary key,
    user_id      uuid not null references users on delete cascade,
    user_agent   text,
    ip           text,
    created_at   timestamptz not null default now(),
    last_used_at timestamptz not null default now(),
    revoked_at   timestamptz,
    revoked_for  text check (revoked_for in ('logout', 'token_reuse'))
);

create index sessions_of_user on sessions (user_id) where revoked_at is null;

-- Each is good for one refresh. One that is presented again after that was stolen from, or by,
-- whoever used it first: the whole session ends.
create table refresh_tokens (
    hash        bytea primary key,                -- sha256 of the token, which is not stored
    session_id  uuid not null references sessions on delete cascade,
    issued_at   timestamptz not null default now(),
    expires_at  timestamptz not null,
    used_at     timestamptz,
    replaced_by bytea,
    -- With the token itself, from which its successor is made: for as long as both tabs of a race, and whoever lost
    -- the answer, may ask again. Worth nothing without the token.
    successor_salt bytea
);

create index refresh_tokens_of_session on refresh_tokens (session_id);

-- A sign-up reserves its email from the request until its job has ended.
create table signups (
    id            uuid primary key,
    token_hash    bytea not null,                 -- sha256 of the token that names it in URLs
    email         text not null,
    email_key     text not null,
    full_name     text not null,
    company_name  text not null,
    password_hash text,                           -- gone once the account exists
    user_id       uuid not null,                  -- chosen now, so that every attempt creates the same
    workspace_id  uuid not null,
    job_id        uuid not null,
    session_id    uuid,                           -- opened by the first delivery of its end
    state         text not null default 'pending' check (state in ('pending', 'completed', 'abandoned')),
    user_agent    text,
    ip            text,
    created_at    timestamptz not null default now(),
    constraint signups_token_key unique (token_hash)
);

create unique index signups_email_key on signups (email_key) where state = 'pending';
create index signups_by_job on signups (job_id);
