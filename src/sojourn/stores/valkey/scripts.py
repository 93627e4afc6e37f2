"""What runs inside the server.  Each script is atomic: nothing else runs meanwhile.

A script gets the keys it must be sent to as ``KEYS``.  ``ARGV[1]`` is what the names of subject indexes begin
with, or empty on a Cluster, where the index lies on another node than the session and the caller writes it
first; ``ARGV[2]`` is what the names of sessions begin with.  Instants are milliseconds.

The index of a subject is a sorted set of its sessions' keys by the instant they expire.  Whoever adds an
entry or looks removes what has expired; whoever writes to it sets its time to live to that of its last entry.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

__all__ = [
    "CONFLICT",
    "CREATE",
    "DELETE",
    "DELETE_SUBJECT",
    "DONE",
    "FIND",
    "GONE",
    "INDEX",
    "INDEX_FIRST",
    "MOVE",
    "TAKEN",
    "TOUCH",
    "UPDATE",
    "UPDATE_APART",
    "Script",
]

#: What scripts answer.
DONE: Final = 1
GONE: Final = 0
CONFLICT: Final = -1
#: On a Cluster: the index entry ends before the session would; write it and come again.
INDEX_FIRST: Final = -2
TAKEN: Final = -3


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the digest the server knows it by."""

    text: bytes
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()
        object.__setattr__(self, "digest", digest)


# The places are those of item._HEAD, counted from 1: version 2-17, idle deadline 18-25, absolute deadline
# 26-33, indexed until 34-41, created at 42-49, length of the subject 50-51, its beginning 55.
#
# A server makes a script's functions anew each time it runs it, and Lua takes longer than the commands it
# calls: so each script has only the functions it needs, and what a save does most often is written out.

#: A head, the bytes after it, which as a rule are all of the subject, and what is in it.
_HEAD = b"""
local of, at = ARGV[1], ARGV[2]

local function head(key)
  local found = redis.call('GETRANGE', key, 0, 85)
  return #found >= 54 and found or nil
end

local function instant(text, place) return (struct.unpack('>i8', text, place)) end

local function whole(number) return string.format('%.0f', number) end

local function subject_in(key, found)
  local size = struct.unpack('>I2', found, 50)
  if size == 65535 then return nil end
  return size <= 32 and found:sub(55, 54 + size) or redis.call('GETRANGE', key, 54, 53 + size)
end

local function index_of(subject)
  return of .. subject:gsub(('.?'):rep(32), function(part)
    return ('%02x'):rep(#part):format(part:byte(1, -1))
  end)
end
"""

_INDEX = b"""
local function trim(index)
  local time = redis.call('TIME')
  redis.call('ZREMRANGEBYSCORE', index, '-inf', whole(time[1] * 1000 + math.floor(time[2] / 1000)))
end

local function enter(index, member, expires)
  if redis.call('ZADD', index, expires, member) == 1 then trim(index) end
  local last = redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')
  if last[1] == member then
    redis.call('PEXPIREAT', index, expires)
  elseif last[2] then
    redis.call('PEXPIREAT', index, whole(tonumber(last[2])))
  end
end
"""

_PUT = b"""
local function cap(index, kept, most)
  if redis.call('ZCARD', index) <= most then return end
  local others = {}
  for _, member in ipairs(redis.call('ZRANGE', index, 0, -1)) do
    local found = head(at .. member)
    local subject = found and subject_in(at .. member, found)
    if not subject or index_of(subject) ~= index then
      redis.call('ZREM', index, member)
    elseif member ~= kept then
      others[#others + 1] = {instant(found, 42), member}
    end
  end
  table.sort(others, function(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end)
  for place = 1, #others + 1 - most do
    redis.call('DEL', at .. others[place][2])
    redis.call('ZREM', index, others[place][2])
  end
end

local function put(key, value, expires, member, most, index)
  redis.call('SET', key, value, 'PXAT', expires)
  if index ~= '' then
    enter(index, member, expires)
    if most ~= '0' then cap(index, member, tonumber(most)) end
  end
end
"""

#: What a script begins with that is about a living session, and one that replaces it at the version expected.
_LIVING = b"""
local found = head(KEYS[1])
if not found then return 0 end
"""
_UNCHANGED = (
    _LIVING
    + b"""
if found:sub(2, 17) ~= ARGV[8] then return -1 end
local before = subject_in(KEYS[1], found)
"""
)


def _script(*texts: bytes) -> Script:
    return Script(b"".join(texts))


#: KEYS: the session.  ARGV 3: value, 4: expires, 5: member, 6: cap or 0, 7: the index of its subject, or
#: empty.  Only where one node has all keys: elsewhere, and for a session without subject, SET ... NX does.
CREATE: Final = _script(
    _HEAD,
    _INDEX,
    _PUT,
    b"""
if redis.call('EXISTS', KEYS[1]) == 1 then return -3 end
put(KEYS[1], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7])
return 1
""",
)

#: KEYS: the session.  ARGV as for CREATE and 8: the version expected.  Only where one node has all keys.
UPDATE: Final = _script(
    _HEAD,
    _INDEX,
    _PUT,
    _UNCHANGED,
    b"""
if before then
  local size = struct.unpack('>I2', ARGV[3], 50)
  if size == 65535 or before ~= ARGV[3]:sub(55, 54 + size) then
    redis.call('ZREM', index_of(before), ARGV[5])
  end
end
put(KEYS[1], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7])
return 1
""",
)

#: KEYS: the session.  ARGV 3: value, 4: expires, 5: the version expected.  On a Cluster.
UPDATE_APART: Final = _script(
    _HEAD,
    _LIVING,
    b"""
if found:sub(2, 17) ~= ARGV[5] then return -1 end
local value, expires = ARGV[3], tonumber(ARGV[4])
local size = struct.unpack('>I2', value, 50)
if size < 65535 and instant(value, 34) < expires then
  if value:sub(55, 54 + size) ~= subject_in(KEYS[1], found) or instant(found, 34) < expires then return -2 end
  value = value:sub(1, 33) .. found:sub(34, 41) .. value:sub(42)
end
redis.call('SET', KEYS[1], value, 'PXAT', ARGV[4])
return 1
""",
)

#: KEYS: the session.  ARGV 3: the idle deadline as in the head, 4: in digits, 5: member, 6: on a Cluster
#: until when the index entry lasts, as in the head, or empty.  Answers the subject if its index comes first.
TOUCH: Final = _script(
    _HEAD,
    _INDEX,
    _LIVING,
    b"""
local expires = whole(math.min(tonumber(ARGV[4]), instant(found, 26)))
local subject = subject_in(KEYS[1], found)
if of == '' and subject and instant(found, 34) < tonumber(expires) then
  if ARGV[6] == '' then return subject end
  redis.call('SETRANGE', KEYS[1], 33, ARGV[6])
end
redis.call('SETRANGE', KEYS[1], 17, ARGV[3])
redis.call('PEXPIREAT', KEYS[1], expires)
if of ~= '' and subject then enter(index_of(subject), ARGV[5], expires) end
return 1
""",
)

#: KEYS: the old session, the new one.  ARGV as for UPDATE and 9: the old member.  Only where one node has
#: both.
MOVE: Final = _script(
    _HEAD,
    _INDEX,
    _PUT,
    _UNCHANGED,
    b"""
if redis.call('EXISTS', KEYS[2]) == 1 then return -3 end
redis.call('DEL', KEYS[1])
if before then redis.call('ZREM', index_of(before), ARGV[9]) end
put(KEYS[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7])
return 1
""",
)

#: KEYS: the session.  ARGV 3: member, 4: the version expected, or empty, 5: whose it has to be, or empty.
DELETE: Final = _script(
    _HEAD,
    _LIVING,
    b"""
if ARGV[4] ~= '' and found:sub(2, 17) ~= ARGV[4] then return -1 end
local subject = subject_in(KEYS[1], found)
if ARGV[5] ~= '' and subject ~= ARGV[5] then return 0 end
redis.call('DEL', KEYS[1])
if of ~= '' and subject then redis.call('ZREM', index_of(subject), ARGV[3]) end
return 1
""",
)

#: KEYS: the index.  ARGV 3: member, 4: until when.  On a Cluster, before the session is written.
INDEX: Final = _script(
    _HEAD,
    _INDEX,
    b"""
enter(KEYS[1], ARGV[3], ARGV[4])
return 1
""",
)

#: KEYS: the index.  Answers its members; where one node has all keys, each followed by its session.
FIND: Final = _script(
    _HEAD,
    _INDEX,
    b"""
trim(KEYS[1])
local members = redis.call('ZRANGE', KEYS[1], 0, -1)
if of == '' then return members end
local living = {}
for _, member in ipairs(members) do
  local value = redis.call('GET', at .. member)
  if value then
    living[#living + 1] = member
    living[#living + 1] = value
  else
    redis.call('ZREM', KEYS[1], member)
  end
end
return living
""",
)

#: KEYS: the index.  ARGV 3: the member to keep, or empty.  Only where one node has all keys.
DELETE_SUBJECT: Final = _script(
    _HEAD,
    b"""
local ended = 0
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if member ~= ARGV[3] then
    local found = head(at .. member)
    local subject = found and subject_in(at .. member, found)
    if subject and index_of(subject) == KEYS[1] then
      ended = ended + redis.call('DEL', at .. member)
    end
    redis.call('ZREM', KEYS[1], member)
  end
end
return ended
""",
)
