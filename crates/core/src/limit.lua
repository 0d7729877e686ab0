-- GCRA: one request per interval on average, a burst of the whole quota at the most.
-- KEYS[1] the state; ARGV[1] quota, ARGV[2] window in milliseconds.
-- Returns {admitted 0|1, how many more would be admitted now, milliseconds until the next one}.
-- The clock is the store's, so that every edge in the world counts by the same one.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local window = ARGV[2] * 1000
local interval = window / ARGV[1]
local arrival = tonumber(redis.call('GET', KEYS[1]) or now)
if arrival < now then arrival = now end
-- No state lies further ahead than a window, unless the limit was wider before or the clock went back.
if arrival > now + window then arrival = now + window end
local next_arrival = arrival + interval
local early = next_arrival - window - now
if early > 0 then
  return {0, 0, math.ceil(early / 1000)}
end
redis.call('SET', KEYS[1], string.format('%.0f', next_arrival), 'PX', math.ceil((next_arrival - now) / 1000))
local left = math.floor((window - (next_arrival - now)) / interval)
if left > 0 then return {1, left, 0} end
return {1, 0, math.ceil((next_arrival + interval - window - now) / 1000)}
