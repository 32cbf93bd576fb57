-- Takes one from each bucket, or, if one of them is empty, from none.
-- KEYS: the buckets. ARGV: for each, the most in a window and the window's milliseconds.
-- A window begins with its first request and ends by the key's expiry, on Redis' own clock.
-- Answers 1 or 0 for taken or refused, then for each bucket what is used and the milliseconds left.
local answer, taken = {1}, true
for i, key in ipairs(KEYS) do
    local used = tonumber(redis.call('GET', key) or '0')
    local left = redis.call('PTTL', key)
    if left < 0 then
        used, left = 0, tonumber(ARGV[2 * i])
    end
    if used >= tonumber(ARGV[2 * i - 1]) then
        taken = false
    end
    answer[2 * i], answer[2 * i + 1] = used, left
end
if not taken then
    answer[1] = 0
    return answer
end
for i, key in ipairs(KEYS) do
    if answer[2 * i] == 0 then
        redis.call('SET', key, 1, 'PX', ARGV[2 * i])
    else
        redis.call('INCR', key)
    end
    answer[2 * i] = answer[2 * i] + 1
end
return answer
