-- SPDX-License-Identifier: MIT
--
-- command: what must be known of Redis commands: which of them cannot share a connection, which
-- wait, and where the first key stands. A command is a list: its name in capitals, its arguments.

local M = {}

local function set(names)
    local out = {}
    for name in names:gmatch("%S+") do out[name] = true end
    return out
end

-- They change the connection for whoever comes next, or send more than one answer.
local STATEFUL = set [[AUTH HELLO SELECT RESET QUIT MONITOR MULTI EXEC DISCARD WATCH UNWATCH
    SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE SYNC PSYNC ASKING
    READONLY READWRITE REPLCONF]]
local STATEFUL_CLIENT = set "REPLY TRACKING CACHING NO-EVICT NO-TOUCH"

--- Why it cannot be sent on a connection that others use, too; nil: it can.
function M.refusal(args)
    local name = args[1]
    if name == "CLIENT" and STATEFUL_CLIENT[tostring(args[2]):upper()] then
        return "changes the connection: use session"
    end
    if not STATEFUL[name] then return nil end
    if name:find("SUBSCRIBE", 1, true) then return "is not a command here: use subscribe" end
    if name == "MULTI" or name == "EXEC" then return "needs session, or transaction" end
    return "changes the connection: use session"
end

-- Where the seconds to wait stand: position in the list, -1: last.
local WAITS = { BLPOP = -1, BRPOP = -1, BRPOPLPUSH = -1, BLMOVE = -1, BZPOPMIN = -1, BZPOPMAX = -1,
    BLMPOP = 2, BZMPOP = 2 }
local WAITS_MS = { WAIT = -1, WAITAOF = -1 }

local function number_at(args, n, at)
    return tonumber(args[at < 0 and n + 1 + at or at])
end

local function block_of(args, n)
    for i = 2, n - 1 do
        local word = tostring(args[i]):upper()
        if word == "BLOCK" then return tonumber(args[i + 1]) end
        if word == "STREAMS" then return nil end
    end
    return nil
end

--- Seconds that the command itself may wait (math.huge: without end); nil: it does not.
function M.waits(args, n)
    local name = args[1]
    local seconds
    if WAITS[name] then
        seconds = number_at(args, n, WAITS[name]) or 0
    elseif WAITS_MS[name] then
        seconds = (number_at(args, n, WAITS_MS[name]) or 0) / 1000
    elseif name == "XREAD" or name == "XREADGROUP" then
        local ms = block_of(args, n)
        if not ms then return nil end
        seconds = ms / 1000
    else
        return nil
    end
    return seconds > 0 and seconds or math.huge
end

-- ---------------------------------------------------------------- keys

local NO_KEY = set [[ACL BGREWRITEAOF BGSAVE CLIENT CLUSTER COMMAND CONFIG DBSIZE ECHO FAILOVER
    FLUSHALL FLUSHDB FUNCTION INFO KEYS LASTSAVE LATENCY LOLWUT MODULE PING PUBLISH PUBSUB RANDOMKEY
    ROLE SAVE SCAN SCRIPT SHUTDOWN SLOWLOG SWAPDB TIME WAIT WAITAOF]]
local SECOND = set "OBJECT MEMORY XINFO XGROUP BITOP DEBUG" -- a word stands before the key
-- Position of the number of keys, which follow it.
local COUNTED = { EVAL = 3, EVALSHA = 3, EVAL_RO = 3, EVALSHA_RO = 3, FCALL = 3, FCALL_RO = 3,
    ZUNION = 2, ZINTER = 2, ZDIFF = 2, ZINTERCARD = 2, SINTERCARD = 2, LMPOP = 2, ZMPOP = 2,
    BLMPOP = 3, BZMPOP = 3 }

--- The first key of a command, which says where in a cluster it belongs; nil: it has none.
function M.key(args, n)
    local name = args[1]
    if NO_KEY[name] then return nil end
    local at = SECOND[name] and 3 or 2
    local count_at = COUNTED[name]
    if count_at then
        if (tonumber(args[count_at]) or 0) < 1 then return nil end
        at = count_at + 1
    elseif name == "XREAD" or name == "XREADGROUP" then
        for i = 2, n - 1 do
            if tostring(args[i]):upper() == "STREAMS" then at = i + 1 end
        end
    elseif name == "MIGRATE" then
        at = 4
    end
    local key = args[at]
    return key ~= nil and tostring(key) or nil
end

-- ---------------------------------------------------------------- slots

local CRC = {}
for i = 0, 255 do
    local crc = i * 256
    for _ = 1, 8 do
        crc = crc * 2
        if crc >= 65536 then crc = bit.bxor(crc % 65536, 0x1021) end
    end
    CRC[i] = crc
end

local function crc16(text)
    local crc = 0
    for i = 1, #text do
        local at = bit.bxor(bit.rshift(crc, 8), text:byte(i))
        crc = bit.bxor(bit.band(bit.lshift(crc, 8), 0xffff), CRC[at])
    end
    return crc
end

--- The slot of a key, 0 to 16383. What stands between the first "{" and the next "}" decides alone,
--- unless it is nothing.
function M.slot(key)
    local from = key:find("{", 1, true)
    local to = from and key:find("}", from + 1, true)
    if to and to > from + 1 then key = key:sub(from + 1, to - 1) end
    return crc16(key) % 16384
end

return M
