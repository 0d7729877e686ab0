-- Counts requests of a rate limit, atomically.
-- KEYS[1]: the state. KEYS[2]: if the limit takes overrides, the key of one caller's quota. ARGV: algorithm, quota,
-- window in milliseconds, what the request costs, burst, how much the isolate wants to take in advance, for requests
-- to come, 1 if callers with other quotas share the state, and 1 if nothing is likely to be owed.
-- A cost of 0 takes in advance only.
-- Returns: 1 if the request is admitted, otherwise 0; what is left now; milliseconds until this request would be
-- admitted; milliseconds until more is left; how much was taken in advance; milliseconds within which that must be
-- used, or 0 if the algorithm does not say; and the override that applied, or 0.
-- The clock is the store's, so that every edge in the world counts by the same one.
local algorithm, quota, window = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local cost, burst, wanted = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6] or 0)
-- An override is only read. Its key has braces and that of a state has none, so that who may run this script can't
-- write one.
if string.find(KEYS[1], '{', 1, true) then return redis.error_reply('ERR not the key of a state') end
local value, override = nil, 0
if KEYS[2] then
  local values = redis.call('MGET', KEYS[1], KEYS[2])
  value = values[1] or ''
  override = tonumber(string.match(values[2] or '', '^[1-9]%d*$') or 0)
  if override > 1000000 then override = 0 end
  if override > 0 then
    -- Burst and reserve scale with the quota. A lease does, too, so that it is as small a part of a small quota.
    burst = math.max(1, math.floor(burst * override / quota))
    if override < quota then wanted = math.floor(wanted * override / quota) end
    quota = override
  end
end

-- Each algorithm defines: how many milliseconds until `n` more would be admitted; how much is left; and the state
-- after `n` are counted, with its life. Products of whole numbers, so that nothing is lost by rounding.
local read, wait_for, left, count
-- Whether the state is older than a change that makes it too high: the clock went back, or the limit was wider. Such
-- state is written again even if the request is refused. Otherwise it would lock callers out for too long.
local too_high = false
local ends = 0
-- Whether there is no state, as far as is known. That costs a command less to try than to ask.
local is_new = false

if algorithm == 'gcra' or algorithm == 'token_bucket' then
  -- What is owed, in requests times milliseconds of a window. It shrinks by `quota` each millisecond, and the key
  -- expires when nothing is owed. So the key's remaining life is the state, and costs one command instead of two for
  -- the time and the value. The value is what the life was rounded up by, and the quota by which it was computed. It
  -- need not be read if nothing is rounded and there is one quota.
  local full = burst * window
  local by, owed = quota, 0
  left, is_new = burst, ARGV[8] == '1' and not value
  read = function()
    local rounded = 0
    if value or window % quota ~= 0 or ARGV[7] == '1' then
      value = value or redis.call('GET', KEYS[1]) or ''
      rounded, by = string.match(value, '^(%d+):(%d+)$')
      rounded, by = tonumber(rounded or 0), tonumber(by or quota)
    end
    owed = value == '' and 0 or math.max(0, redis.call('PTTL', KEYS[1]) * by - rounded)
    -- The quota by which the state was written may allow more. A smaller one does not forgive
    -- what is owed: the larger one may apply again.
    local most = by == quota and full or math.max(full, math.ceil((burst + 1) * window * by / quota))
    too_high = owed > most
    owed = math.min(owed, most)
    left = math.floor((full - owed) / window)
  end
  wait_for = function(n) return math.max(0, math.ceil((owed + n * window - full) / by)) end
  count = function(n)
    owed = owed + n * window
    left = left - n
    if n > 0 then by = quota end
    local life = math.ceil(owed / by)
    return string.format('%.0f:%.0f', life * by - owed, by), life
  end
else
  local clock = redis.call('TIME')
  local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
  value = value or redis.call('GET', KEYS[1]) or ''
  if algorithm == 'sliding_window' then
    -- The count of this window, and the share of the previous one that is within a window's length.
    local index = math.floor(now / window)
    local of, current, previous = string.match(value, '^(%d+):(%d+):(%d+)$')
    of, current, previous = tonumber(of or index), tonumber(current or 0), tonumber(previous or 0)
    too_high = of > index
    if of < index then
      previous = of == index - 1 and current or 0
      current = 0
    end
    local elapsed = now - index * window
    ends = window - elapsed
    wait_for = function(n)
      if current + n <= quota then
        local room = (quota - current - n) * window
        if previous * (window - elapsed) <= room then return 0 end
        return math.ceil(window - room / previous) - elapsed
      end
      -- Not in this window: in the next one, when enough of this one has passed.
      if n > quota then return 2 * window - elapsed end
      return window - elapsed + math.max(0, math.ceil(window - (quota - n) * window / current))
    end
    left = math.floor(quota - current - previous * (window - elapsed) / window)
    count = function(n)
      current = current + n
      left = left - n
      return string.format('%.0f:%.0f:%.0f', index, current, previous), 2 * window - elapsed
    end
  else
    -- A window begins with its first request.
    local begun, used = string.match(value, '^(%d+):(%d+)$')
    begun, used = tonumber(begun or now), tonumber(used or 0)
    if now >= begun + window or now < begun then begun, used = now, 0 end
    ends = begun + window - now
    wait_for = function(n) return used + n <= quota and 0 or ends end
    left = quota - used
    count = function(n)
      used = used + n
      left = left - n
      return string.format('%.0f:%.0f', begun, used), ends
    end
  end
end

local wait, taken, counted
local function judge()
  wait = wait_for(cost)
  -- An isolate takes at most a quarter of what is left, so that near the limit each request is
  -- counted by itself.
  taken = wait == 0 and math.max(0, math.min(wanted, math.floor((left - cost) / 4))) or 0
  counted = wait == 0 and cost + taken or 0
end
local function write(...)
  local state, life = count(counted)
  return redis.call('SET', KEYS[1], state, 'PX', string.format('%.0f', math.max(1, life)), ...)
end
if is_new then judge() end
-- With NX, a state is written only if there is none, so that a wrong guess loses nothing.
if not (is_new and counted > 0 and write('NX')) then
  if read then read() end
  judge()
  if counted > 0 or too_high then write() end
end
-- After a limit is lowered, more may be used than it has.
left = math.max(0, left)
local more = left < burst and wait_for(left + 1) or 0
return {wait == 0 and 1 or 0, left, wait, more, taken, ends, override}
