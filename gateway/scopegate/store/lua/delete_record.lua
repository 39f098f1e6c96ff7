#!lua flags=allow-oom
-- Deletes a record and its place in an index. It needs no room, so a server that is full does it too:
-- rights can be taken away at any time. (Nothing at all can be queued for MULTI there.)
-- KEYS: record, index
-- ARGV: member of the index
-- Returns how many records there were, 1 or 0
local deleted = redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return deleted
