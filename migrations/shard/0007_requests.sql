-- What requests and their transactions ask the shard: whether they have been answered before, and what a plan allows.
-- Runs with search_path = shard.

-- A request that was answered: asked again with the same key, it is answered with the same.
create table idempotency_keys (
    id           bytea primary key,               -- of who, where, method, path and key
    request_hash bytea not null,                  -- of the body
    status       smallint not null,
    answer       text not null,                   -- sealed
    tickets      jsonb not null default '[]',     -- where the server put tickets into it, for which jobs
    created_at   timestamptz not null default now()
);

create index idempotency_keys_by_age on idempotency_keys (created_at);

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
