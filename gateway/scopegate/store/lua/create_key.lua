#!lua
-- Creates a key if its tenant has room for it: quota, feature flag, creation and audit
-- entry are one step.
-- KEYS: record, index, flags, audit log, its bounds
-- ARGV: id, record, now (ms), delete_at (ms or ''), limit, required flag (or ''),
-- bounds of the log expected ('' for none), bounds after it, entries that stay (or ''), entry
-- The first line has a server that is full refuse all of it, and not by which of its commands is the first.
-- Returns {'created'} | {'limit', used} | {'flag_off'} | {'exists'} | {'moved'}
local present = redis.call('GET', KEYS[1])
if present == ARGV[2] then
  -- The client sends its command again where the connection broke before the answer.
  return {'created'}
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[3])
if ARGV[6] ~= '' and redis.call('HGET', KEYS[3], ARGV[6]) ~= 'on' then
  return {'flag_off'}
end
local used = redis.call('ZCARD', KEYS[2])
if used >= tonumber(ARGV[5]) then
  return {'limit', used}
end
if present then
  return {'exists'}
end
if (redis.call('GET', KEYS[5]) or '') ~= ARGV[7] then
  return {'moved'}
end
redis.call('RPUSH', KEYS[4], ARGV[10]) -- first, for it fails if that is no list
if ARGV[9] ~= '' then
  redis.call('LTRIM', KEYS[4], -ARGV[9], -1)
end
redis.call('SET', KEYS[5], ARGV[8])
redis.call('SET', KEYS[1], ARGV[2])
if ARGV[4] ~= '' then
  redis.call('PEXPIREAT', KEYS[1], ARGV[4])
end
redis.call('ZADD', KEYS[2], ARGV[4] ~= '' and ARGV[4] or '+inf', ARGV[1])
return {'created'}
