-- Counts requests of a limit by the calendar, or of credits, atomically.
-- KEYS[1]: the state. KEYS[2]: of credits, the key of what was granted; of a limit that takes
-- overrides, that of one caller's quota. ARGV: 'period' or 'credits'; 'day', 'month' or 'none'; the
-- quota of a period; what the request costs; how much the isolate wants to take in advance, for
-- requests to come. A cost of 0 takes in advance only.
-- Returns: 1 if the request is admitted, otherwise 0; what is left now; milliseconds until this
-- request would be admitted, or 0 if no time brings that; milliseconds until more is left, or 0;
-- how much was taken in advance; milliseconds within which that must be used, or 0; the quota that
-- applied if it is another one, of credits with all that was granted, or 0. And for reports of the
-- usage: when the period began, when the state was made, and what of the quota and of the credits
-- it has used.
-- The state is: when the period began; what was used of the quota; when the state was made; what
-- earlier states had used that the store lost (restore.lua); what was spent of the credits; and
-- what earlier states had spent. Times are in milliseconds.
if string.find(KEYS[1], '{', 1, true) then return redis.error_reply('ERR not the key of a state') end
local is_credits, period = ARGV[1] == 'credits', ARGV[2]
local quota, cost, wanted = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local values = KEYS[2] and redis.call('MGET', KEYS[1], KEYS[2]) or {redis.call('GET', KEYS[1])}
local own, granted, applied = tonumber(string.match(values[2] or '', '^%d+$') or 0), 0, 0
if is_credits then
  granted = math.min(own, 1e12)
  applied = quota + granted
elseif own > 0 and own <= 1000000 then
  if own < quota then wanted = math.floor(wanted * own / quota) end
  quota, applied = own, own
end

-- Days are counted from 1970 on. Here a year begins in March, so that a leap day is its last one.
local DAY, starts, ends = 86400000, 0, 0
local function first(day)
  if period == 'day' then return day end
  local of_era = (day + 719468) % 146097
  local leaps = math.floor(of_era / 36524) - math.floor(of_era / 1460) - math.floor(of_era / 146096)
  local year = math.floor((of_era + leaps) / 365)
  local of_year = of_era - 365 * year - math.floor(year / 4) + math.floor(year / 100)
  return day - of_year + math.floor((153 * math.floor((5 * of_year + 2) / 153) + 2) / 5)
end
local function enter(day)
  starts = first(day) * DAY
  -- 31 days after the first of a month it is the next month.
  ends = period == 'day' and starts + DAY or first(starts / DAY + 31) * DAY
end
if period ~= 'none' then enter(math.floor(now / DAY)) end

local form = '^(%d+)' .. string.rep(':(%d+)', 5) .. '$'
local begun, used, origin, base, spent, before = string.match(values[1] or '', form)
begun, used, origin = tonumber(begun or starts), tonumber(used or 0), tonumber(origin or now)
base, spent, before = tonumber(base or 0), tonumber(spent or 0), tonumber(before or 0)
-- If the clock went back over the end of a period, the next one goes on.
if ends > 0 and begun == ends then enter(ends / DAY) end
if begun ~= starts then begun, used, base = starts, 0, 0 end

local rest, credits = math.max(0, quota - used - base), math.max(0, granted - spent - before)
local left, taken, wait = rest + credits, 0, 0
local admitted = cost <= left
if admitted then
  -- At most a quarter of what is left, so that near the end each request is counted by itself.
  taken = math.max(0, math.min(wanted, math.floor((left - cost) / 4)))
  local counted = cost + taken
  if counted > 0 then
    local of_quota = math.min(counted, rest)
    used, spent, left = used + of_quota, spent + counted - of_quota, left - counted
    -- A day more than the period, for a clock that goes back.
    local life = is_credits and 400 * DAY or ends - now + DAY
    local state = '%.0f' .. string.rep(':%.0f', 5)
    state = string.format(state, begun, used, origin, base, spent, before)
    redis.call('SET', KEYS[1], state, 'PX', string.format('%.0f', life))
  end
elseif cost <= quota + credits and ends > 0 then
  wait = ends - now
end
local until_end = ends > 0 and ends - now or 0
local more = used + base > 0 and until_end or 0
return {admitted and 1 or 0, left, wait, more, taken, until_end, applied, begun, origin, used, spent}
