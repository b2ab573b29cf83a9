--[[
pop.lua: take the oldest live image of a session, once, however often it runs.

The bytes do not pass through here: they are renamed to the key that the server GETs next in the same pipeline. They
keep their PX, so they are gone at the image's expiry, whether or not the delivery has ended. Clients and their calls:
see push.lua. The formats of members and records are those of internal/redisqueue/keys.go.

KEYS[1]  queue      zset    is:{b}:queue:<session>  members, scored by arrival (Unix us)
KEYS[2]  meta       hash    is:{b}:meta:<session>   sequence; bytes: ever pushed; taken: count of images; newest_taken:
                                                    where the bytes of the session's newest image are, once it was
                                                    taken; <client>: record
KEYS[3]  delivered  string  is:{b}:delivered:<id>   the key that the bytes get; id: <client>-<call>

ARGV[1]  client     text
ARGV[2]  call       number  of the pop, rising for each client
ARGV[3]  images     text    key prefix of the bytes, is:{b}:image:
ARGV[4]  ttl        ms      of an image
ARGV[5]  most       bytes   that the image may have

Returns  "<sequence> <arrival> <behind> <age> <offset> <id>"  taken. behind: live images that are newer; age: us since
                        the arrival; offset, id: as in the member
         ""             the queue is empty
         "large <size>" the oldest image has more than most bytes, and stays
         "void"         undone before it ran, or an older call
         "retry"        only expired ids and ids without bytes so far: run this again
         "shift_clock"  the clock stepped back: run shift_clock.lua, then this again

Derived  is:{b}:image:<id>, from ARGV[3] and the queue; the hash tag is that of KEYS.
Cost     O(log n); at most 1000 expired ids are removed and 200 ids without bytes passed over, in about a millisecond.
]]

local queue, meta, delivered = KEYS[1], KEYS[2], KEYS[3]
local client, call, images, ttl, most = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local known = redis.call('HMGET', meta, client, 'sequence', 'taken', 'bytes')
local last, reply = string.match(known[1] or '0 0 ', '^(%d+) %d+ (.*)$')
if tonumber(last) > tonumber(call) then return 'void' end
if last == call then return reply end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local cutoff = now - ttl * 1000
local function put_back(member, arrival)
  redis.call('ZADD', queue, arrival, member)
  redis.call('PEXPIRE', queue, ttl)
end
for _ = 1, 200 do
  local oldest = redis.call('ZPOPMIN', queue)
  local member, arrival = oldest[1], tonumber(oldest[2])
  if not member then return '' end
  if arrival > now + 1000000 then
    put_back(member, arrival)
    return 'shift_clock'
  end
  local sequence, offset, id = string.match(member, '^(%d+):(%d+):(.+)$')
  local may_be_large = arrival > cutoff and (known[4] or math.huge) - offset > tonumber(most)
  local size = may_be_large and redis.call('STRLEN', images .. id) or 0 -- it has no more than was pushed since offset
  if size > tonumber(most) then
    put_back(member, arrival)
    return string.format('large %d', size)
  end
  local moved = arrival > cutoff and redis.pcall('RENAME', images .. id, delivered)
  if not moved then
    local expired = redis.call('ZCOUNT', queue, '-inf', cutoff)
    if expired > 0 then redis.call('ZPOPMIN', queue, math.min(expired, 1000)) end
    if expired > 1000 then return 'retry' end
  elseif not moved.err then
    local behind, age = redis.call('ZCARD', queue), math.max(0, now - arrival)
    reply = string.format('%s %.0f %d %.0f %s %s', sequence, arrival, behind, age, offset, id)
    local taken, record = (known[3] or 0) + 1, string.format('%d %s %s', call, time[1], reply)
    if sequence == known[2] then
      local newest_taken = string.format('%s %.0f %s', sequence, arrival, delivered)
      redis.call('HSET', meta, 'taken', taken, client, record, 'newest_taken', newest_taken)
    else
      redis.call('HSET', meta, 'taken', taken, client, record)
    end
    return reply
  elseif not string.find(moved.err, 'no such key') then
    put_back(member, arrival)
    return moved
  end
end
return 'retry'
