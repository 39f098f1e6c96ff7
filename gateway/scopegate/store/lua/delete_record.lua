#!lua flags=allow-oom
-- Deletes a record and its place in an index, and writes the audit entry of that. It needs little room, so a
-- server that is full does it too: rights can be taken away at any time. (Nothing at all can be queued for
-- MULTI there.)
-- KEYS: record, index, audit log, its bounds
-- ARGV: member of the index, bounds expected ('' for none), bounds after it, entries that stay (or ''), entry
-- Returns {'deleted'} | {'missing'} | {'moved'}
local bounds = redis.call('GET', KEYS[4]) or ''
if bounds == ARGV[3] then
  -- The client sends its command again where the connection broke before the answer.
  return {'deleted'}
end
if bounds ~= ARGV[2] then
  return {'moved'}
end
redis.call('LLEN', KEYS[3]) -- fails if it is no list, before anything is done
if redis.call('DEL', KEYS[1]) == 0 then
  redis.call('ZREM', KEYS[2], ARGV[1])
  return {'missing'}
end
redis.call('RPUSH', KEYS[3], ARGV[5])
if ARGV[4] ~= '' then
  redis.call('LTRIM', KEYS[3], -ARGV[4], -1)
end
redis.call('SET', KEYS[4], ARGV[3])
redis.call('ZREM', KEYS[2], ARGV[1])
return {'deleted'}
