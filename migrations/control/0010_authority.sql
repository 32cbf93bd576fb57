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
       w.schema_version,
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
