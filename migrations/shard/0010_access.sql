-- Audit and idempotency: who wrote what, and which requests have been answered.
-- Runs with search_path = shard.

create table audit_log (
    id              bigint generated always as identity primary key,
    workspace_id    uuid,                         -- null: of an account
    at              timestamptz not null default now(),
    action          text not null,                -- an event's type, or the route where there was none
    resource_type   text not null,
    resource_id     uuid,
    user_id         uuid,
    credential_type text,                         -- session, api_key, personal_token
    credential_id   uuid,
    impersonator_id uuid,
    ip              text,
    user_agent      text,
    request_id      text,
    surface         text,
    data            jsonb
);

create index audit_log_of_workspace on audit_log (workspace_id, id);
create index audit_log_of_user on audit_log (user_id, id) where workspace_id is null;
create index audit_log_by_time on audit_log (at);

create function shard_api.append_audit(workspace uuid, actor jsonb, action text, resource_type text,
                                       resource_id uuid, data jsonb)
returns void
language sql security definer set search_path = shard, shard_api, pg_temp as $$
    insert into audit_log (workspace_id, action, resource_type, resource_id, user_id, credential_type, credential_id,
                           impersonator_id, ip, user_agent, request_id, surface, data)
    values (acting_workspace(workspace), action, resource_type, resource_id, (actor->>'user_id')::uuid,
            actor->>'credential_type', (actor->>'credential_id')::uuid, (actor->>'impersonator_id')::uuid,
            actor->>'ip', actor->>'user_agent', actor->>'request_id', actor->>'surface', data)
$$;

-- Every event is an entry of the audit, in the same statement.
create or replace function shard_api.append_event(workspace uuid, type text, actor jsonb, subject text,
                                       subject_id uuid, subject_version bigint, data jsonb)
returns void
language sql security definer set search_path = shard, shard_api, pg_temp as $$
    insert into events (workspace_id, type, actor, subject, subject_id, subject_version, data)
    values (acting_workspace(workspace), type, actor - 'ip' - 'user_agent', subject, subject_id, subject_version, data);
    select append_audit(workspace, actor, type, subject, subject_id, data);
$$;

revoke execute on all functions in schema shard_api from public;

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
