--[[
session_details.lua: describe some sessions of one index shard.

The format of members is that of internal/redisqueue/keys.go.

KEYS[1]  sessions  zset  is:{b}:sessions  session, scored by its end (Unix us)

ARGV[1]  queues    text  key prefix of the queues, is:{b}:queue:
ARGV[2]  metas     text  key prefix of the meta hashes, is:{b}:meta:
ARGV[3]  ttl       ms    of an image
ARGV[4]  names     text  the sessions to describe, with blanks between

Returns  {images, bytes, age, sent, taken, dropped, ...}  six for each session, in the order of names: live images and
         their bytes; us since the newest arrived; images ever pushed, taken, and dropped by a limit.
         All are 0 for a session that is not in the index.

Derived  is:{b}:queue:<session> and is:{b}:meta:<session>, from ARGV; the hash tag is that of KEYS.
Cost     O(s log n) for s sessions.
]]

local sessions = KEYS[1]
local queues, metas, ttl, names = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local live = string.format('(%.0f', now - ttl * 1000)
local details = {}
for session in string.gmatch(names, '%S+') do
  if redis.call('ZSCORE', sessions, session) then
    local queue = queues .. session
    local known = redis.call('HMGET', metas .. session, 'bytes', 'newest', 'sequence', 'taken', 'dropped')
    local oldest = redis.call('ZRANGE', queue, live, '+inf', 'BYSCORE', 'LIMIT', 0, 1)[1]
    details[#details + 1] = redis.call('ZCOUNT', queue, live, '+inf')
    details[#details + 1] = oldest and (known[1] or 0) - string.match(oldest, '^%d+:(%d+)') or 0
    details[#details + 1] = now - (known[2] or now)
    details[#details + 1] = tonumber(known[3] or 0)
    details[#details + 1] = tonumber(known[4] or 0)
    details[#details + 1] = tonumber(known[5] or 0)
  else
    for _ = 1, 6 do details[#details + 1] = 0 end
  end
end
return details
