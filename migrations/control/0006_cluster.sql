-- The PostgreSQL cluster whose transaction numbers the data holds. A dump that was restored into another cluster
-- brings numbers along that mean nothing there; the processes notice by this row and do not start.
-- Runs with search_path = control, ext.

create table cluster (
    only_row          boolean primary key default true check (only_row),
    system_identifier bigint not null      -- as of pg_control_system()
);
