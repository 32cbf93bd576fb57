-- Access: what people, keys and tokens may do, and where; who gets in, defined once.
-- Runs with search_path = control, ext.

-- What differs from the built-in roles, per workspace. The owner's role can't be changed.
create table role_permissions (
    workspace_id uuid not null references workspaces on delete cascade,
    role         text not null check (role in ('admin', 'member', 'viewer')),
    permission   text not null,
    granted      boolean not null,
    updated_at   timestamptz not null default now(),
    updated_by   uuid,
    primary key (workspace_id, role, permission)
);

-- How a workspace wants to be kept. No row: the defaults.
create table governance (
    workspace_id          uuid primary key references workspaces on delete cascade,
    audit_retention_days  integer not null default 365 check (audit_retention_days between 1 and 3650),
    session_duration_secs integer check (session_duration_secs between 300 and 31536000),
    password_min_length   integer not null default 10 check (password_min_length between 10 and 128),
    ip_allowlist          text[] not null default '{}',
    updated_at            timestamptz not null default now()
);

-- Memberships that let their person in, with what the workspace asks of them. Everything that asks whether
-- somebody is in a workspace reads this; `memberships` itself is for the code that changes them.
create view live_memberships as
select m.id,
       m.workspace_id,
       m.user_id,
       m.role,
       m.created_at,
       w.state,
       w.migrations,
       g.session_duration_secs,
       coalesce(g.ip_allowlist, '{}') as ip_allowlist,
       (select json_object_agg(p.permission, p.granted)
          from role_permissions p
         where p.workspace_id = m.workspace_id and p.role = m.role) as overrides
  from memberships m
  join users u on u.id = m.user_id and u.is_active
  join workspaces w on w.id = m.workspace_id
  left join governance g on g.workspace_id = m.workspace_id
 where m.is_active;

-- Someone asked to join. While it is neither accepted nor cancelled it is a pending member, and its id
-- becomes that of the membership. It is to an address, whether or not that has an account.
create table invitations (
    id           uuid primary key,
    workspace_id uuid not null references workspaces on delete cascade,
    email        text not null,                   -- as the inviter wrote it
    email_key    text not null,                   -- what it is compared by
    user_id      uuid references users on delete cascade, -- who has accepted
    role         text not null check (role in ('owner', 'admin', 'member', 'viewer')),
    token_hash   bytea not null,                  -- of the newest token; earlier ones are worthless
    is_mailed    boolean not null default false,  -- whether the newest token was mailed, and to nobody else
    profile      jsonb not null default '{}',     -- display_name, title, phone, bio: what the member begins with
    invited_by   uuid,                            -- who is shown; null for keys
    answerable   uuid,                            -- the person who invited, or the maker of the key that did
    created_at   timestamptz not null default now(),
    sent_at      timestamptz not null default now(),
    expires_at   timestamptz not null,
    accepted_at  timestamptz,
    cancelled_at timestamptz,
    constraint invitations_token_key unique (token_hash),
    constraint invitations_accepted_by check (accepted_at is null or user_id is not null)
);

create unique index invitations_pending_key on invitations (workspace_id, email_key)
    where accepted_at is null and cancelled_at is null;
create index invitations_of_address on invitations (email_key) where accepted_at is null and cancelled_at is null;
create index invitations_of_user on invitations (user_id);

-- What stands behind each invitation now: what the person is in its workspace who answers for it, and what the
-- workspace has changed of their role and of the role that they offer. No row, where they are not in any more.
create view invitation_backing as
select i.id as invitation_id,
       m.role,
       m.overrides,
       (select json_object_agg(p.permission, p.granted)
          from role_permissions p
         where p.workspace_id = i.workspace_id and p.role = i.role) as offered_overrides
  from invitations i
  join live_memberships m on m.workspace_id = i.workspace_id and m.user_id = i.answerable;

-- Keys of a workspace, for programs. The key itself is shown once and stored as its hash.
create table api_keys (
    id              uuid primary key,
    workspace_id    uuid not null references workspaces on delete cascade,
    name            text not null,
    description     text,
    prefix          text not null,                -- how people tell keys apart
    hash            bytea not null,               -- sha256
    scopes          text[] not null,
    ip_allowlist    text[] not null default '{}', -- CIDR; empty: from anywhere
    rate_per_minute integer check (rate_per_minute > 0),  -- null: what the plan says
    is_active       boolean not null default true,
    expires_at      timestamptz,
    last_used_at    timestamptz,
    created_by      uuid,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    revoked_at      timestamptz,
    revoked_by      uuid,
    replaced_by     uuid,                         -- the key that a rotation made
    constraint api_keys_hash_key unique (hash)
);

create index api_keys_of_workspace on api_keys (workspace_id, id);

-- Tokens of a person, good in all of their workspaces or in one. Read-only unless granted more.
create table personal_tokens (
    id           uuid primary key,
    user_id      uuid not null references users on delete cascade,
    workspace_id uuid references workspaces on delete cascade,
    name         text not null,
    prefix       text not null,
    hash         bytea not null,
    scopes       text[] not null default '{read}',
    ip_allowlist text[] not null default '{}',
    expires_at   timestamptz,
    last_used_at timestamptz,
    created_at   timestamptz not null default now(),
    revoked_at   timestamptz,
    constraint personal_tokens_hash_key unique (hash)
);

create index personal_tokens_of_user on personal_tokens (user_id, id);
