"""Lua scripts that Redis runs atomically; `bundle.events.records` describes keys and values."""

# The event is written before its key: a write that is interrupted may be repeated, but not lost.
# The mark of an erased user does not expire: the bundle's row would count again.
ADD_EVENT = """
local log, user, once = KEYS[1], KEYS[2], KEYS[3]
local line, longest, recent, mark, ttl = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
if once and redis.call('EXISTS', once) == 1 then return 0 end
redis.call('XADD', log, '*', unpack(ARGV, 7))
local length = redis.call('APPEND', user, line)
local erased = redis.call('GETRANGE', user, 0, #mark - 1) == mark
if math.floor(length / longest) > math.floor((length - #line) / longest) then
  local lines, ends = redis.call('GET', user), {}
  for place in string.gmatch(lines, '()\\n') do ends[#ends + 1] = place end
  if #ends > recent + 1 then
    lines = string.sub(lines, ends[#ends - recent] + 1)
    redis.call('SET', user, (erased and mark or '') .. lines)
  end
end
if not erased then redis.call('EXPIRE', user, ttl) end
if once then redis.call('SET', once, '', 'EX', ARGV[6]) end
return 1
"""
# Returns the newest entry of the log, or an empty text: later ones are not part of the erasure.
ERASE_RECENT = """
redis.call('SET', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3], KEYS[4])
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
return newest[1] and newest[1][1] or ''
"""
# Numbers are µs since 1970, or the previous one plus 1. So they stay above all known numbers even
# if Redis loses its data, or a replica that lagged behind takes over.
ADD_CHANGES = """
local now, newest = redis.call('TIME'), redis.call('GET', KEYS[2])
local number = math.max(now[1] * 1000000 + now[2], tonumber(newest or '0'))
if not newest then redis.call('SET', KEYS[1], string.format('%.0f', number)) end
redis.call('SET', KEYS[2], string.format('%.0f', number + #ARGV / 2))
for i = 1, #ARGV, 2 do
  number = number + 1
  redis.call('ZADD', KEYS[3], string.format('%.0f', number), ARGV[i])
  redis.call('HSET', KEYS[4], ARGV[i], ARGV[i + 1])
end
return 1
"""
READ_CHANGES = """
local began, newest = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])
local after, lost = ARGV[1], 0
if newest and after ~= '0' then
  if tonumber(began) > tonumber(after) or tonumber(newest) < tonumber(after) then
    after, lost = '0', 1
  end
end
local found = redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. after, '+inf', 'WITHSCORES',
                         'LIMIT', 0, ARGV[2])
local notes = {}
for i = 1, #found, 2 do
  notes[#notes + 1] = {found[i], found[i + 1], redis.call('HGET', KEYS[4], found[i])}
end
return {lost, notes}
"""
# Keys are three for each impression: the user's recent events, impressions, and outcomes. Nothing
# is kept of users who were erased: a record that waited may be older than the erasure. The first
# exposure of a day removes what is too old.
ADD_IMPRESSIONS = """
local mark, most, keep, results, oldest = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
for i = 1, #KEYS / 3 do
  local shown, outcomes = KEYS[3 * i - 1], KEYS[3 * i]
  local body, exposure = ARGV[4 + 2 * i], ARGV[5 + 2 * i]
  if redis.call('GETRANGE', KEYS[3 * i - 2], 0, #mark - 1) ~= mark then
    redis.call('LPUSH', shown, body)
    redis.call('LTRIM', shown, 0, most - 1)
    redis.call('EXPIRE', shown, keep)
    if exposure ~= '' then
      if redis.call('HINCRBY', outcomes, exposure, 1) == 1 then
        for _, field in ipairs(redis.call('HKEYS', outcomes)) do
          if tonumber(string.match(field, '%d+')) < oldest then
            redis.call('HDEL', outcomes, field)
          end
        end
      end
      redis.call('EXPIRE', outcomes, results)
    end
  end
end
return #KEYS / 3
"""
ADD_OUTCOME = """
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) == ARGV[1] then return 0 end
local new = redis.call('HSETNX', KEYS[2], ARGV[2], 1)
redis.call('EXPIRE', KEYS[2], ARGV[3])
return new
"""
