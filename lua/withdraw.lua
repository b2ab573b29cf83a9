--[[
withdraw.lua: undo a push whose outcome is not known, or keep it from running late.

After this the image is not in the queue and never will be, unless a consumer took it first.
The formats of members and records are those of internal/redisqueue/keys.go.

KEYS[1]  queue      zset    is:{b}:queue:<session>  members, scored by arrival (Unix us)
KEYS[2]  meta       hash    is:{b}:meta:<session>   taken: count of images; <client>: record
KEYS[3]  image      string  is:{b}:image:<id>       the bytes; id: <client>-<call>

ARGV[1]  client     text
ARGV[2]  call       number  of the push
ARGV[3]  retention  ms      for which the meta hash is kept from now on, at least

Returns  1  the image was withdrawn from the queue
         0  the image was not in the queue

Cost     O(log n).
]]

local queue, meta, image = KEYS[1], KEYS[2], KEYS[3]
local client, call, retention = ARGV[1], ARGV[2], ARGV[3]

local last, reply = string.match(redis.call('HGET', meta, client) or '0 0 ', '^(%d+) %d+ (.*)$')
if tonumber(last) > tonumber(call) then return 0 end

redis.call('UNLINK', image)
local withdrawn = 0
local sequence, offset = string.match(last == call and reply or '', '^(%d+) .* (%d+)$')
if sequence then
  withdrawn = redis.call('ZREM', queue, string.format('%s:%s:%s-%d', sequence, offset, client, call))
  redis.call('HINCRBY', meta, 'taken', withdrawn) -- otherwise the image would count as expired
end
redis.call('HSET', meta, client, string.format('%d %s void', call, redis.call('TIME')[1]))
redis.call('PEXPIRE', meta, math.max(retention, redis.call('PTTL', meta)))
return withdrawn
