--[[
peek.lua: find an image of a session without taking it.

The formats of members and of newest_taken are those of internal/redisqueue/keys.go.

KEYS[1]  queue   zset  is:{b}:queue:<session>  members, scored by arrival (Unix us)
KEYS[2]  meta    hash  is:{b}:meta:<session>   sequence; newest: latest arrival (Unix us); newest_taken: where the bytes
                                               of the session's newest image are, once it was taken

ARGV[1]  images  text    key prefix of the bytes, is:{b}:image:
ARGV[2]  ttl     ms      only images younger than this fit
ARGV[3]  newest  0 or 1  whether the newest image that fits is asked for, instead of the oldest
ARGV[4]  after   number  only images with a higher sequence fit; a number ahead of the session counts as 0, because
                         the sequence has started again
ARGV[5]  taken   0 or 1  whether the newest image of the session fits also after it was taken

Returns  "<sequence> <arrival> <behind> <size> <key>"  behind: live images that are newer; size in bytes
         ""                                            no image fits
         "shift_clock"                                 the clock stepped back: run shift_clock.lua, then this again

Derived  is:{b}:image:<id>, from ARGV[1] and the queue; the hash tag is that of KEYS.
         is:{b}:delivered:<id>, from newest_taken; the hash tag is that of KEYS.
Cost     O(log^2 n); at most 1000 ids whose bytes were evicted are passed over.
]]

local queue, meta = KEYS[1], KEYS[2]
local images, ttl, newest, after, taken = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local cutoff = now - ttl * 1000
local known = redis.call('HMGET', meta, 'sequence', 'newest_taken', 'newest')
if tonumber(known[3] or 0) > now + 1000000 then return 'shift_clock' end
after = tonumber(after)
if after > tonumber(known[1] or 0) then after = 0 end

local newest_taken = ''
local sequence, arrival, key = string.match(known[2] or '', '^(%d+) (%d+) (.+)$')
if taken == '1' and sequence == known[1] and tonumber(sequence) > after and tonumber(arrival) > cutoff then
  local size = redis.call('STRLEN', key)
  if size > 0 then newest_taken = string.format('%s %s 0 %d %s', sequence, arrival, size, key) end
end
if newest == '1' and newest_taken ~= '' then return newest_taken end

local count = redis.call('ZCARD', queue)
local first, high = redis.call('ZCOUNT', queue, '-inf', string.format('%.0f', cutoff)), count
while after > 0 and first < high do -- ranks below first: expired, or not after
  local middle = math.floor((first + high) / 2)
  local found = string.match(redis.call('ZRANGE', queue, middle, middle)[1], '^%d+')
  if tonumber(found) > after then high = middle else first = middle + 1 end
end

local from, to, step = first, math.min(count, first + 1000) - 1, 1
if newest == '1' then from, to, step = count - 1, math.max(first, count - 1000), -1 end
for rank = from, to, step do
  local member = redis.call('ZRANGE', queue, rank, rank, 'WITHSCORES')
  local number, id = string.match(member[1], '^(%d+):%d+:(.+)$')
  local size = redis.call('STRLEN', images .. id)
  if size > 0 then
    return string.format('%s %.0f %d %d %s%s', number, tonumber(member[2]), count - rank - 1, size, images, id)
  end
end
return newest_taken
