-- Records: typed rows of one tenant. Runs with search_path = the tenant's schema, shard_api, ext.

create table recordsets (
    id          uuid primary key,
    slug        text not null,
    name        text not null,
    description text,
    settings    jsonb not null default '{}',
    is_active   boolean not null default true,
    bytes       bigint not null default 0,        -- what its definition counts for: texts, settings and fields
    schema_version integer not null default 1,    -- of its fields; writers hold the row while they rely on it
    created_by  uuid,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    deleted_at  timestamptz,                      -- in the trash since
    constraint recordsets_slug_key unique (slug)
);

create table fields (
    id           uuid primary key,
    recordset_id uuid not null references recordsets on delete cascade,
    key          text not null,
    label        text not null,
    field_type   text not null,
    required     boolean not null default false,
    is_unique    boolean not null default false,
    options      jsonb not null default '[]',     -- the choices of a choice field
    position     integer not null,
    promoted_to  text check (promoted_to in       -- the typed column of records that mirrors it
                     ('promoted_text_1', 'promoted_text_2', 'promoted_number_1', 'promoted_number_2',
                      'promoted_date_1', 'promoted_date_2', 'promoted_gis_1')),
    created_at   timestamptz not null default now(),
    constraint fields_key_key unique (recordset_id, key),
    constraint fields_promoted_key unique (recordset_id, promoted_to)
);

-- No foreign key to recordsets: its trigger would run for each of a million imported rows. A purge
-- deletes records before their recordset.
create table records (
    id                uuid primary key,
    recordset_id      uuid not null,
    data              jsonb not null,
    bytes             integer not null default 0, -- what it counts for: the same when it is removed as when it was written
    version           integer not null default 1,
    staged_by         uuid,                       -- the atomic import that will publish it, see staged_imports
    promoted_text_1   text,
    promoted_text_2   text,
    promoted_number_1 numeric,
    promoted_number_2 numeric,
    promoted_date_1   timestamptz,
    promoted_date_2   timestamptz,
    promoted_gis_1    geometry,
    written_by        xid8 not null default pg_current_xact_id(),  -- an export asks whether its snapshot saw it
    created_by        uuid,
    updated_by        uuid,
    created_at        timestamptz not null default now(),
    updated_at        timestamptz not null default now(),
    deleted_at        timestamptz
);

create index records_in_order on records (recordset_id, id);
create index records_on_map on records using gist (promoted_gis_1) where promoted_gis_1 is not null;

-- What a record was before each change.
create table record_versions (
    record_id   uuid not null,
    version     integer not null,
    recordset_id uuid not null,
    data        jsonb not null,
    bytes       integer not null default 0,       -- as of records
    staged_by   uuid,
    written_by  xid8 not null,                    -- the transaction that wrote this version
    replaced_by xid8 not null default pg_current_xact_id(),
    was_deleted boolean not null,
    written_at  timestamptz not null,
    author      uuid,
    primary key (record_id, version)
);

create index record_versions_in_order on record_versions (recordset_id, record_id);

-- Values of unique fields. The primary key is the rule.
create table unique_values (
    recordset_id uuid not null,
    field_key    text not null,
    value        text collate "C" not null,       -- the stored form as text; SHA-256 of it above 200 bytes
    record_id    uuid not null,
    constraint unique_values_pkey primary key (recordset_id, field_key, value)
);

create index unique_values_of_record on unique_values (record_id);

-- Atomic imports: their records count from the transaction that sets published_by.
create table staged_imports (
    job_id       uuid primary key,
    recordset_id uuid not null,
    published_by xid8,
    discarding   boolean not null default false   -- is not to be published any more: its rows are being removed
);

-- Record counts as deltas: a batch appends one, a reader sums, maintenance folds.
create table record_count_deltas (
    recordset_id uuid not null,
    delta        bigint not null
);

create index record_count_deltas_of_recordset on record_count_deltas (recordset_id);

create view live_records as
select r.id, r.recordset_id, r.data, r.version, r.promoted_text_1, r.promoted_text_2, r.promoted_number_1,
       r.promoted_number_2, r.promoted_date_1, r.promoted_date_2, r.promoted_gis_1,
       r.created_by, r.updated_by, r.created_at, r.updated_at
  from records r
 where r.deleted_at is null
   and (r.staged_by is null
        or exists (select from staged_imports s where s.job_id = r.staged_by and s.published_by is not null));
