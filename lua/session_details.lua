--[[
session_details.lua: tell more of some sessions of one index shard.

KEYS[1]  sessions  zset  is:{b}:sessions  session, scored by when it is over (Unix us)

ARGV[1]  queues    text   key prefix of the queues, is:{b}:queue:
ARGV[2]  metas     text   key prefix of the meta hashes, is:{b}:meta:
ARGV[3]  life      ms     of an image
ARGV[4]  names     text   the sessions asked for, with blanks between

Returns  {images, bytes, age, sent, taken, dropped, ...}  six for each session: live images and
         their bytes; us since the newest arrived; images ever pushed, popped, and dropped by a limit

Derived  is:{b}:queue:<session> and is:{b}:meta:<session>, from ARGV; the hash tag is that of KEYS.
Cost     O(s log n) for s sessions.
]]

local sessions = KEYS[1]
local queues, metas, life, names = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local live = string.format('(%.0f', now - life * 1000)
local told = {}
for session in string.gmatch(names, '%S+') do
  if redis.call('ZSCORE', sessions, session) then
    local queue = queues .. session
    local known = redis.call('HMGET', metas .. session, 'bytes', 'newest', 'sequence', 'popped', 'dropped')
    local first = redis.call('ZRANGE', queue, live, '+inf', 'BYSCORE', 'LIMIT', 0, 1)[1]
    told[#told + 1] = redis.call('ZCOUNT', queue, live, '+inf')
    told[#told + 1] = first and (known[1] or 0) - string.match(first, '^%d+:(%d+)') or 0
    told[#told + 1] = now - (known[2] or now)
    told[#told + 1] = tonumber(known[3] or 0)
    told[#told + 1] = tonumber(known[4] or 0)
    told[#told + 1] = tonumber(known[5] or 0)
  else
    for _ = 1, 6 do told[#told + 1] = 0 end
  end
end
return told
