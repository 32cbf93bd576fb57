-- Access: what people, keys and tokens may do, and where; how one comes in and is let go.
-- Runs with search_path = control, ext.

-- Whoever was invited or provisioned has no password before they have chosen one.
alter table users
    alter column password_hash drop not null,
    add column title                text,
    add column phone                text,
    add column bio                  text,
    add column avatar_key           text,             -- in the object store; wins over avatar_url
    add column avatar_url           text,             -- somewhere else
    add column clerk_id             text,
    add column is_staff             boolean not null default false,
    add column current_workspace_id uuid references workspaces on delete set null,
    add column activated_at         timestamptz,      -- null: has never chosen a password
    add column last_login_at        timestamptz,
    add constraint users_clerk_id_key unique (clerk_id);

update users set activated_at = created_at;

alter table workspaces
    add column plan                   text not null default 'free'
                                      check (plan in ('free', 'starter', 'growth', 'enterprise')),
    add column description            text,
    add column branding               jsonb not null default '{}',   -- brand_name, logo_url, color, support_email
    add column stripe_customer_id     text,
    add column stripe_subscription_id text,
    add column trial_ends_at          timestamptz;

-- A membership has the id of the member that it is in the workspace's own schema.
alter table memberships
    add column id uuid,
    add column is_active boolean not null default true;  -- false: is kept, and doesn't get in
do $$
declare
    workspace record;
begin
    for workspace in select id from workspaces loop
        if to_regclass('ws_' || replace(workspace.id::text, '-', '') || '.members') is not null then
            execute format(
                'update memberships m set id = t.id from %I.members t where m.workspace_id = $1 and t.user_id = m.user_id',
                'ws_' || replace(workspace.id::text, '-', ''))
            using workspace.id;
        end if;
    end loop;
    update memberships set id = gen_random_uuid() where id is null;
end
$$;
alter table memberships
    alter column id set not null,
    add constraint memberships_id_key unique (id);

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

-- Someone asked to join. While it is neither accepted nor cancelled it is a pending member, and its id
-- becomes that of the membership.
create table invitations (
    id           uuid primary key,
    workspace_id uuid not null references workspaces on delete cascade,
    user_id      uuid not null references users on delete cascade,
    role         text not null check (role in ('owner', 'admin', 'member', 'viewer')),
    token_hash   bytea not null,                  -- of the newest token; earlier ones are worthless
    invited_by   uuid,
    created_at   timestamptz not null default now(),
    sent_at      timestamptz not null default now(),
    expires_at   timestamptz not null,
    accepted_at  timestamptz,
    cancelled_at timestamptz,
    constraint invitations_token_key unique (token_hash)
);

create unique index invitations_pending_key on invitations (workspace_id, user_id)
    where accepted_at is null and cancelled_at is null;
create index invitations_of_user on invitations (user_id);

-- Single-use links that were mailed, or handed over: whoever holds one is let in once.
create table account_tokens (
    hash         bytea primary key,
    user_id      uuid not null references users on delete cascade,
    purpose      text not null check (purpose in ('activation', 'password_reset')),
    workspace_id uuid references workspaces on delete cascade,
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

alter table sessions
    add column impersonator_id uuid,              -- the member of staff who acts as this person
    drop constraint sessions_revoked_for_check,
    add constraint sessions_revoked_for_check check (revoked_for in
        ('logout', 'token_reuse', 'revoked', 'password_changed', 'deactivated'));

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

-- How a workspace wants to be kept. No row: the defaults.
create table governance (
    workspace_id          uuid primary key references workspaces on delete cascade,
    audit_retention_days  integer not null default 365 check (audit_retention_days between 1 and 3650),
    session_duration_secs integer check (session_duration_secs between 300 and 31536000),
    password_min_length   integer not null default 10 check (password_min_length between 10 and 128),
    ip_allowlist          text[] not null default '{}',
    updated_at            timestamptz not null default now()
);

-- How often who may ask; changed here, it holds within seconds. `plan` is '' where it makes no difference.
create table rate_limits (
    principal text not null check (principal in ('visitor', 'user', 'api_key', 'personal_token', 'watching')),
    plan      text not null default '',
    bucket    text not null check (bucket in ('principal', 'company', 'ip', 'day')),
    requests  integer not null check (requests > 0),
    seconds   integer not null check (seconds > 0),
    primary key (principal, plan, bucket)
);

insert into rate_limits (principal, plan, bucket, requests, seconds) values
    ('visitor',        '',           'ip',        10000, 3600),
    ('user',           '',           'principal',   600,   60),
    ('user',           '',           'ip',        10000, 3600),
    ('personal_token', '',           'principal',  1000, 3600),
    ('personal_token', '',           'company',   10000, 3600),
    ('personal_token', '',           'ip',        10000, 3600),
    ('api_key',        'free',       'principal',    30,   60),
    ('api_key',        'free',       'day',         500, 86400),
    ('api_key',        'starter',    'principal',    60,   60),
    ('api_key',        'starter',    'day',        5000, 86400),
    ('api_key',        'growth',     'principal',   120,   60),
    ('api_key',        'growth',     'day',       20000, 86400),
    ('api_key',        'enterprise', 'principal',   300,   60),
    ('watching',       '',           'principal',   120,   60);

-- A sign-up was the only way to a workspace; now it is one door of several. Each is a row here and one
-- provisioning job.
alter table signups
    alter column token_hash drop not null,
    add column door              text not null default 'signup'
                                 check (door in ('signup', 'stripe_invite', 'create', 'provision')),
    add column makes_user        boolean not null default true,
    add column skip_seed         boolean not null default false,
    add column clerk_id          text,
    add column stripe_invite_id  uuid,
    add column payment_method_id text,
    add column checkout_url      text;            -- where to pay, when Stripe says so

drop index signups_email_key;
create unique index signups_email_key on signups (email_key) where state = 'pending' and makes_user;

-- Someone has paid through Stripe and has no account yet.
create table stripe_invites (
    id                     uuid primary key,
    code_hash              bytea not null,
    access_code_hash       bytea not null,
    email                  text not null,
    email_key              text not null,
    name                   text,
    company_name           text,
    plan                   text not null check (plan in ('free', 'starter', 'growth', 'enterprise')),
    stripe_customer_id     text not null,
    stripe_subscription_id text,
    checkout_session_id    text not null,
    created_at             timestamptz not null default now(),
    expires_at             timestamptz not null,
    used_at                timestamptz,
    constraint stripe_invites_code_key unique (code_hash),
    constraint stripe_invites_session_key unique (checkout_session_id)
);

create index stripe_invites_by_email on stripe_invites (email_key) where used_at is null;
