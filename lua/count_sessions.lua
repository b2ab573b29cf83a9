--[[
count_sessions.lua: count the open sessions of one index shard.

KEYS[1]  sessions  zset  is:{b}:sessions  session, scored by its end (Unix us)

Returns  the sessions whose end has not come

Cost     O(log n).
]]

local sessions = KEYS[1]

local time = redis.call('TIME')
return redis.call('ZCOUNT', sessions, string.format('(%.0f', time[1] * 1000000 + time[2]), '+inf')
