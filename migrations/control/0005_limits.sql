-- Limits, as data: operators change them without a deploy.
-- Runs with search_path = control, ext.

-- How often who may ask; changed here, it holds within seconds. `plan` is '' where it makes no difference. A plan's limits
-- belong to the workspace, a key's own rate is within them; strangers and members at one address don't share a bucket;
-- what supervisors ask for is counted apart.
create table rate_limits (
    principal text not null check (principal in
        ('visitor', 'user', 'api_key', 'personal_token', 'watching', 'probe', 'preflight')),
    plan      text not null default '',
    bucket    text not null check (bucket in ('principal', 'plan', 'company', 'ip', 'day')),
    requests  integer not null check (requests > 0),
    seconds   integer not null check (seconds > 0),
    primary key (principal, plan, bucket)
);

insert into rate_limits (principal, plan, bucket, requests, seconds) values
    ('visitor',        '',           'ip',         10000, 3600),
    ('user',           '',           'principal',    600,   60),
    -- A person has 600 a minute; an office of them has one address.
    ('user',           '',           'ip',        100000, 3600),
    ('personal_token', '',           'principal',   1000, 3600),
    ('personal_token', '',           'company',    10000, 3600),
    ('personal_token', '',           'ip',         10000, 3600),
    ('api_key',        'free',       'plan',          30,   60),
    ('api_key',        'free',       'day',          500, 86400),
    ('api_key',        'starter',    'plan',          60,   60),
    ('api_key',        'starter',    'day',         5000, 86400),
    ('api_key',        'growth',     'plan',         120,   60),
    ('api_key',        'growth',     'day',        20000, 86400),
    ('api_key',        'enterprise', 'plan',         300,   60),
    ('watching',       '',           'principal',    120,   60),
    ('probe',          '',           'ip',           600,   60),
    ('preflight',      '',           'ip',        100000, 3600); -- as many as the requests of the people at an address

-- What a plan allows beside requests. Null: the plan sets no limit.
create table plan_limits (
    plan                   text primary key check (plan in ('free', 'starter', 'growth', 'enterprise')),
    schedules              integer check (schedules >= 0),       -- scheduled jobs of a workspace
    schedule_interval_secs integer not null default 60 check (schedule_interval_secs >= 60),
    api_keys               integer check (api_keys >= 0),        -- keys neither revoked nor expired
    upload_bytes           bigint check (upload_bytes >= 0),     -- of one file
    storage_bytes          bigint check (storage_bytes >= 0)     -- of records, files, exports and reports
);

insert into plan_limits (plan, schedules, schedule_interval_secs, api_keys, upload_bytes, storage_bytes) values
    ('free',        20, 900,   20, 256::bigint << 20,   1::bigint << 30),
    ('starter',    100, 300,   50, 512::bigint << 20,  10::bigint << 30),
    ('growth',     500,  60,  200,   1::bigint << 30, 100::bigint << 30),
    ('enterprise', null, 60, null,              null,              null);

-- How much mail may be enqueued; changed here, it holds at once. A subject without a row has no limit.
create table mail_limits (
    subject text primary key check (subject in
        ('recipient', 'recipient_of_member', 'visitor', 'member', 'workspace')),
    mails   integer not null check (mails > 0),
    seconds integer not null check (seconds > 0)
);

insert into mail_limits (subject, mails, seconds) values
    ('recipient',           5,  3600),            -- to one address, asked for by anybody who names it
    ('recipient_of_member', 10, 3600),            -- to one address, by all members of all workspaces
    ('visitor',             60, 3600),            -- asked for by visitors from one network
    ('member',              100, 3600),           -- caused by one person or key
    ('workspace',           500, 86400);          -- sent in the name of one workspace

-- Mail enqueued in a window that began with its first mail, by subject (hashed).
create unlogged table mail_counts (
    subject bytea primary key,
    mails   integer not null,
    ends_at timestamptz not null
);
