--[[
find_ahead.lua: find sessions of one index shard that were entered while the clock was ahead.

KEYS[1]  sessions  zset   is:{b}:sessions  session, scored by its end (Unix us)

ARGV[1]  ttl       ms     of an image
ARGV[2]  limit     count  of sessions to find at most

Returns  {session, ...}  their ends are later than any can be: shift_clock.lua repairs them

Cost     O(log n) and the limit.
]]

local sessions = KEYS[1]
local ttl, limit = ARGV[1], ARGV[2]

local time = redis.call('TIME')
local last = time[1] * 1000000 + time[2] + 1000000 + ttl * 1250
return redis.call('ZRANGE', sessions, string.format('(%.0f', last), '+inf', 'BYSCORE', 'LIMIT', 0, limit)
