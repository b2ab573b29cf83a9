--[[
push.lua: append an image to its session's queue, once, however often it runs.

The bytes do not pass through here: the server SETs them just before, in the same pipeline, with the image's TTL as
their PX. A client numbers its calls, and the session keeps a record of each client's last call with its reply. A call
that runs again returns the reply of its first run, and an older call does nothing. The SET has NX, so that bytes which
are still there keep their end; bytes that it stores again after they were taken are left to expire. A refused image
leaves nothing behind. Where a limit is exceeded, the oldest images give way.
The formats of members, records and notifications are those of internal/redisqueue/keys.go.

KEYS[1]  queue       zset     is:{b}:queue:<session>   members, scored by arrival (Unix us)
KEYS[2]  meta        hash     is:{b}:meta:<session>    sequence; newest: latest arrival (Unix us); bytes: ever pushed;
                                                       taken, dropped, expired: counts of images; <client>: record
KEYS[3]  sessions    zset     is:{b}:sessions          session, scored by its end (Unix us)
KEYS[4]  image       string   is:{b}:image:<id>        the bytes; id: <client>-<call>
KEYS[5]  notify      channel  is:{b}:notify:<session>  gets a notification of the image

ARGV[1]  session     text
ARGV[2]  client      text
ARGV[3]  call        number   of the push, rising for each client
ARGV[4]  ttl         ms       of an image
ARGV[5]  retention   ms       for which the meta hash is kept after this push, at least
ARGV[6]  images      text     key prefix of the bytes, is:{b}:image:
ARGV[7]  max_images  count    in the queue; 0: no limit
ARGV[8]  max_bytes   bytes    in the queue; 0: no limit. The newest image always stays
ARGV[9]  may_open    0 or 1   whether the push may open a session

Returns  "<sequence> <queued> <dropped> <expired> <opened> <offset>"  stored. queued: live images, this one included;
                         dropped, expired: images since the last push; opened: 1 if no image had come within a TTL;
                         offset: as in the member
         "sessions"      the push would open a session
         "void"          withdrawn before it ran, or an older call
         "lost"          the bytes are missing
         "shift_clock"   the clock stepped back: run shift_clock.lua, then this again

Derived  is:{b}:image:<id>, from ARGV[6] and the queue; the hash tag is that of KEYS.
Cost     O(log n), for each image that gives way too, 1000 at most, which takes about 5 ms; now and then 1000 expired
         images at most; once in a quarter of a TTL O(r) for r records if there are more than 1000.
]]

local queue, meta, sessions, image, notify = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local session, client, call, ttl, retention = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local images, max_images, max_bytes, may_open = ARGV[6], ARGV[7], ARGV[8], ARGV[9]

local known = redis.call('HMGET', meta, client, 'sequence', 'newest', 'bytes', 'taken', 'dropped', 'expired')
local last, reply = string.match(known[1] or '0 0 ', '^(%d+) %d+ (.*)$')
if tonumber(last) > tonumber(call) then return 'void' end
if last == call then return reply end
local size = redis.call('STRLEN', image)
if size == 0 then return 'lost' end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local sequence, newest, offset = (known[2] or 0) + 1, tonumber(known[3] or 0), tonumber(known[4] or 0)
if newest > now + 1000000 then return 'shift_clock' end
local quarter, cutoff = ttl * 250, now - ttl * 1000
local opened = newest <= cutoff
if opened and may_open == '0' then
  redis.call('UNLINK', image)
  return 'sessions'
end

local arrival = math.max(now, newest + 1)
local added = redis.pcall('ZADD', queue, arrival, string.format('%d:%.0f:%s-%d', sequence, offset, client, call))
if type(added) == 'table' then -- out of memory
  redis.call('UNLINK', image)
  return added
end
redis.call('PEXPIRE', queue, ttl)

max_images, max_bytes = tonumber(max_images), tonumber(max_bytes)
local queued, dropped = redis.call('ZCOUNT', queue, cutoff + 1, '+inf'), 0
local function exceeds_limit()
  if queued == 1 then return false end
  if max_images > 0 and queued > max_images then return true end
  if max_bytes == 0 or offset + size <= max_bytes then return false end
  local oldest = redis.call('ZRANGE', queue, cutoff + 1, '+inf', 'BYSCORE', 'LIMIT', 0, 1)[1]
  return offset + size - string.match(oldest, '^%d+:(%d+)') > max_bytes
end
local renew = math.floor(now / quarter) ~= math.floor(newest / quarter) -- first push of this quarter of a TTL
local full = exceeds_limit()
local over = (renew or full or sequence % 100 == 0) and redis.call('ZCOUNT', queue, '-inf', cutoff) or 0
if over > 0 then redis.call('ZPOPMIN', queue, math.min(over, 1000)) end
full = full and over <= 1000 -- otherwise the next push goes on
while full and dropped < 1000 do
  redis.call('UNLINK', images .. string.match(redis.call('ZPOPMIN', queue)[1], '^%d+:%d+:(.+)$'))
  queued, dropped = queued - 1, dropped + 1
  full = exceeds_limit()
end
local ever_expired = sequence - queued - (known[5] or 0) - (known[6] or 0) - dropped
local expired = math.max(0, ever_expired - (known[7] or 0))

reply = string.format('%d %d %d %d %d %.0f', sequence, queued, dropped, expired, opened and 1 or 0, offset)
if renew then
  redis.call('ZREMRANGEBYSCORE', sessions, '-inf', now)
  redis.call('ZADD', sessions, arrival + 5 * quarter, session)
  redis.call('PEXPIRE', sessions, math.ceil(5 * quarter / 1000))
  local fields = redis.call('HLEN', meta) > 1000 and redis.call('HGETALL', meta) or {}
  for i = 1, #fields, 2 do -- forget clients whose last call here is long ago
    local second = tonumber(string.match(fields[i + 1], '^%d+ (%d+) ') or time[1])
    if second < time[1] - retention / 1000 then redis.call('HDEL', meta, fields[i]) end
  end
end
redis.call(
  'HSET', meta, 'sequence', sequence, 'newest', arrival, 'bytes', string.format('%.0f', offset + size),
  client, string.format('%d %s %s', call, time[1], reply)
)
if dropped + expired > 0 then
  redis.call('HSET', meta, 'dropped', (known[6] or 0) + dropped, 'expired', (known[7] or 0) + expired)
end
if renew then redis.call('PEXPIRE', meta, retention + ttl) end
redis.pcall('PUBLISH', notify, string.format('%d %.0f %d %s-%d', sequence, arrival, size, client, call))
return reply
