-- Bulk work: uploaded files, imports with their bad rows, exports with their segments.
-- An import's or export's id is its job's id. How a job goes is the ledger's to say, not ours.
-- Runs with search_path = the tenant's schema, shard_api, ext.

create table files (
    id           uuid primary key,
    name         text not null,                   -- as the client named it, for people
    content_type text,
    size         bigint,                          -- these two: null until all bytes are stored
    sha256       text,
    storage_key  text not null,
    purpose      text not null check (purpose in ('import')),
    analysis     jsonb,                           -- what was found in it, and the options it was read with
    created_by   uuid,
    created_at   timestamptz not null default now(),
    used_at      timestamptz,                     -- an import was started from it
    deleted_at   timestamptz                      -- its bytes may go; the row goes after them
);

create index files_to_sweep on files (created_at) where used_at is null or deleted_at is not null;

create table imports (
    job_id            uuid primary key,
    recordset_id      uuid not null,
    file_id           uuid not null references files,
    read_as           jsonb not null,             -- how to read the file: kind, delimiter, encoding, columns …
    mapping           jsonb not null,             -- [{column, field}], by the column's number
    mode              text not null check (mode in ('partial', 'atomic')),
    stop_after_errors bigint check (stop_after_errors > 0),
    created_by        uuid,
    created_at        timestamptz not null default now()
);

create index imports_of_file on imports (file_id);

-- One line per reason that a row was refused. `original` is the row as a line of CSV.
create table import_errors (
    job_id      uuid not null,
    row_number  bigint not null,                  -- as a person counts: the first row of data is 1
    ordinal     smallint not null,                -- 0, 1 … among the reasons of a row
    column_name text,
    code        text not null,
    reason      text not null,
    original    text not null,
    constraint import_errors_pkey primary key (job_id, row_number, ordinal)
);

-- How often each code occurred; written with the batch, by the one holder of the job.
create table import_error_counts (
    job_id uuid not null,
    code   text not null,
    count  bigint not null,
    bytes  bigint not null default 0,             -- what the lines of the report count for
    constraint import_error_counts_pkey primary key (job_id, code)
);

create table exports (
    job_id       uuid primary key,
    recordset_id uuid not null,
    name         text not null,                   -- of the file that is downloaded
    format       text not null check (format in ('csv')),
    -- Whether values that a spreadsheet would take for formulas are marked in the file.
    is_safe      boolean not null default true,
    only_fields  text[],                          -- null: all that the recordset has when the job begins
    columns      jsonb,                           -- [{key, label}], fixed when the job begins
    snapshot     text,                            -- pg_current_snapshot() when the job began
    created_by   uuid,
    created_at   timestamptz not null default now()
);

-- The parts of an export's file, in order. A row is committed with the checkpoint after its segment;
-- an object without a row is a remnant.
create table export_segments (
    job_id      uuid not null references exports on delete cascade,
    number      integer not null,
    storage_key text not null,
    size        bigint not null,
    rows        bigint not null,
    constraint export_segments_pkey primary key (job_id, number)
);
