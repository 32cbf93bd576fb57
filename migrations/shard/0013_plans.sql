-- What every write calls keeps its plans. PostgreSQL plans the statements of an SQL function anew with each call,
-- which took longer than they did; those of a PL/pgSQL function once per session.

-- As before, and a job without a unique key, as most are, is a plain insert.
create or replace function shard_api.enqueue_jobs(workspace uuid, new_jobs jsonb)
returns table (asked uuid, stands_for uuid)
language plpgsql security definer
set search_path = shard, shard_api, pg_temp
as $$
#variable_conflict use_column
declare
    acting uuid := acting_workspace(workspace);
begin
    if not jsonb_path_exists(new_jobs, '$[*].unique_key') then
        insert into jobs (id, workspace_id, kind, version, pool, payload, origin, priority, run_at, max_attempts,
                          checkpoints, batch_id)
        select n.id, acting, n.kind, n.version, n.pool, n.payload, n.origin, n.priority, coalesce(n.run_at, now()),
               n.max_attempts, coalesce(n.checkpoints, false), n.batch_id
          from jsonb_to_recordset(new_jobs) as n(id uuid, kind text, version smallint, pool text, payload jsonb,
               origin jsonb, priority smallint, run_at timestamptz, max_attempts integer, checkpoints boolean,
               batch_id uuid);
        return;
    end if;
    return query
        with new as (
            select * from jsonb_to_recordset(new_jobs) as n(id uuid, kind text, version smallint, pool text,
                   payload jsonb, origin jsonb, priority smallint, run_at timestamptz, max_attempts integer,
                   checkpoints boolean, batch_id uuid, unique_key text, unique_until text,
                   unique_seconds double precision)
        ), keyed as (
            insert into job_keys as k (tenant, kind, key, job_id, until, expires_at)
            select distinct on (kind, unique_key)
                   coalesce(acting, '00000000-0000-0000-0000-000000000000'), kind, unique_key, id, unique_until,
                   now() + make_interval(secs => unique_seconds)
              from new where unique_key is not null
             order by kind, unique_key, id
            on conflict (tenant, kind, key) do update
               set job_id = case when k.expires_at < now() then excluded.job_id else k.job_id end,
                   until = case when k.expires_at < now() then excluded.until else k.until end,
                   expires_at = case when k.expires_at < now() then excluded.expires_at else k.expires_at end
            returning k.kind, k.key, k.job_id
        ), inserted as (
            insert into jobs (id, workspace_id, kind, version, pool, payload, origin, priority, run_at, max_attempts,
                              checkpoints, batch_id, unique_key)
            select n.id, acting, n.kind, n.version, n.pool, n.payload, n.origin, n.priority,
                   coalesce(n.run_at, now()), n.max_attempts, coalesce(n.checkpoints, false), n.batch_id, n.unique_key
              from new n left join keyed k on k.kind = n.kind and k.key = n.unique_key
             where k.job_id is null or k.job_id = n.id
        )
        select n.id, k.job_id from new n join keyed k on k.kind = n.kind and k.key = n.unique_key;
end
$$;

create or replace function shard_api.append_audit(
    workspace uuid, actor jsonb, action text, resource_type text, resource_id uuid, data jsonb
) returns void
language plpgsql security definer
set search_path = shard, shard_api, pg_temp
as $$
begin
    insert into audit_log (workspace_id, action, resource_type, resource_id, user_id, credential_type, credential_id,
                           impersonator_id, ip, user_agent, request_id, surface, data)
    values (acting_workspace(workspace), action, resource_type, resource_id, (actor->>'user_id')::uuid,
            actor->>'credential_type', (actor->>'credential_id')::uuid, (actor->>'impersonator_id')::uuid,
            actor->>'ip', actor->>'user_agent', actor->>'request_id', actor->>'surface', data);
end
$$;

create or replace function shard_api.append_event(
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

create or replace function shard_api.resume_job(job uuid, holder_fence bigint)
returns table (cursor jsonb, done bigint, failed bigint, skipped bigint)
language plpgsql security definer
set search_path = shard, shard_api, pg_temp
as $$
#variable_conflict use_column
begin
    return query
        insert into job_checkpoints as c (job_id, workspace_id, fence)
        select id, workspace_id, holder_fence from jobs
         where id = job and fence = holder_fence
           and workspace_id is not distinct from acting_workspace(workspace_id)
        on conflict (job_id) do update set fence = excluded.fence where c.fence < excluded.fence
        returning c.cursor, c.done, c.failed, c.skipped;
end
$$;
