-- A member's picture is the account's unless an admin has set one here; what stood here was a copy of the account's.
-- Runs with search_path = the tenant's schema, shard_api, ext.

update members set avatar_url = null;
