-- Counts one request of a rate limit, atomically.
-- KEYS[1] the state; ARGV: algorithm, quota, window in milliseconds, what the request costs, burst.
-- Returns {admitted 0|1, what is left now, milliseconds until this request would be admitted,
-- milliseconds until more is left}.
-- The clock is the store's, so that every edge in the world counts by the same one.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local algorithm, quota, window = ARGV[1], tonumber(ARGV[2]), ARGV[3] * 1000
local cost, burst = tonumber(ARGV[4]), tonumber(ARGV[5])
-- State of another algorithm, or of none, does not match, and counts as none.
local held = redis.call('GET', KEYS[1]) or ''

-- Each gives: how long until `n` more would be admitted, in microseconds; how much is left; and the state
-- once `n` are counted, with its life. Products of whole numbers, so that nothing is lost by rounding.
local wait_for, left, count
-- State of a clock that went back since. It is written anew in any case, or nothing would be forgiven until the
-- clock is where it was.
local ahead = false

if algorithm == 'gcra' or algorithm == 'token_bucket' then
  -- What is owed, in requests times microseconds of a window; it shrinks by `quota` each microsecond.
  local at, owed = string.match(held, '^b:(%d+):(%d+)$')
  at, owed = tonumber(at or now), tonumber(owed or 0)
  ahead = at > now
  -- A limit that was wider before locks nobody out for longer than it takes to refill.
  owed = math.min(owed, burst * window)
  owed = math.max(0, owed - math.max(0, now - at) * quota)
  wait_for = function(n) return math.max(0, math.ceil((owed + n * window - burst * window) / quota)) end
  left = math.floor((burst * window - owed) / window)
  count = function(n)
    owed = owed + n * window
    left = left - n
    return string.format('b:%.0f:%.0f', now, owed), owed / quota
  end
elseif algorithm == 'sliding_window' then
  -- This window's count, and of the last one's as much as still lies within a window's length.
  local index = math.floor(now / window)
  local of, current, previous = string.match(held, '^s:(%d+):(%d+):(%d+)$')
  of, current, previous = tonumber(of or index), tonumber(current or 0), tonumber(previous or 0)
  ahead = of > index
  if of < index then
    previous = of == index - 1 and current or 0
    current = 0
  end
  local elapsed = now - index * window
  wait_for = function(n)
    if current + n <= quota then
      local room = (quota - current - n) * window
      if previous * (window - elapsed) <= room then return 0 end
      return math.ceil(window - room / previous) - elapsed
    end
    -- Not in this window: in the next one, when enough of this one has gone by.
    if n > quota then return 2 * window - elapsed end
    return window - elapsed + math.max(0, math.ceil(window - (quota - n) * window / current))
  end
  left = math.floor(quota - current - previous * (window - elapsed) / window)
  count = function(n)
    current = current + n
    left = left - n
    return string.format('s:%.0f:%.0f:%.0f', index, current, previous), 2 * window - elapsed
  end
else
  -- A window begins with its first request.
  local begun, used = string.match(held, '^f:(%d+):(%d+)$')
  begun, used = tonumber(begun or now), tonumber(used or 0)
  if now >= begun + window or now < begun then begun, used = now, 0 end
  wait_for = function(n) return used + n <= quota and 0 or begun + window - now end
  left = quota - used
  count = function(n)
    used = used + n
    left = left - n
    return string.format('f:%.0f:%.0f', begun, used), begun + window - now
  end
end

local function ms(microseconds) return math.ceil(microseconds / 1000) end
local wait = wait_for(cost)
if wait == 0 or ahead then
  local state, life = count(wait == 0 and cost or 0)
  redis.call('SET', KEYS[1], state, 'PX', math.max(1, ms(life)))
end
-- A limit that was lowered leaves more used than there is.
left = math.max(0, left)
local more = left < burst and ms(wait_for(left + 1)) or 0
return {wait == 0 and 1 or 0, left, ms(wait), more}
