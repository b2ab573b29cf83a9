--[[
push.lua: append an image to its session's queue, once, however often it runs.

The bytes are not here: the caller SETs them just before, in the same pipeline,
with the image's life as their PX. Each caller numbers its calls. The last one is
remembered with its answer: one that runs again answers as it did, an older one
does nothing. Bytes that it has set again for nothing expire. Of an image that is
refused nothing stays. Where a limit is passed the oldest images give way.

KEYS[1]  queue     zset    is:{b}:queue:<session>  <sequence>:<before>:<id>, scored by arrival (Unix us);
                                                   before: bytes pushed to the session before it
KEYS[2]  meta      hash    is:{b}:meta:<session>   sequence; newest: latest arrival (Unix us); bytes: ever
                                                   pushed; popped, dropped, expired: images;
                                                   <caller>: "<call> <second> <answer>" of its last call
KEYS[3]  sessions  zset    is:{b}:sessions         session, scored by when it is over (Unix us)
KEYS[4]  image     string  is:{b}:image:<id>       the bytes; id: <caller>-<call>
KEYS[5]  wake      channel is:{b}:wake:<session>   told "<sequence> <arrival> <id>"

ARGV[1]  session      text
ARGV[2]  caller       text
ARGV[3]  call         number  of the call, rising for each caller
ARGV[4]  life         ms      of an image
ARGV[5]  memory       ms      the meta hash is kept after this push, at least
ARGV[6]  images       text    key prefix of the bytes, is:{b}:image:
ARGV[7]  most_images  count   of the queue; 0: no limit
ARGV[8]  most_bytes   bytes   of the queue; 0: no limit. The newest image always stays
ARGV[9]  open         0 or 1  whether it may open a session

Returns  "<sequence> <queued> <dropped> <expired> <opened> <before>"  stored; dropped, expired: images
                       since the last push; opened: 1 if no image had come within a life
         "sessions"    it would open a session
         "void"        withdrawn before it ran, or long past
         "lost"        the bytes are missing
         "rebase"      the clock stepped back: run shift_clock.lua, then this again

Derived  is:{b}:image:<id>, from ARGV[6] and the queue; the hash tag is that of KEYS.
Cost     O(log n), for each image that gives way too, 1000 at most; once in a quarter
         of a life O(e) for e expired images.
]]

local queue, meta, sessions, image, wake = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local session, caller, call, life, memory = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local images, most_images, most_bytes, open = ARGV[6], ARGV[7], ARGV[8], ARGV[9]

local known = redis.call('HMGET', meta, caller, 'sequence', 'newest', 'bytes', 'popped', 'dropped', 'expired')
local last, answer = string.match(known[1] or '0 0 ', '^(%d+) %d+ (.*)$')
if tonumber(last) > tonumber(call) then return 'void' end
if last == call then return answer end
local size = redis.call('STRLEN', image)
if size == 0 then return 'lost' end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local sequence, newest, before = (known[2] or 0) + 1, tonumber(known[3] or 0), tonumber(known[4] or 0)
if newest > now + 1000000 then return 'rebase' end
local quarter, dead, opened = life * 250, now - life * 1000, newest <= now - life * 1000
if opened and open == '0' then
  redis.call('UNLINK', image)
  return 'sessions'
end

local arrival = math.max(now, newest + 1)
local added = redis.pcall('ZADD', queue, arrival, string.format('%d:%.0f:%s-%d', sequence, before, caller, call))
if type(added) == 'table' then -- out of memory
  redis.call('UNLINK', image)
  return added
end
redis.call('PEXPIRE', queue, life)

most_images, most_bytes = tonumber(most_images), tonumber(most_bytes)
local queued, dropped = redis.call('ZCOUNT', queue, dead + 1, '+inf'), 0
local function crowded()
  if queued == 1 then return false end
  if most_images > 0 and queued > most_images then return true end
  if most_bytes == 0 or before + size <= most_bytes then return false end
  local first = redis.call('ZRANGE', queue, dead + 1, '+inf', 'BYSCORE', 'LIMIT', 0, 1)[1]
  return before + size - string.match(first, '^%d+:(%d+)') > most_bytes
end
local renew = math.floor(now / quarter) ~= math.floor(newest / quarter)
local full = crowded()
if renew or full then redis.call('ZREMRANGEBYSCORE', queue, '-inf', dead) end
while full and dropped < 1000 do
  redis.call('UNLINK', images .. string.match(redis.call('ZPOPMIN', queue)[1], '^%d+:%d+:(.+)$'))
  queued, dropped = queued - 1, dropped + 1
  full = crowded()
end
local gone = sequence - queued - (known[5] or 0) - (known[6] or 0) - dropped
local expired = math.max(0, gone - (known[7] or 0))

answer = string.format('%d %d %d %d %d %.0f', sequence, queued, dropped, expired, opened and 1 or 0, before)
if renew then
  redis.call('ZREMRANGEBYSCORE', sessions, '-inf', now)
  redis.call('ZADD', sessions, arrival + 5 * quarter, session)
  redis.call('PEXPIRE', sessions, math.ceil(5 * quarter / 1000))
  local fields = redis.call('HLEN', meta) > 1000 and redis.call('HGETALL', meta) or {}
  for i = 1, #fields, 2 do -- forget callers long gone
    local second = tonumber(string.match(fields[i + 1], '^%d+ (%d+) ') or time[1])
    if second < time[1] - memory / 1000 then redis.call('HDEL', meta, fields[i]) end
  end
end
redis.call(
  'HSET', meta, 'sequence', sequence, 'newest', arrival, 'bytes', string.format('%.0f', before + size),
  caller, string.format('%d %s %s', call, time[1], answer)
)
if dropped + expired > 0 then
  redis.call('HSET', meta, 'dropped', (known[6] or 0) + dropped, 'expired', (known[7] or 0) + expired)
end
if renew then redis.call('PEXPIRE', meta, memory + life) end
redis.pcall('PUBLISH', wake, string.format('%d %.0f %s-%d', sequence, arrival, caller, call))
return answer
