-- How many bytes the workspace stores, kept by whatever adds or removes some; and how exports are written.
-- Runs with search_path = the tenant's schema, shard_api, ext.

-- The sum of all rows is what is stored. A transaction changes a row that no other one holds, or adds one, so
-- that none waits for another: there are as many rows as there were transactions at the same moment.
create table storage_use (
    id    integer generated always as identity primary key,
    bytes bigint not null
) with (fillfactor = 50);                         -- room for new versions of the rows in their page

-- What a record, or a version of one, counts for: the same when it is removed as when it was written.
alter table records add column bytes integer not null default 0;
alter table record_versions add column bytes integer not null default 0;
-- What a recordset's definition counts for: its texts, settings and fields.
alter table recordsets add column bytes bigint not null default 0;
-- What the lines of an import's report count for, by their code.
alter table import_error_counts add column bytes bigint not null default 0;

update records set bytes = octet_length(data::text) + 128;
update record_versions set bytes = octet_length(data::text) + 128;

update recordsets r
   set bytes = 1024 + octet_length(r.name) + coalesce(octet_length(r.description), 0) + octet_length(r.settings::text)
               + (select coalesce(sum(256 + octet_length(f.label) + octet_length(f.options::text)), 0)
                    from fields f where f.recordset_id = r.id);

-- Whether values that a spreadsheet would take for formulas are marked in the file.
alter table exports add column is_safe boolean not null default true;

insert into storage_use (bytes)
select coalesce((select sum(bytes) from recordsets), 0) + coalesce((select sum(bytes) from records), 0) + coalesce((select sum(bytes) from record_versions), 0)
       + coalesce((select sum(size) from files), 0) + coalesce((select sum(size) from export_segments), 0);
