-- Signing in: sessions, links that let their holder in once, and what keeps strangers from guessing.
-- Runs with search_path = control, ext.

create table sessions (
    id           uuid primary key,
    user_id      uuid not null references users on delete cascade,
    user_agent   text,
    ip           text,
    impersonator_id uuid,                         -- the member of staff who acts as this person
    created_at   timestamptz not null default now(),
    last_used_at timestamptz not null default now(),
    revoked_at   timestamptz,
    revoked_for  text check (revoked_for in
        ('logout', 'token_reuse', 'revoked', 'password_changed', 'deactivated', 'email_changed'))
);

create index sessions_of_user on sessions (user_id) where revoked_at is null;

-- Sessions that let their person in. One in which a member of staff acts as the person ends with their standing,
-- and after an hour.
create view live_sessions as
select s.id,
       s.user_id,
       s.impersonator_id,
       s.created_at
  from sessions s
  join users u on u.id = s.user_id and u.is_active
  left join users i on i.id = s.impersonator_id
 where s.revoked_at is null
   and (s.impersonator_id is null
        or (i.is_active and i.is_staff and s.created_at > now() - interval '1 hour'));

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

-- Single-use links that were mailed, or handed over: whoever holds one is let in once.
create table account_tokens (
    hash         bytea primary key,
    user_id      uuid not null references users on delete cascade,
    purpose      text not null check (purpose in ('activation', 'password_reset', 'email_change')),
    workspace_id uuid references workspaces on delete cascade,
    -- A link that was mailed proves the address of the account it is for; one that was handed over does not.
    is_mailed    boolean not null default false,
    created_by   uuid,
    created_at   timestamptz not null default now(),
    expires_at   timestamptz not null,
    used_at      timestamptz
);

create index account_tokens_of_user on account_tokens (user_id, purpose) where used_at is null;

-- An impersonation token is signed, not stored; that it was used is.
create table used_impersonations (
    id         uuid primary key,                  -- the token's jti
    expires_at timestamptz not null,
    used_at    timestamptz not null default now()
);

-- Failed sign-ins by account (its address, hashed, whether or not there is one) and by client address.
create unlogged table login_failures (
    subject      bytea primary key,
    failures     integer not null default 0,
    since        timestamptz not null default now(),
    locked_until timestamptz
);
