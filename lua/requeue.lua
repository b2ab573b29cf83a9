--[[
requeue.lua: undo a pop: put its image back at its place in the queue, or keep the pop from running late.

Runs when the image did not reach its consumer, and when it is not known whether the pop ran: after this the pop has
taken nothing and never will. The formats of members and records are those of internal/redisqueue/keys.go.

KEYS[1]  queue      zset     is:{b}:queue:<session>   members, scored by arrival (Unix us)
KEYS[2]  meta       hash     is:{b}:meta:<session>    newest: latest arrival (Unix us); taken: count of images;
                                                      <client>: record, also of the push of the image
KEYS[3]  delivered  string   is:{b}:delivered:<id>    the bytes that the pop took; id: <client>-<call>
KEYS[4]  notify     channel  is:{b}:notify:<session>  gets "" when the image is back

ARGV[1]  client     text
ARGV[2]  call       number   of the pop
ARGV[3]  images     text     key prefix of the bytes, is:{b}:image:
ARGV[4]  retention  ms       for which the meta hash is kept from now on, at least
ARGV[5]  ttl        ms       of an image

Returns  1  the image is back in the queue
         0  the pop had taken nothing, or the image has expired or was withdrawn meanwhile

Derived  is:{b}:image:<id>, from ARGV[3] and the record; the hash tag is that of KEYS.
Cost     O(log n), and O(m) after the clock stepped back while m older images were put back.
]]

local queue, meta, delivered, notify = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local client, call, images, retention, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local last, reply = string.match(redis.call('HGET', meta, client) or '0 0 ', '^(%d+) %d+ (.*)$')
if tonumber(last) > tonumber(call) then return 0 end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function is_withdrawn(image) -- its producer was told that it is not stored
  local producer, push = string.match(image, '^(.+)-(%d+)$')
  return string.match(redis.call('HGET', meta, producer) or '', '^(%d+) %d+ void$') == push
end
local requeued, rest = 0, math.min(redis.call('PTTL', delivered), ttl)
local taken = last == call and rest > 0 and reply or ''
local sequence, arrival, offset, id = string.match(taken, '^(%d+) (%d+) %d+ %d+ (%d+) (.+)$')
if sequence and not is_withdrawn(id) then
  arrival = tonumber(arrival)
  local newest = tonumber(redis.call('HGET', meta, 'newest') or 0)
  if arrival > now + 1000000 and newest <= now + 1000000 then -- shift_clock.lua has moved the others already
    local rank, later = 0, redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
    while later[1] and tonumber(string.match(later[1], '^%d+')) < tonumber(sequence) do
      rank = rank + 1
      later = redis.call('ZRANGE', queue, rank, rank, 'WITHSCORES')
    end
    arrival = later[1] and later[2] + sequence - string.match(later[1], '^%d+') or now
    arrival = math.min(now, arrival)
  end
  redis.call('RENAME', delivered, images .. id)
  redis.call('PEXPIRE', images .. id, rest)
  redis.call('ZADD', queue, string.format('%.0f', arrival), string.format('%s:%s:%s', sequence, offset, id))
  redis.call('PEXPIRE', queue, math.max(rest, redis.call('PTTL', queue)))
  redis.call('HINCRBY', meta, 'taken', -1)
  redis.pcall('PUBLISH', notify, '')
  requeued = 1
end
if requeued == 0 then redis.call('UNLINK', delivered) end -- a full Redis refuses a script that begins with HSET
redis.call('HSET', meta, client, string.format('%d %s void', call, time[1]))
redis.call('PEXPIRE', meta, math.max(retention, redis.call('PTTL', meta)))
return requeued
