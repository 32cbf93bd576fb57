-- What acted: an entry says of what kind its actor is, and names the job in whose run something was done.
-- Runs with search_path = shard.

alter table audit_log
    add column actor_type text,      -- user, impersonator, api_key, operator, job, visitor, system
    add column job_id     uuid;

update audit_log
   set actor_type = case when impersonator_id is not null then 'impersonator'
                         when credential_type = 'api_key' then 'api_key'
                         when user_id is not null then 'user'
                         when surface = 'ops' then 'operator'
                         when ip is not null then 'visitor'
                         else 'system' end;

alter table audit_log
    alter column actor_type set not null;

create or replace function shard_api.append_audit(
    workspace uuid, actor jsonb, action text, resource_type text, resource_id uuid, data jsonb
) returns void
language plpgsql security definer
set search_path = shard, shard_api, pg_temp
as $$
begin
    insert into audit_log (workspace_id, action, resource_type, resource_id, actor_type, user_id, credential_type,
                           credential_id, impersonator_id, job_id, ip, user_agent, request_id, surface, data)
    values (acting_workspace(workspace), action, resource_type, resource_id, actor->>'actor_type',
            (actor->>'user_id')::uuid, actor->>'credential_type', (actor->>'credential_id')::uuid,
            (actor->>'impersonator_id')::uuid, (actor->>'job_id')::uuid, actor->>'ip', actor->>'user_agent',
            actor->>'request_id', actor->>'surface', data);
end
$$;
