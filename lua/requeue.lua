--[[
requeue.lua: undo a pop: put its image back at its place, or keep it from running late.

Called when the image could not be handed to the consumer, and when it is not
known whether the pop ran: after this it has taken nothing and never will.

KEYS[1]  queue   zset    is:{b}:queue:<session>  <sequence>:<before>:<id>, scored by arrival (Unix us)
KEYS[2]  meta    hash    is:{b}:meta:<session>   popped: images; <caller>: "<call> <second> <answer>" of its last call
KEYS[3]  out     string  is:{b}:out:<id>         the bytes the pop took; id: <caller>-<call>
KEYS[4]  wake    channel is:{b}:wake:<session>   told "" when the image is back

ARGV[1]  caller  text
ARGV[2]  call    number of the pop
ARGV[3]  images  text  key prefix of the bytes, is:{b}:image:
ARGV[4]  memory  ms    the meta hash is kept, at least
ARGV[5]  life    ms    of an image

Returns  1  the image is back in the queue
         0  the pop had taken nothing, or the image's life is over

Derived  is:{b}:image:<id>, from ARGV[3] and the answer; the hash tag is that of KEYS.
Cost     O(log n), and O(m) after the clock stepped back while m older images were put back.
]]

local queue, meta, out, wake = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local caller, call, images, memory, life = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local last, answer = string.match(redis.call('HGET', meta, caller) or '0 0 ', '^(%d+) %d+ (.*)$')
if tonumber(last) > tonumber(call) then return 0 end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local back, rest = 0, math.min(redis.call('PTTL', out), life)
if last == call and answer ~= 'void' and rest > 0 then
  local sequence, arrival, before, id = string.match(answer, '^(%d+) (%d+) %d+ (%d+) (.+)$')
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
  redis.call('RENAME', out, images .. id)
  redis.call('PEXPIRE', images .. id, rest)
  redis.call('ZADD', queue, string.format('%.0f', arrival), string.format('%s:%s:%s', sequence, before, id))
  redis.call('PEXPIRE', queue, math.max(rest, redis.call('PTTL', queue)))
  redis.call('HINCRBY', meta, 'popped', -1)
  redis.pcall('PUBLISH', wake, '')
  back = 1
end
redis.call('HSET', meta, caller, string.format('%d %s void', call, time[1]))
redis.call('PEXPIRE', meta, math.max(memory, redis.call('PTTL', meta)))
return back
