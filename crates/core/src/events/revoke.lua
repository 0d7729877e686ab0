-- marks.rs says what this does.
local held = redis.call('GET', KEYS[1])
local value, life = ARGV[2], tonumber(ARGV[3])
if held then
  if ARGV[1] == 'first' then return held end
  local left = redis.call('PTTL', KEYS[1])
  local time = string.match(held, '^%+?(%d+)$')
  if not time or tonumber(time) >= tonumber(value) then value = held end
  if left == -1 then
    if value ~= held then redis.call('SET', KEYS[1], value) end
    return value
  end
  if value == held and left >= life then return held end
  life = math.max(left, life)
end
redis.call('SET', KEYS[1], value, 'PX', string.format('%.0f', life))
return value
