-- Dead letters by tenant, the latest first: those of one must not be looked for among everyone's.

create index finished_jobs_dead_of_tenant
    on finished_jobs (coalesce(workspace_id, '00000000-0000-0000-0000-000000000000'), finished_at desc, id desc)
    where state = 'failed' and discarded_at is null;
drop index finished_jobs_dead;
