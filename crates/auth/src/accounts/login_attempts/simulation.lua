-- Makes many login attempts in one call, by a simulated clock. The function `script` precedes this
-- text: it runs the script of the service on a counter at a given time.
-- KEYS: for each attempt the key of the known address, and those of its counters.
-- ARGV: the limits of the counters and the script's steps in JSON; and for each attempt the time
-- in ms, and 1 if its password is correct. Without a key of a known address, what stands in place
-- of the latter is a single step with the first counter.
-- Returns for each attempt whether its password was verified, 1 or 0, or the result of its step.
local given = cjson.decode(ARGV[1])

-- Redis itself expires keys by its own clock.
local function run(counter, step, now)
  local expires_at = tonumber(redis.call('HGET', 'expires', counter.key))
  if expires_at and expires_at <= now then redis.call('DEL', counter.key) end
  local limits = counter.limits
  local wait = script({counter.key}, {limits[1], limits[2], limits[3], step}, now)
  if step ~= given.query then
    local life = math.max(0, redis.call('PTTL', counter.key))
    redis.call('HSET', 'expires', counter.key, string.format('%.0f', now + life))
  end
  return wait
end

local function verify(known, counters, now, is_correct)
  local is_known = redis.call('SISMEMBER', 'known', known) == 1
  local applied = {}
  for _, counter in ipairs(counters) do
    if not (is_known and counter.exempts_known_address) then table.insert(applied, counter) end
  end
  for _, step in ipairs({given.query, given.add}) do
    local wait = 0
    for _, counter in ipairs(applied) do wait = math.max(wait, run(counter, step, now)) end
    if wait > 0 then return 0 end
  end
  if is_correct then
    redis.call('SADD', 'known', known)
    redis.call('DEL', applied[1].key)
    for place = 2, #applied do run(applied[place], given.remove, now) end
  end
  return 1
end

local results, key = {}, 1
for argument = 2, #ARGV, 2 do
  local known, now, what = KEYS[key], tonumber(ARGV[argument]), ARGV[argument + 1]
  for _, counter in ipairs(given.counters) do
    key = key + 1
    counter.key = KEYS[key]
  end
  key = key + 1
  if known == '' then
    table.insert(results, run(given.counters[1], what, now))
  else
    table.insert(results, verify(known, given.counters, now, what == '1'))
  end
end
return results
