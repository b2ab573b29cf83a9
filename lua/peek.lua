--[[
peek.lua: describe the image a pop would take now, without taking it.

KEYS[1]  queue   zset  is:{b}:queue:<session>  <sequence>:<id>, scored by arrival (Unix us)

ARGV[1]  images  text  key prefix of the bytes, is:{b}:image:
ARGV[2]  life    ms    of an image

Returns  "<sequence> <arrival> <left> <size>"  left: live images behind it; size in bytes
         ""                                    the queue is empty

Derived  is:{b}:image:<id>, from ARGV[1] and the queue; the hash tag is that of KEYS.
Cost     O(log n); at most 1000 ids whose bytes were evicted are passed over.
]]

local queue = KEYS[1]
local images, life = ARGV[1], ARGV[2]

local time = redis.call('TIME')
local live = string.format('(%.0f', time[1] * 1000000 + time[2] - life * 1000)
local count = redis.call('ZCOUNT', queue, live, '+inf')
for rank = 0, math.min(count, 1000) - 1 do
  local oldest = redis.call('ZRANGE', queue, live, '+inf', 'BYSCORE', 'LIMIT', rank, 1, 'WITHSCORES')
  local sequence, id = string.match(oldest[1], '^(%d+):(.+)$')
  local size = redis.call('STRLEN', images .. id)
  if size > 0 then
    return string.format('%s %.0f %d %d', sequence, tonumber(oldest[2]), count - rank - 1, size)
  end
end
return ''
