-- Which jobs people mean when they list or cancel many: those that match all that is set. One function, so
-- that a list shows what a cancel would stop.

create function job_matches(of_kind text, of_state text, due_at timestamptz, in_batch uuid, asked_at timestamptz,
                            its_error jsonb, its_progress jsonb, kinds text[], wanted_state text, is_due boolean,
                            wanted_batch uuid, since timestamptz, until timestamptz, search text)
returns boolean language sql stable as $$
    select (cardinality(kinds) = 0 or of_kind = any(kinds))
       and (wanted_state is null or of_state = wanted_state)
       and (is_due is null or (due_at <= now()) = is_due)
       and (wanted_batch is null or in_batch = wanted_batch)
       and (since is null or asked_at >= since)
       and (until is null or asked_at < until)
       and (search is null
            or strpos(lower(concat_ws(' ', of_kind, its_error ->> 'message', its_progress ->> 'message',
                                      its_progress ->> 'current_step')), lower(search)) > 0)
$$;
