-- How many bytes the workspace stores, kept by whatever adds or removes some.
-- Runs with search_path = the tenant's schema, shard_api, ext.

-- The sum of all rows is what is stored. A transaction changes a row that no other one holds, or adds one, so
-- that none waits for another: there are as many rows as there were transactions at the same moment.
create table storage_use (
    id    integer generated always as identity primary key,
    bytes bigint not null
) with (fillfactor = 50);                         -- room for new versions of the rows in their page

insert into storage_use (bytes) values (0);
