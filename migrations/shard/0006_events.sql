-- Events and the audit: what happened, and who did it.
-- Runs with search_path = shard.

-- What others care about, in the transaction that made it so. Partitioned by time so that old
-- events leave by dropping a table.
create table events (
    id              bigint generated always as identity,
    xid             xid8 not null default pg_current_xact_id(),
    workspace_id    uuid,
    type            text not null,
    actor           jsonb not null,
    subject         text not null,
    subject_id      uuid,
    subject_version bigint,
    data            jsonb not null,
    occurred_at     timestamptz not null default now(),
    primary key (occurred_at, id)
) partition by range (occurred_at);

create table events_default partition of events default;
create index events_in_order on events (xid, id);

create table audit_log (
    id              bigint generated always as identity primary key,
    workspace_id    uuid,                         -- null: of an account
    at              timestamptz not null default now(),
    action          text not null,                -- an event's type, or the route where there was none
    resource_type   text not null,
    resource_id     uuid,
    actor_type      text not null,                -- user, impersonator, api_key, operator, job, visitor, system
    user_id         uuid,
    credential_type text,                         -- session, api_key, personal_token
    credential_id   uuid,
    impersonator_id uuid,
    job_id          uuid,                         -- in whose run it was done
    ip              text,
    user_agent      text,
    request_id      text,
    surface         text,
    data            jsonb
);

create index audit_log_of_workspace on audit_log (workspace_id, id);
create index audit_log_of_user on audit_log (user_id, id) where workspace_id is null;
create index audit_log_by_time on audit_log (at);

create function shard_api.append_audit(
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

-- Every event is an entry of the audit, in the same call.
create function shard_api.append_event(
    workspace uuid, type text, actor jsonb, subject text, subject_id uuid, subject_version bigint, data jsonb
) returns void
language plpgsql security definer
set search_path = shard, shard_api, pg_temp
as $$
begin
    insert into events (workspace_id, type, actor, subject, subject_id, subject_version, data)
    values (acting_workspace(workspace), type, actor - 'ip' - 'user_agent', subject, subject_id, subject_version, data);
    perform append_audit(workspace, actor, type, subject, subject_id, data);
end
$$;

revoke execute on all functions in schema shard_api from public;
