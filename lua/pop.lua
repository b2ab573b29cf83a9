--[[
pop.lua: take the oldest live image of a session, once, however often it runs.

The bytes do not pass through here: they are renamed to the key that the caller
GETs next in the same pipeline. They keep their PX, so they are gone at the end
of the image's life whoever holds them. For callers and calls see push.lua.

KEYS[1]  queue   zset    is:{b}:queue:<session>  <sequence>:<before>:<id>, scored by arrival (Unix us)
KEYS[2]  meta    hash    is:{b}:meta:<session>   sequence; popped: images; taken: "<sequence> <arrival>
                                                <key>" of the newest image, once it was popped;
                                                <caller>: "<call> <second> <answer>" of its last call
KEYS[3]  out     string  is:{b}:out:<id>         where the bytes go; id: <caller>-<call>

ARGV[1]  caller  text
ARGV[2]  call    number of the call, rising for each caller
ARGV[3]  images  text  key prefix of the bytes, is:{b}:image:
ARGV[4]  life    ms    of an image

Returns  "<sequence> <arrival> <left> <before> <id>"  taken; left: live images behind it
         ""        the queue is empty
         "void"    undone before it ran, or long past: nothing taken
         "again"   only ids without bytes so far: run this again
         "rebase"  the clock stepped back: run shift_clock.lua, then this again

Derived  is:{b}:image:<id>, from ARGV[3] and the queue; the hash tag is that of KEYS.
Cost     O(log n), and O(e) where e images at the head have expired; at most 1000
         ids whose bytes were evicted are passed over.
]]

local queue, meta, out = KEYS[1], KEYS[2], KEYS[3]
local caller, call, images, life = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local known = redis.call('HMGET', meta, caller, 'sequence', 'popped')
local last, answer = string.match(known[1] or '0 0 ', '^(%d+) %d+ (.*)$')
if tonumber(last) > tonumber(call) then return 'void' end
if last == call then return answer end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local dead = now - life * 1000
for _ = 1, 1000 do
  local oldest = redis.call('ZPOPMIN', queue)
  local member, arrival = oldest[1], tonumber(oldest[2])
  if not member then return '' end
  if arrival > now + 1000000 then
    redis.call('ZADD', queue, arrival, member)
    redis.call('PEXPIRE', queue, life)
    return 'rebase'
  end
  local sequence, before, id = string.match(member, '^(%d+):(%d+):(.+)$')
  local moved = arrival > dead and redis.pcall('RENAME', images .. id, out)
  if not moved then
    redis.call('ZREMRANGEBYSCORE', queue, '-inf', dead)
  elseif not moved.err then
    answer = string.format('%s %.0f %d %s %s', sequence, arrival, redis.call('ZCARD', queue), before, id)
    local popped, call_answer = (known[3] or 0) + 1, string.format('%d %s %s', call, time[1], answer)
    if sequence == known[2] then
      local taken = string.format('%s %.0f %s', sequence, arrival, out)
      redis.call('HSET', meta, 'popped', popped, caller, call_answer, 'taken', taken)
    else
      redis.call('HSET', meta, 'popped', popped, caller, call_answer)
    end
    return answer
  elseif not string.find(moved.err, 'no such key') then
    redis.call('ZADD', queue, arrival, member)
    return moved
  end
end
return 'again'
