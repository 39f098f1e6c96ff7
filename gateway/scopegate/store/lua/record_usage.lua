#!lua
-- Adds what a recorder has counted of one tenant, once: a batch that comes again changes nothing. Counts are
-- added up, and a last use never goes back, in whatever order the recorders come.
-- KEYS: last batch of the recorder, last uses, what was missed, then counts of a key on a day, as many as there are
-- ARGV: number of the batch, seconds for which it is remembered, seconds for which counts are kept,
-- before when last uses are forgotten (ms), requests that were missed, until when (ms), number of last uses,
-- then each of these as (who, ms), then each count as (place in KEYS, field, requests)
-- Returns 'added' | 'known'
local before = redis.call('GET', KEYS[1])
if before and tonumber(before) >= tonumber(ARGV[1]) then
  return 'known'
end
redis.call('ZCARD', KEYS[2]) -- each of these fails if the name is of another type, before anything is done
for place = 3, #KEYS do
  redis.call('HLEN', KEYS[place])
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
local at = 8
for _ = 1, tonumber(ARGV[7]) do
  redis.call('ZADD', KEYS[2], 'GT', ARGV[at + 1], ARGV[at])
  at = at + 2
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. ARGV[4])
if ARGV[5] ~= '0' then
  redis.call('HINCRBY', KEYS[3], 'requests', ARGV[5])
  if tonumber(redis.call('HGET', KEYS[3], 'until') or 0) < tonumber(ARGV[6]) then
    redis.call('HSET', KEYS[3], 'until', ARGV[6])
  end
end
while ARGV[at] do
  redis.call('HINCRBY', KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2])
  at = at + 3
end
for place = 4, #KEYS do
  redis.call('EXPIRE', KEYS[place], ARGV[3])
end
return 'added'
