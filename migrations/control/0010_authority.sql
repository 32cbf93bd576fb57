-- Authority: who gets in, defined once.
-- Runs with search_path = control, ext.

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
