-- Counts attempts to log in. Each attempt counts for a while, one after the other. Above the free
-- ones, each attempt makes the next one wait, longer each time.
-- KEYS[1]: the counter. ARGV: free attempts; longest wait in ms; ms until one attempt no longer
-- counts; and the step: 1 counts an attempt before its outcome is known, -1 removes one, 0 queries.
-- Returns the ms to wait, or 0 if an attempt is accepted. counter.rs has the same arithmetic.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local free, longest, drain, step = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local count, since, wait_until = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+):(%d+):(%d+)$')
count, since, wait_until = tonumber(count or 0), tonumber(since or now), tonumber(wait_until or 0)
-- If the clock was set back, no attempt counts for longer, and no wait is longer.
since, wait_until = math.min(since, now), math.min(wait_until, now + longest)
local drained = math.min(count, math.floor((now - since) / drain))
count, since = count - drained, since + drained * drain
if step >= 0 and now < wait_until then return wait_until - now end
if step == 0 then return 0 end
if count == 0 then since = now end
count = math.max(0, count + step)
wait_until = 0
if step > 0 and count >= free then
  wait_until = now + math.min(longest, 1000 * 2 ^ math.min(count - free, 20))
end
local life = math.max(since + count * drain, wait_until) - now
if life <= 0 then
  redis.call('DEL', KEYS[1])
  return 0
end
redis.call('SET', KEYS[1], string.format('%.0f:%.0f:%.0f', count, since, wait_until), 'PX', string.format('%.0f', life))
return 0
