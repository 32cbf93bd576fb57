-- Consent: people come into a workspace by accepting, and an account belongs to its person.
-- Runs with search_path = control, ext.

-- An account that was made for an invitation is managed by the workspace that invited, until its person belongs to
-- another workspace or no longer to that one.
alter table users
    add column managed_by uuid references workspaces on delete set null;

create index users_managed_by on users (managed_by) where managed_by is not null;

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

-- An invitation is to an address, whether or not it has an account. Who accepts it is known once they do.
alter table invitations
    alter column user_id drop not null,
    add column email     text,                    -- as the inviter wrote it
    add column email_key text,                    -- what it is compared by
    add column profile   jsonb not null default '{}';    -- display_name, title, phone, bio: what the member begins with

update invitations i set email = u.email, email_key = u.email_key from users u where u.id = i.user_id;
update invitations set user_id = null where accepted_at is null;

alter table invitations
    alter column email set not null,
    alter column email_key set not null,
    add constraint invitations_accepted_by check (accepted_at is null or user_id is not null);

drop index invitations_pending_key;
create unique index invitations_pending_key on invitations (workspace_id, email_key)
    where accepted_at is null and cancelled_at is null;
create index invitations_of_address on invitations (email_key) where accepted_at is null and cancelled_at is null;

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

-- Ended sign-ups and used invites go after a while: they hold addresses.
create index signups_ended on signups (created_at) where state <> 'pending';
