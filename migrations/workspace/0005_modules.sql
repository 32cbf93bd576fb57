-- Modules: the parts of the product that a workspace switches on and sets up for itself.
-- Runs with search_path = the tenant's schema, shard_api, ext.

create table modules (
    id         uuid primary key,
    module     text not null check (module ~ '^[a-z][a-z0-9_]{0,62}$'),
    is_enabled boolean not null default true,
    settings   jsonb not null default '{}' check (jsonb_typeof(settings) = 'object'),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint modules_module_key unique (module)
);
