#!lua flags=no-writes
-- Some users, by id, in one string: a client takes a long time to read many strings.
-- KEYS: index of the users
-- ARGV: where to begin (as ZRANGE BYLEX has it), users at most, what the names of the records begin with
-- The records are of the index's hash tag, so they lie where it does.
-- Returns {last id (''), users looked at, a JSON array of the records that are there}
local ids = redis.call('ZRANGE', KEYS[1], ARGV[1], '+', 'BYLEX', 'LIMIT', 0, ARGV[2])
if #ids == 0 then
  return {'', 0, '[]'}
end
local names = {}
for place, id in ipairs(ids) do
  names[place] = ARGV[3] .. id
end
local found = {}
for _, record in ipairs(redis.call('MGET', unpack(names))) do
  if record then
    found[#found + 1] = record
  end
end
return {ids[#ids], #ids, '[' .. table.concat(found, ',') .. ']'}
