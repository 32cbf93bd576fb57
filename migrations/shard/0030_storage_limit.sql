-- What a workspace's own transactions ask about its plan.
-- Runs with search_path = shard, shard_api, ext.

-- Bytes that the plan allows to store; null: not limited.
create function shard_api.storage_limit(workspace uuid) returns bigint
language plpgsql stable security definer
set search_path = control, shard_api, pg_temp
as $$
begin
    return (select l.storage_bytes
              from workspaces w join plan_limits l on l.plan = w.plan
             where w.id = acting_workspace(workspace));
end
$$;

revoke execute on all functions in schema shard_api from public;
