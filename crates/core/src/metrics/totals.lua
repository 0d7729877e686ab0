-- Adds up the counters of all edges, of which each isolate pushes batches.
-- KEYS[1]: the totals. KEYS[2]: the list of batches. ARGV[1]: how many batches must wait for the
-- totals to be written. Returns the totals, but nothing if one batch is enough.
-- Totals and batches are lines: a name with labels, a space, and a count.
local counts, names = {}, {}
local function add(text, left)
  -- With a line break at the end, a text without one is not searched again from each place.
  for line in (text .. '\n'):gmatch('([^\n]+)\n') do
    if left == 0 then return end
    left = left - 1
    -- A longer line is not a counter, and would be slow to match.
    local name, count = line:sub(1, 600):match('^(.+) (%d+)$')
    if name and not counts[name] and #names < 20000 then
      names[#names + 1] = name
      counts[name] = 0
    end
    if counts[name] then counts[name] = math.min(counts[name] + count, 1e15) end
  end
end
add(redis.call('GET', KEYS[1]) or '', 20000)
local batches = redis.call('LRANGE', KEYS[2], 0, 127)
for _, batch in ipairs(batches) do add(batch, 2000) end
for at, name in ipairs(names) do names[at] = ('%s %.0f\n'):format(name, counts[name]) end
local text = table.concat(names)
-- A store that is full or a replica writes nothing, and is read all the same.
if #batches >= tonumber(ARGV[1]) and redis.pcall('SET', KEYS[1], text, 'EX', 604800).ok then
  redis.call('LTRIM', KEYS[2], #batches, -1)
end
return ARGV[1] ~= '1' and text
