-- Adds to a state of quota.lua what the store has lost of it. Repeated, it changes nothing, and it
-- writes nothing if nothing was lost. KEYS[1]: the state. ARGV: the life of a state with credits in
-- milliseconds, or 0 for one without; when the period began and when it ends, or 0 and 0 for the
-- credits; then, for each state that is known to have counted: when it was made, and what it used.
-- Returns 1, or 0 if the period does not run now, the state is of a later one, or a number is
-- wrong.
if string.find(KEYS[1], '{', 1, true) then return redis.error_reply('ERR not the key of a state') end
local DAY, numbers = 86400000, {}
for place, text in ipairs(ARGV) do
  numbers[place] = tonumber(string.match(text, '^%d+$') or -1)
  if numbers[place] < 0 or numbers[place] > 1e15 then return 0 end
end
local life, period, ends = math.min(numbers[1], 400 * DAY), numbers[2], numbers[3]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if period > 0 then
  if period > now or ends <= now or ends > period + 31 * DAY then return 0 end
elseif life == 0 then
  return 0
end
local old, form = redis.call('GET', KEYS[1]) or '', '^(%d+)' .. string.rep(':(%d+)', 5) .. '$'
local state = {string.match(old, form)}
local made = tonumber(state[3] or now)
local begun, used, base = tonumber(state[1] or 0), tonumber(state[2] or 0), tonumber(state[4] or 0)
local spent, before = tonumber(state[5] or 0), tonumber(state[6] or 0)
local own, others = 0, 0
for place = 4, #ARGV - 1, 2 do
  local count = numbers[place + 1]
  if numbers[place] == made then own = math.max(own, count) else others = others + count end
end
others = math.min(others, 1e15)
if period == 0 then
  spent, before = math.max(spent, own), math.max(before, others)
elseif period == begun then
  used, base = math.max(used, own), math.max(base, others)
elseif period > begun then
  begun, used, base = period, own, others
else
  return 0
end
local new = string.format('%.0f' .. string.rep(':%.0f', 5), begun, used, made, base, spent, before)
local left = redis.call('PTTL', KEYS[1])
-- Credits that were not asked for lately live on, so that what was spent is not forgotten.
if new ~= old or left < life / 2 then
  -- A day more than the period, for a clock that goes back.
  local new_life = math.max(left, life > 0 and life or ends - now + DAY)
  redis.call('SET', KEYS[1], new, 'PX', string.format('%.0f', new_life))
end
return 1
