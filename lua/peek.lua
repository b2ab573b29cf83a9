--[[
peek.lua: find an image of a session without taking it.

KEYS[1]  queue   zset  is:{b}:queue:<session>  <sequence>:<before>:<id>, scored by arrival (Unix us)
KEYS[2]  meta    hash  is:{b}:meta:<session>   sequence; taken: "<sequence> <arrival> <key>" of the
                                               newest image, once it was popped

ARGV[1]  images  text    key prefix of the bytes, is:{b}:image:
ARGV[2]  life    ms      younger images only
ARGV[3]  after   number  the oldest image with a higher sequence; one that is ahead of
                         the session's counts as 0: the sequence began again. "": the newest image
ARGV[4]  popped  0 or 1  whether the newest image counts although it was popped

Returns  "<sequence> <arrival> <left> <size> <key>"  left: live images behind it; size in bytes
         ""                                          there is none

Derived  is:{b}:image:<id>, from ARGV[1] and the queue; the hash tag is that of KEYS.
Cost     O(log^2 n); at most 1000 ids whose bytes were evicted are passed over.
]]

local queue, meta = KEYS[1], KEYS[2]
local images, life, after, popped = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

after = tonumber(after)
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local dead = now - life * 1000
local known = redis.call('HMGET', meta, 'sequence', 'taken')
if after and after > tonumber(known[1] or 0) then after = 0 end

local count = redis.call('ZCARD', queue)
local function sequence_of(rank)
  return tonumber(string.match(redis.call('ZRANGE', queue, rank, rank)[1], '^%d+'))
end
local first, beyond = redis.call('ZCOUNT', queue, '-inf', string.format('%.0f', dead)), count
while after and first < beyond do -- the ranks below first are expired or not higher
  local middle = math.floor((first + beyond) / 2)
  if sequence_of(middle) > after then beyond = middle else first = middle + 1 end
end

local sequence, arrival, key = string.match(known[2] or '', '^(%d+) (%d+) (.+)$')
local taken = popped == '1' and sequence == known[1] and tonumber(arrival) > dead and
  tonumber(arrival) <= now + 1000000 and tonumber(sequence) > (after or 0) and redis.call('STRLEN', key) or 0
if taken > 0 and (not after or first == count) then
  return string.format('%s %s 0 %d %s', sequence, arrival, taken, key)
end

local from, to, step = first, math.min(count, first + 1000) - 1, 1
if not after then from, to, step = count - 1, math.max(first, count - 1000), -1 end
for rank = from, to, step do
  local member = redis.call('ZRANGE', queue, rank, rank, 'WITHSCORES')
  local number, id = string.match(member[1], '^(%d+):%d+:(.+)$')
  local size = redis.call('STRLEN', images .. id)
  if size > 0 then
    return string.format('%s %.0f %d %d %s%s', number, tonumber(member[2]), count - rank - 1, size, images, id)
  end
end
return ''
