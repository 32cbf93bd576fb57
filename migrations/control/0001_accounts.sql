-- Accounts: who may sign in, which workspaces there are, who belongs to them.
-- Runs with search_path = control, ext.

create table workspaces (
    id                     uuid primary key,
    name                   text not null,
    slug                   text not null,
    description            text,
    state                  text not null default 'provisioning' check (state in ('provisioning', 'ready')),
    migrations             bigint[] not null default '{}', -- those that its schema has
    plan                   text not null default 'free' check (plan in ('free', 'starter', 'growth', 'enterprise')),
    branding               jsonb not null default '{}',   -- brand_name, logo_url, color, support_email
    stripe_customer_id     text,
    stripe_subscription_id text,
    trial_ends_at          timestamptz,
    created_at             timestamptz not null default now(),
    updated_at             timestamptz not null default now(),
    constraint workspaces_slug_key unique (slug)
);

create table users (
    id                   uuid primary key,
    email                text not null,           -- as written; mail goes there
    email_key            text not null,           -- what it is compared by, made by the program (users::Email)
    email_verified_at    timestamptz,             -- null: nobody has shown yet that they read its mail
    -- A change of address waits here until its link, which was mailed to the new address, is used.
    pending_email        text,
    pending_email_key    text,
    name                 text not null,
    password_hash        text,                    -- argon2id, in PHC form; null: none has been chosen yet
    title                text,
    phone                text,
    bio                  text,
    avatar_key           text,                    -- in the object store; wins over avatar_url
    avatar_url           text,                    -- somewhere else
    clerk_id             text,
    is_active            boolean not null default true,
    is_staff             boolean not null default false,
    current_workspace_id uuid references workspaces on delete set null,
    -- An account that was made for an invitation is managed by the workspace that invited, until its person belongs to
    -- another workspace or no longer to that one.
    managed_by           uuid references workspaces on delete set null,
    activated_at         timestamptz,             -- null: has never chosen a password
    last_login_at        timestamptz,
    created_at           timestamptz not null default now(),
    updated_at           timestamptz not null default now(),
    constraint users_email_key unique (email_key),
    constraint users_clerk_id_key unique (clerk_id)
);

create index users_managed_by on users (managed_by) where managed_by is not null;

create table memberships (
    id           uuid not null,                   -- of the member that it is in the workspace's own schema
    workspace_id uuid not null references workspaces on delete cascade,
    user_id      uuid not null references users on delete cascade,
    role         text not null check (role in ('owner', 'admin', 'member', 'viewer')),
    is_active    boolean not null default true,   -- false: is kept, and doesn't get in
    created_at   timestamptz not null default now(),
    primary key (workspace_id, user_id),
    constraint memberships_id_key unique (id)
);

create index memberships_of_user on memberships (user_id);

create function control.end_management() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        update control.users set managed_by = null where id = new.user_id and managed_by <> new.workspace_id;
    else
        update control.users set managed_by = null where id = old.user_id and managed_by = old.workspace_id;
    end if;
    return null;
end
$$;

create trigger end_management after insert or delete on memberships
    for each row execute function control.end_management();

-- A workspace is never without an owner who gets in, by whatever transactions at once: they come one after the other
-- by the workspace's row, and each looks at what the one before has left. Deactivating an account is the operator's,
-- and is not held up by this.
create function workspace_keeps_an_owner() returns trigger
language plpgsql security definer set search_path = control, pg_temp as $$
begin
    perform from workspaces where id = old.workspace_id for no key update;
    -- Memberships go with their workspace.
    if found and not exists (select from memberships m join users u on u.id = m.user_id and u.is_active
                              where m.workspace_id = old.workspace_id and m.role = 'owner' and m.is_active) then
        raise exception 'a workspace needs an active owner'
            using errcode = 'check_violation', schema = 'control', table = 'memberships',
                  constraint = 'workspace_keeps_an_owner';
    end if;
    return null;
end
$$;

create constraint trigger workspace_keeps_an_owner
    after delete or update of role, is_active on memberships
    deferrable initially deferred
    for each row when (old.role = 'owner' and old.is_active)
    execute function workspace_keeps_an_owner();

-- Objects of pictures that may be nobody's: noted before they are stored, and again when they are replaced or their
-- person is deleted. The sweep removes those that are still here after a while.
create table stray_pictures (
    key   text primary key,
    since timestamptz not null default now()
);

create function control.note_stray_picture() returns trigger language plpgsql as $$
begin
    insert into control.stray_pictures (key) values (old.avatar_key) on conflict do nothing;
    return null;
end
$$;

create trigger note_replaced_picture after update of avatar_key on users
    for each row when (old.avatar_key is not null and old.avatar_key is distinct from new.avatar_key)
    execute function control.note_stray_picture();
create trigger note_deleted_picture after delete on users
    for each row when (old.avatar_key is not null)
    execute function control.note_stray_picture();

-- The PostgreSQL cluster whose transaction numbers the data holds. A dump that was restored into another cluster
-- brings numbers along that mean nothing there; the processes notice by this row and do not start.
create table cluster (
    only_row          boolean primary key default true check (only_row),
    system_identifier bigint not null      -- as of pg_control_system()
);
