#!lua flags=allow-oom
-- Deletes a record and its places in indexes, and writes the audit entry of that. It needs little room, so a
-- server that is full does it too: rights can be taken away at any time. (Nothing at all can be queued for
-- MULTI there.)
-- KEYS: record, a hash of names or the record again, indexes (one or more), audit log, its bounds
-- ARGV: member of the indexes, name in the hash (goes if it names the member), now (ms; '' if the indexes have no
-- times), bounds expected ('' for none), bounds after it, entries that stay (or ''), entry (none: a dry run)
-- What Redis has deleted by its own clock keeps its places: the sweep enters that.
-- Returns {'deleted'} | {'missing'} | {'moved'}
local bounds_name, log = KEYS[#KEYS], KEYS[#KEYS - 1]
local bounds = redis.call('GET', bounds_name) or ''
if bounds == ARGV[5] then
  -- The client sends its command again where the connection broke before the answer.
  return {'deleted'}
end
if bounds ~= ARGV[4] then
  return {'moved'}
end
redis.call('LLEN', log) -- fails if it is no list, before anything is done
if not ARGV[7] then
  return {redis.pcall('GET', KEYS[1]) and 'deleted' or 'missing'} -- what is of another type is there as well
end
local existed = redis.call('DEL', KEYS[1]) == 1
if not existed and ARGV[3] ~= '' then
  local due = redis.call('ZSCORE', KEYS[3], ARGV[1])
  if due and tonumber(due) <= tonumber(ARGV[3]) then
    return {'missing'}
  end
end
if KEYS[2] ~= KEYS[1] and redis.pcall('HGET', KEYS[2], ARGV[2]) == ARGV[1] then
  redis.call('HDEL', KEYS[2], ARGV[2])
end
for index = 3, #KEYS - 2 do
  redis.call('ZREM', KEYS[index], ARGV[1])
end
if not existed then
  return {'missing'}
end
redis.call('RPUSH', log, ARGV[7])
if ARGV[6] ~= '' then
  redis.call('LTRIM', log, -ARGV[6], -1)
end
redis.call('SET', bounds_name, ARGV[5])
return {'deleted'}
