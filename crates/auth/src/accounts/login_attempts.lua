-- Attempts to log in: whoever has too many waits, longer each time.
-- KEYS[1] the state; ARGV: attempts without a wait, longest wait and life in milliseconds, and 1 for one
-- attempt, before it is known how it ends; -1 to take one back; 0 to ask.
-- Returns the milliseconds to wait; 0 where an attempt may go on.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local free, longest, life, step = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local count, wait_until = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+):(%d+)$')
count, wait_until = tonumber(count or 0), tonumber(wait_until or 0)
-- A clock that went back locks nobody out for longer.
wait_until = math.min(wait_until, now + longest)
if step >= 0 and now < wait_until then return wait_until - now end
if step == 0 then return 0 end
count = math.max(0, count + step)
wait_until = 0
if step > 0 and count >= free then
  wait_until = now + math.min(longest, 1000 * 2 ^ math.min(count - free, 20))
end
redis.call('SET', KEYS[1], string.format('%.0f:%.0f', count, wait_until), 'PX', math.max(life, wait_until - now))
return 0
