--[[
shift_clock.lua: move a session's arrival times back after the clock stepped back.

The images keep their order and their distances; the newest counts as arrived now, which is the least age it can have.
Without this the images would live longer by the size of the step.
The formats of members and of newest_taken are those of internal/redisqueue/keys.go.

KEYS[1]  queue     zset  is:{b}:queue:<session>  members, scored by arrival (Unix us)
KEYS[2]  meta      hash  is:{b}:meta:<session>   newest: latest arrival (Unix us); newest_taken: where the bytes of the
                                                 session's newest image are, once it was taken
KEYS[3]  sessions  zset  is:{b}:sessions         session, scored by its end (Unix us)

ARGV[1]  session   text
ARGV[2]  images    text  key prefix of the bytes, is:{b}:image:
ARGV[3]  ttl       ms    of an image

Returns  the images moved

Derived  is:{b}:image:<id>, from ARGV[2] and the queue; the hash tag is that of KEYS.
         is:{b}:delivered:<id>, from newest_taken; the hash tag is that of KEYS.
Cost     O(n log n) for the n images of the session, once for each step of the clock: about 3 ms for 1000 images.
]]

local queue, meta, sessions = KEYS[1], KEYS[2], KEYS[3]
local session, images, ttl = ARGV[1], ARGV[2], ARGV[3]

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local members = redis.call('ZRANGE', queue, 0, -1, 'WITHSCORES')
local known = redis.call('HMGET', meta, 'newest', 'newest_taken')
local newest = math.max(tonumber(members[#members] or 0), tonumber(known[1] or 0))
local ahead = newest - now
redis.call('PEXPIRE', queue, ttl) -- a full Redis refuses a script that begins with ZADD
redis.call('ZADD', sessions, 'XX', math.min(now, newest) + ttl * 1250, session)
if ahead <= 0 then return 0 end

for i = 1, #members, 2 do
  local arrival = members[i + 1] - ahead
  local id = string.match(members[i], '^%d+:%d+:(.+)$')
  redis.call('ZADD', queue, 'XX', arrival, members[i])
  redis.call('PEXPIRE', images .. id, math.max(1, math.floor(ttl - (now - arrival) / 1000)))
end
redis.call('HSET', meta, 'newest', now)
local sequence, arrival, key = string.match(known[2] or '', '^(%d+) (%d+) (.+)$')
if key then
  arrival = arrival - ahead
  redis.call('HSET', meta, 'newest_taken', string.format('%s %.0f %s', sequence, arrival, key))
  redis.call('PEXPIRE', key, math.max(1, math.floor(ttl - (now - arrival) / 1000)))
end
redis.call('ZADD', sessions, now + ttl * 1250, session)
redis.call('PEXPIRE', sessions, math.ceil(ttl * 1.25))
return #members / 2
