-- Who answers for an invitation: the person who invited, or the maker of the key that did. `invited_by` is what is
-- shown, and null for keys.
-- Runs with search_path = control, ext.

alter table invitations add column answerable uuid;
update invitations set answerable = invited_by;

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
