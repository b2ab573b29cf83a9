--[[
stats.lua: describe the sessions of one slice of an index shard.

The format of members is that of internal/redisqueue/keys.go.

KEYS[1]  sessions  zset    is:{b}:sessions  session, scored by its end (Unix us)

ARGV[1]  queues    text    key prefix of the queues, is:{b}:queue:
ARGV[2]  metas     text    key prefix of the meta hashes, is:{b}:meta:
ARGV[3]  ttl       ms      of an image
ARGV[4]  after     number  the slice begins after this end; 0: with the first session that is not over
ARGV[5]  limit     count   index entries to read at most

Returns  {next, session, images, bytes, age, sent, taken, dropped, session, ...}  next: where the next slice begins, ""
         after the last one. Seven for each session that has live images: its name; its live images and their bytes; us
         since the newest arrived; images ever pushed, taken, and dropped by a limit.

Derived  is:{b}:queue:<session> and is:{b}:meta:<session>, from ARGV and the index; the hash tag is that of KEYS.
Cost     O(limit log n).
]]

local sessions = KEYS[1]
local queues, metas, ttl, after, limit = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local latest = now + 1000000 -- what lies beyond was written while the clock was ahead
local first, last = string.format('(%.0f', math.max(after, now)), string.format('%.0f', latest + ttl * 1250)
local oldest_live, newest_live = string.format('(%.0f', now - ttl * 1000), string.format('%.0f', latest)
local slice = redis.call('ZRANGE', sessions, first, last, 'BYSCORE', 'LIMIT', 0, limit, 'WITHSCORES')
local found = { #slice == 2 * limit and slice[#slice] or '' }
for i = 1, #slice, 2 do
  local session = slice[i]
  local queue = queues .. session
  local images = redis.call('ZCOUNT', queue, oldest_live, newest_live)
  if images > 0 then
    local known = redis.call('HMGET', metas .. session, 'bytes', 'newest', 'sequence', 'taken', 'dropped')
    local oldest = redis.call('ZRANGE', queue, oldest_live, '+inf', 'BYSCORE', 'LIMIT', 0, 1)[1]
    found[#found + 1] = session
    found[#found + 1] = images
    found[#found + 1] = (known[1] or 0) - string.match(oldest, '^%d+:(%d+)')
    found[#found + 1] = math.max(0, now - (known[2] or now))
    found[#found + 1] = tonumber(known[3] or 0)
    found[#found + 1] = tonumber(known[4] or 0)
    found[#found + 1] = tonumber(known[5] or 0)
  end
end
return found
