--[[
count_sessions.lua: count the open sessions of one index shard, or of several that are on one node.

KEYS[1]  sessions  zset  is:{b}:sessions  session, scored by its end (Unix us); further keys are those of other shards

ARGV[1]  ttl       ms    of an image

Returns  the sessions whose end has not come; those that the clock entered while it was ahead do not count

Cost     O(log n) for each shard.
]]

local sessions = KEYS[1]
local ttl = ARGV[1]

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local last = now + 1000000 + ttl * 1250
local function count(shard)
  return redis.call('ZCOUNT', shard, string.format('(%.0f', now), string.format('%.0f', last))
end

local open = count(sessions)
for i = 2, #KEYS do open = open + count(KEYS[i]) end
return open
