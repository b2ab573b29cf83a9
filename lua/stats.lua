--[[
stats.lua: list the sessions of one index shard with their live images.

KEYS[1]  sessions  zset   is:{b}:sessions  session, scored by its end (Unix us)

ARGV[1]  queues    text   key prefix of the queues, is:{b}:queue:
ARGV[2]  ttl       ms     of an image
ARGV[3]  skip      count  live index entries to pass over
ARGV[4]  limit     count  live index entries to read at most

Returns  {read, session, images, session, images, ...}
         read: entries read; fewer than the limit when the shard ends here.
         A session without live images is left out.

Derived  is:{b}:queue:<session>, from ARGV[1] and the index; the hash tag is that of KEYS.
Cost     O(limit log n).
]]

local sessions = KEYS[1]
local queues, ttl, skip, limit = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local live = string.format('(%.0f', now - ttl * 1000)
local current = string.format('(%.0f', now)
local names = redis.call('ZRANGE', sessions, current, '+inf', 'BYSCORE', 'LIMIT', skip, limit)
local found = { #names }
for _, session in ipairs(names) do
  local images = redis.call('ZCOUNT', queues .. session, live, '+inf')
  if images > 0 then
    found[#found + 1] = session
    found[#found + 1] = images
  end
end
return found
