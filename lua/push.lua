--[[
push.lua: append an image to its session's queue, once, however often it runs.

The bytes are not here: the caller SETs them just before, in the same pipeline,
with the image's life as their PX. Each caller numbers its calls. The last one is
remembered with its answer: one that runs again answers as it did, an older one
does nothing. Bytes that it has set again for nothing expire. Where memory is out,
nothing stays of the image.

KEYS[1]  queue     zset    is:{b}:queue:<session>  <sequence>:<id>, scored by arrival (Unix us)
KEYS[2]  meta      hash    is:{b}:meta:<session>   sequence; newest: latest arrival (Unix us);
                                                   <caller>: "<call> <second> <answer>" of its last call
KEYS[3]  sessions  zset    is:{b}:sessions         session, scored by when it is over (Unix us)
KEYS[4]  image     string  is:{b}:image:<id>       the bytes; id: <caller>-<call>
KEYS[5]  wake      channel is:{b}:wake:<session>   told "<sequence> <arrival> <id>"

ARGV[1]  session   text
ARGV[2]  caller    text
ARGV[3]  call      number of the call, rising for each caller
ARGV[4]  life      ms  of an image
ARGV[5]  memory    ms  the meta hash is kept after this push, at least

Returns  "<sequence> <queued>"  stored
         "void"                 withdrawn before it ran, or long past
         "lost"                 the bytes are missing
         "rebase"               the clock stepped back: run rebase.lua, then this again

Cost     O(log n), and once in a quarter of a life O(e) for e expired images.
]]

local queue, meta, sessions, image, wake = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local session, caller, call, life, memory = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local known = redis.call('HMGET', meta, 'sequence', 'newest', caller)
local last, answer = string.match(known[3] or '0 0 ', '^(%d+) %d+ (.*)$')
if tonumber(last) > tonumber(call) then return 'void' end
if last == call then return answer end
if redis.call('EXISTS', image) == 0 then return 'lost' end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local sequence, newest = (known[1] or 0) + 1, tonumber(known[2] or 0)
if newest > now + 1000000 then return 'rebase' end

local arrival, quarter = math.max(now, newest + 1), life * 250
local renew = math.floor(now / quarter) ~= math.floor(newest / quarter)
local added = redis.pcall('ZADD', queue, arrival, string.format('%d:%s-%d', sequence, caller, call))
if type(added) == 'table' then -- out of memory: then the bytes go too
  redis.call('UNLINK', image)
  return added
end
redis.call('PEXPIRE', queue, life)
answer = string.format('%d %d', sequence, redis.call('ZCOUNT', queue, now - 4 * quarter + 1, '+inf'))
if renew then
  redis.call('ZREMRANGEBYSCORE', queue, '-inf', now - 4 * quarter)
  redis.call('ZREMRANGEBYSCORE', sessions, '-inf', now)
  redis.call('ZADD', sessions, arrival + 5 * quarter, session)
  redis.call('PEXPIRE', sessions, math.ceil(5 * quarter / 1000))
  local fields = redis.call('HLEN', meta) > 1000 and redis.call('HGETALL', meta) or {}
  for i = 1, #fields, 2 do -- forget callers long gone
    local second = tonumber(string.match(fields[i + 1], '^%d+ (%d+) ') or time[1])
    if second < time[1] - memory / 1000 then redis.call('HDEL', meta, fields[i]) end
  end
end
redis.call('HSET', meta, 'sequence', sequence, 'newest', arrival, caller, string.format('%d %s %s', call, time[1], answer))
if renew then redis.call('PEXPIRE', meta, memory + life) end
redis.call('PUBLISH', wake, string.format('%d %.0f %s-%d', sequence, arrival, caller, call))
return answer
