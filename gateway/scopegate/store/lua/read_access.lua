#!lua flags=no-writes
-- One snapshot of what decides about a user: the user, the roles of the user's groups, the
-- privileges of all those roles, and the catalogue where the caller does not have it yet.
-- KEYS: user, groups, roles, catalogue
-- ARGV: digest of the catalogue that the caller has (or '')
-- Returns {user or false, {group, roles, ...}, {role, privileges, ...}, catalogue or false, digest}
local catalogue = redis.call('GET', KEYS[4]) or ''
local digest = redis.sha1hex(catalogue)
local unknown = digest ~= ARGV[1] and catalogue
local user = redis.call('GET', KEYS[1])
if not user then
  return {false, {}, {}, unknown, digest}
end
local person = cjson.decode(user)
local groups, roles = {}, {}
local wanted = person.roles or {}
for _, group in ipairs(person.groups or {}) do
  local held = redis.call('HGET', KEYS[2], group)
  if held then
    groups[#groups + 1] = group
    groups[#groups + 1] = held
    for _, role in ipairs(cjson.decode(held)) do
      wanted[#wanted + 1] = role
    end
  end
end
for _, role in ipairs(wanted) do
  local privileges = redis.call('HGET', KEYS[3], role)
  if privileges then
    roles[#roles + 1] = role
    roles[#roles + 1] = privileges
  end
end
return {user, groups, roles, unknown, digest}
