#!lua
-- Creates a key if its tenant has room for it: quota, feature flag, creation and audit
-- entry are one step.
-- KEYS: record, index, flags, settings, expiries, idempotency (any name if there is none), audit log, its bounds
-- ARGV: id, record, now (ms), delete_at (ms or ''), expires_at (ms or ''), limit where no other is settled,
-- required flag (or ''), what is kept of the creation (or ''), for how long (ms),
-- bounds of the log expected ('' for none), bounds after it, entries that stay (or ''), entry (none: a dry run)
-- The first line has a server that is full refuse all of it, and not by which of its commands is the first.
-- Returns {'created'} | {'repeated', what was kept} | {'limit', used, limit} | {'flag_off'} | {'exists'} | {'moved'}
local present = redis.call('GET', KEYS[1])
if present == ARGV[2] then
  -- The client sends its command again where the connection broke before the answer.
  return {'created'}
end
if ARGV[8] ~= '' then
  local before = redis.call('GET', KEYS[6])
  if before then
    return {'repeated', before}
  end
end
if ARGV[7] ~= '' and redis.call('HGET', KEYS[3], ARGV[7]) ~= 'on' then
  return {'flag_off'}
end
local limit = tonumber(ARGV[6])
local settings = redis.call('GET', KEYS[4])
if settings then
  limit = cjson.decode(settings).key_limit -- what is no number fails in the comparison
end
-- A key past its deletion counts no longer, but its place stays until the deletion is entered.
local used = redis.call('ZCOUNT', KEYS[2], '(' .. ARGV[3], '+inf')
if used >= limit then
  return {'limit', used, limit}
end
if present then
  return {'exists'}
end
if (redis.call('GET', KEYS[8]) or '') ~= ARGV[10] then
  return {'moved'}
end
if not ARGV[13] then
  return {'created'}
end
redis.call('RPUSH', KEYS[7], ARGV[13]) -- first, for it fails if that is no list
if ARGV[12] ~= '' then
  redis.call('LTRIM', KEYS[7], -ARGV[12], -1)
end
redis.call('SET', KEYS[8], ARGV[11])
redis.call('SET', KEYS[1], ARGV[2])
if ARGV[4] ~= '' then
  redis.call('PEXPIREAT', KEYS[1], ARGV[4])
end
redis.call('ZADD', KEYS[2], ARGV[4] ~= '' and ARGV[4] or '+inf', ARGV[1])
if ARGV[5] ~= '' then
  redis.call('ZADD', KEYS[5], ARGV[5], ARGV[1])
end
if ARGV[8] ~= '' then
  redis.call('SET', KEYS[6], ARGV[8], 'PX', ARGV[9])
end
return {'created'}
