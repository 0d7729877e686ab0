-- Adds to a state of quota.lua what the store has lost of it. Repeated, it changes nothing.
-- KEYS[1]: the state. ARGV: the state's life in milliseconds; when the period began, or 0 for the
-- credits; then, for each state that is known to have counted: when it was made, and what it used.
-- Returns 1, or 0 if the state is of a later period.
if string.find(KEYS[1], '{', 1, true) then return redis.error_reply('ERR not the key of a state') end
local form = '^(%d+)' .. string.rep(':(%d+)', 5) .. '$'
local state = {string.match(redis.call('GET', KEYS[1]) or '', form)}
local clock = redis.call('TIME')
local made = tonumber(state[3] or clock[1] * 1000 + math.floor(clock[2] / 1000))
local begun, used, base = tonumber(state[1] or 0), tonumber(state[2] or 0), tonumber(state[4] or 0)
local spent, before = tonumber(state[5] or 0), tonumber(state[6] or 0)
local own, others = 0, 0
for place = 3, #ARGV, 2 do
  local count = tonumber(ARGV[place + 1])
  if tonumber(ARGV[place]) == made then own = math.max(own, count) else others = others + count end
end
local period = tonumber(ARGV[2])
if period == 0 then
  spent, before = math.max(spent, own), math.max(before, others)
elseif period == begun then
  used, base = math.max(used, own), math.max(base, others)
elseif period > begun then
  begun, used, base = period, own, others
else
  return 0
end
local text = '%.0f' .. string.rep(':%.0f', 5)
text = string.format(text, begun, used, made, base, spent, before)
redis.call('SET', KEYS[1], text, 'PX', ARGV[1])
return 1
