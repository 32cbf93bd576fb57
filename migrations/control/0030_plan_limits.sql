-- The rest of what a plan allows, beside the number of scheduled jobs. Null: the plan sets no limit.
-- Runs with search_path = control, ext.

alter table plan_limits
    add column api_keys               integer check (api_keys >= 0),      -- keys neither revoked nor expired
    add column upload_bytes           bigint check (upload_bytes >= 0),   -- of one file
    add column storage_bytes          bigint check (storage_bytes >= 0),  -- of records, files, exports and reports
    add column schedule_interval_secs integer not null default 60 check (schedule_interval_secs >= 60);

update plan_limits l
   set api_keys = n.api_keys,
       upload_bytes = n.upload_bytes,
       storage_bytes = n.storage_bytes,
       schedule_interval_secs = n.interval_secs
  from (values ('free', 20, 256::bigint << 20, 1::bigint << 30, 900),
               ('starter', 50, 512::bigint << 20, 10::bigint << 30, 300),
               ('growth', 200, 1::bigint << 30, 100::bigint << 30, 60),
               ('enterprise', null, null, null, 60))
       as n (plan, api_keys, upload_bytes, storage_bytes, interval_secs)
 where n.plan = l.plan;
