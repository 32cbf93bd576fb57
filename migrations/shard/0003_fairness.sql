-- Fairness, limits, pauses: what the dispatcher and the claim decide by.
-- The dispatcher looks at lanes: the waiting jobs of one tenant, kind and priority within a pool. A lane is
-- let through or held back as a whole, so that a million jobs that must wait cost no more than one.
-- Runs with search_path = shard.

-- How large a tenant's share of a busy pool is, beside the others'. No row: 1.
create table job_shares (
    tenant     uuid primary key,
    weight     integer not null check (weight between 1 and 1000),
    updated_at timestamptz not null default now()
);

-- How many jobs may run at once, and how many may start in a period. A limit of the installation counts all
-- tenants together; one of a tenant counts that tenant alone; one without either is every tenant's own,
-- unless it has one of its own for the same kind. Without a kind, all kinds count together.
create table job_limits (
    id          uuid primary key,
    scope       text not null check (scope in ('installation', 'tenant')),
    tenant      uuid,
    kind        text,
    max_running integer check (max_running >= 0),
    max_starts  integer check (max_starts >= 0),
    per         interval check (per > interval '0'),
    updated_at  timestamptz not null default now(),
    constraint job_limits_key unique nulls not distinct (scope, tenant, kind),
    check (scope = 'tenant' or tenant is null),
    check ((max_starts is null) = (per is null)),
    check (max_running is not null or max_starts is not null)
);

-- Starts within the present window of a limit, which opens with its first start.
create table job_starts (
    limit_id  uuid not null references job_limits on delete cascade,
    subject   uuid not null,                    -- the tenant, or all zeros for the installation
    opened_at timestamptz not null,
    started   integer not null,
    primary key (limit_id, subject)
);

-- What is paused: the waiting jobs that match every column that is set.
create table job_pauses (
    id         uuid primary key,
    pool       text,
    kind       text,
    tenant     uuid,
    reason     text,
    paused_by  text,
    created_at timestamptz not null default now(),
    constraint job_pauses_key unique nulls not distinct (pool, kind, tenant),
    check (num_nonnulls(pool, kind, tenant) > 0)
);

-- The limits that a tenant's jobs of a kind are under. `whole` ones count all tenants together, under the
-- subject of all zeros; the others count the tenant.
create function limits_of(of_tenant uuid, of_kind text)
returns table (limit_id uuid, subject uuid, whole boolean, counted_kind text, max_running integer,
               max_starts integer, per interval)
language sql stable as $$
    select id, '00000000-0000-0000-0000-000000000000'::uuid, true, kind, max_running, max_starts, per
      from job_limits
     where scope = 'installation' and (kind is null or kind = of_kind)
    union all
    select id, of_tenant, false, kind, max_running, max_starts, per
      from (select distinct on (kind) * from job_limits
             where scope = 'tenant' and (tenant is null or tenant = of_tenant) and (kind is null or kind = of_kind)
             order by kind, tenant nulls last) own
$$;

-- How many more jobs one of those limits lets start just now.
create function room_under(limited uuid, of_subject uuid, of_whole boolean, of_kind text, most_running integer,
                           most_starts integer, in_period interval)
returns integer language plpgsql as $$
declare
    room integer := 2147483647;
begin
    if most_running is not null then
        select most_running - count(*) into room from running_jobs
         where worker is not null and (of_whole or tenant = of_subject) and (of_kind is null or kind = of_kind);
    end if;
    if most_starts is not null then
        select least(room, most_starts - coalesce(sum(s.started), 0)::integer) into room from job_starts s
         where s.limit_id = limited and s.subject = of_subject and s.opened_at + in_period > clock_timestamp();
    end if;
    return greatest(room, 0);
end
$$;

-- How many more jobs of a lane may start; null: no limit concerns it.
create function room_of(of_tenant uuid, of_kind text) returns integer language sql as $$
    select min(room_under(limit_id, subject, whole, counted_kind, max_running, max_starts, per))
      from limits_of(of_tenant, of_kind)
$$;
