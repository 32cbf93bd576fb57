-- Whose limits are whose: a plan's belong to the workspace, a key's own rate is within them; strangers and members
-- at one address don't share a bucket; what supervisors ask for is counted apart.
-- And what else a plan allows.
-- Runs with search_path = control, ext.

alter table rate_limits
    drop constraint rate_limits_principal_check,
    drop constraint rate_limits_bucket_check;

update rate_limits set bucket = 'plan' where principal = 'api_key' and bucket = 'principal';
-- A person has 600 a minute; an office of them has one address.
update rate_limits set requests = 100000 where principal = 'user' and bucket = 'ip' and requests = 10000;

insert into rate_limits (principal, plan, bucket, requests, seconds) values
    ('probe',     '', 'ip', 600,    60),
    ('preflight', '', 'ip', 100000, 3600);        -- as many as the requests of the people at an address

alter table rate_limits
    add constraint rate_limits_principal_check
        check (principal in ('visitor', 'user', 'api_key', 'personal_token', 'watching', 'probe', 'preflight')),
    add constraint rate_limits_bucket_check
        check (bucket in ('principal', 'plan', 'company', 'ip', 'day'));

-- What a plan allows beside requests, as data: operators change it without a deploy. Null: as many as one likes.
create table plan_limits (
    plan      text primary key check (plan in ('free', 'starter', 'growth', 'enterprise')),
    schedules integer check (schedules >= 0)      -- scheduled jobs of a workspace
);

insert into plan_limits (plan, schedules) values
    ('free', 20), ('starter', 100), ('growth', 500), ('enterprise', null);
