--[[
withdraw.lua: withdraw a push whose outcome is not known, or keep it from running late.

After this the image is not in the queue and never will be, unless a consumer
took it first.

KEYS[1]  queue   zset    is:{b}:queue:<session>  <sequence>:<before>:<id>, scored by arrival (Unix us)
KEYS[2]  meta    hash    is:{b}:meta:<session>   popped: images; <caller>: "<call> <second> <answer>" of its last call
KEYS[3]  image   string  is:{b}:image:<id>       the bytes; id: <caller>-<call>

ARGV[1]  caller  text
ARGV[2]  call    number of the push
ARGV[3]  memory  ms  the meta hash is kept, at least

Returns  1  the image was withdrawn from the queue
         0  it was not there

Cost     O(log n).
]]

local queue, meta, image = KEYS[1], KEYS[2], KEYS[3]
local caller, call, memory = ARGV[1], ARGV[2], ARGV[3]

local last, answer = string.match(redis.call('HGET', meta, caller) or '0 0 ', '^(%d+) %d+ (.*)$')
if tonumber(last) > tonumber(call) then return 0 end

redis.call('UNLINK', image)
local withdrawn = 0
local sequence, before = string.match(last == call and answer or '', '^(%d+) .* (%d+)$')
if sequence then
  withdrawn = redis.call('ZREM', queue, string.format('%s:%s:%s-%d', sequence, before, caller, call))
  redis.call('HINCRBY', meta, 'popped', withdrawn) -- as if it was taken: it did not expire
end
redis.call('HSET', meta, caller, string.format('%d %s void', call, redis.call('TIME')[1]))
redis.call('PEXPIRE', meta, math.max(memory, redis.call('PTTL', meta)))
return withdrawn
