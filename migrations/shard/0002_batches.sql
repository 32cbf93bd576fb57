-- Batches: jobs that belong together, under a parent whose progress is theirs. The parent is a running job
-- without a worker; the dispatcher's leader moves it on. Children count by deltas, so that no child's end
-- waits for another's.

-- Runs with search_path = shard.

create table job_batches (
    job_id       uuid primary key,                -- the parent
    workspace_id uuid,
    on_failure   text not null check (on_failure in ('continue', 'fail', 'abort')),
    on_complete  jsonb,                           -- the job to enqueue when all is over, as enqueue_jobs takes it
    sealed       boolean not null default false,  -- no more children come
    total        bigint not null default 0,
    completed    bigint not null default 0,
    failed       bigint not null default 0,
    cancelled    bigint not null default 0
);

create table job_batch_deltas (
    batch_id  uuid not null,
    total     bigint not null default 0,
    completed bigint not null default 0,
    failed    bigint not null default 0,
    cancelled bigint not null default 0
);

create function count_child() returns trigger language plpgsql set search_path = shard as $$
begin
    insert into job_batch_deltas (batch_id, completed, failed, cancelled)
    values (new.batch_id, (new.state = 'completed')::integer, (new.state = 'failed')::integer,
            (new.state = 'cancelled')::integer);
    return null;
end
$$;

create trigger count_child after insert on finished_jobs
    for each row when (new.batch_id is not null) execute function count_child();

-- Moves failed and cancelled jobs, whose rows the caller holds, back to those that wait, with their attempts given back.
-- Batches count them as not over. `keyed`: they keep their unique keys, which the caller has taken for them again.
create function restart_jobs(ids uuid[], keyed boolean) returns table (id uuid, epoch bigint, pool text)
language sql as $$
    with gone as (
        delete from finished_jobs f where f.id = any(ids) returning f.*
    ), uncounted as (
        insert into job_batch_deltas (batch_id, failed, cancelled)
        select batch_id, -count(*) filter (where state = 'failed'), -count(*) filter (where state = 'cancelled')
          from gone where batch_id is not null group by batch_id
    )
    insert into jobs as j (id, workspace_id, kind, version, pool, payload, origin, priority, run_at, attempt,
           max_attempts, epoch, error, created_at, fence, checkpoints, unique_key, batch_id, isolate)
    select g.id, g.workspace_id, g.kind, g.version, g.pool, g.payload, g.origin, g.priority, now(), 0,
           g.max_attempts, g.epoch + 1, g.error, g.created_at, g.epoch + 1, g.checkpoints,
           case when keyed then g.unique_key end, g.batch_id, g.crashes > 0
      from gone g
    returning j.id, j.epoch, j.pool
$$;

-- Opens a batch: its parent runs from now on.
create function shard_api.open_batch(workspace uuid, parent uuid, title text, origin jsonb, on_failure text,
                                     on_complete jsonb) returns void
language sql security definer set search_path = shard, shard_api, pg_temp as $$
    insert into jobs (id, workspace_id, kind, version, pool, payload, origin, priority, state, run_at, attempt,
                      max_attempts, fence, epoch, started_at)
    values (parent, acting_workspace(workspace), 'engine.batch', 1, 'maintenance', jsonb_build_object('title', title),
            origin, 5, 'running', now(), 1, 1, 1, 1, now());
    insert into job_batches (job_id, workspace_id, on_failure, on_complete)
    values (parent, acting_workspace(workspace), on_failure, on_complete);
$$;

-- Counts children that this transaction adds. False: there is no such batch, or no more may come.
create function shard_api.grow_batch(parent uuid, children bigint) returns boolean
language plpgsql security definer set search_path = shard, shard_api, pg_temp as $$
begin
    perform from job_batches b join jobs j on j.id = b.job_id
      where b.job_id = parent and not b.sealed and not j.cancel_requested
        and b.workspace_id is not distinct from acting_workspace(b.workspace_id)
        for share of b;
    if found then
        insert into job_batch_deltas (batch_id, total) values (parent, children);
    end if;
    return found;
end
$$;

-- No more children come: the batch is over when those it has are. Waits for whoever is adding some.
create function shard_api.seal_batch(parent uuid) returns boolean
language plpgsql security definer set search_path = shard, shard_api, pg_temp as $$
begin
    update job_batches b set sealed = true
     where b.job_id = parent and b.workspace_id is not distinct from acting_workspace(b.workspace_id);
    if not found then
        return false;
    end if;
    -- Looked at even if it has no children.
    insert into job_batch_deltas (batch_id) values (parent);
    return true;
end
$$;

revoke execute on all functions in schema shard_api from public;
