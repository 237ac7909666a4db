-- SPDX-License-Identifier: MIT
--
-- redis: a Redis server that a spec plays: strings, numbers, hashes, lists, sets, sorted sets,
-- expiry by the virtual clock, MULTI, publish and subscribe. Scripts are functions that the spec
-- registers: EVAL of a text that nobody registered is an error, as is every command that is not
-- here.
--
--   local redis = t.redis("cache.test:6379")
--   redis.data["user:1"] = { value = "..." }      what is there
--   redis.commands                                { { "GET", "user:1" }, .. }: what came
--   redis:script("return redis.call(...)", function(call, keys, args) return .. end)
--   redis:fail("LOADING Redis is loading")        each command is answered by that; nil: no more

local keys = require("rproxy.test.redis_keys")

local OK, NULL, fail = keys.OK, keys.NULL, keys.fail
local sorted, whole = keys.sorted, keys.whole

local M = {}

local Server, Session = { entry = keys.entry, make = keys.make }, {}
Server.__index, Session.__index = Server, Session

local commands = {} -- NAME -> fn(server, args, session)
for name, fn in pairs(keys.commands) do commands[name] = fn end

-- ---------------------------------------------------------------- RESP

local QUEUED = { status = "QUEUED" }

local function encode(value)
    local kind = type(value)
    if value == nil or value == NULL then return "$-1\r\n" end
    if kind == "boolean" then return value and ":1\r\n" or ":0\r\n" end
    if kind == "number" then return (":%d\r\n"):format(value) end
    if kind == "string" then return ("$%d\r\n%s\r\n"):format(#value, value) end
    if value.err then return "-" .. value.err .. "\r\n" end
    if value.status then return "+" .. value.status .. "\r\n" end
    local out = { ("*%d\r\n"):format(value.n or #value) }
    for i = 1, value.n or #value do out[i + 1] = encode(value[i]) end
    return table.concat(out)
end

-- One command off the front: words, rest | nil
local function take_command(buf)
    local count, at = buf:match("^%*(%d+)\r\n()")
    if not count then
        local line, rest = buf:match("^([^*\r\n][^\r\n]*)\r\n()")
        if not line then return nil end
        local words = {}
        for word in line:gmatch("%S+") do words[#words + 1] = word end
        return words, buf:sub(rest)
    end
    local words = {}
    for i = 1, tonumber(count) do
        local n, from = buf:match("^%$(%d+)\r\n()", at)
        if not n or #buf < from + n + 1 then return nil end
        words[i], at = buf:sub(from, from + n - 1), from + n + 2
    end
    return words, buf:sub(at)
end

-- ---------------------------------------------------------------- the connection

function commands.PING(_, args) return args[1] or { status = "PONG" } end
function commands.ECHO(_, args) return args[1] end
function commands.SELECT() return OK end
function commands.AUTH(server, args)
    if not server.password then return OK end
    if args[#args] == server.password then return OK end
    return fail("WRONGPASS invalid username-password pair or user is disabled.")
end
function commands.CLIENT() return OK end
function commands.HELLO() return fail("ERR unknown command 'HELLO'") end
function commands.FLUSHALL(server) server:flush() return OK end
commands.FLUSHDB = commands.FLUSHALL

-- ---------------------------------------------------------------- scripts

local function words_from(args, from, n)
    local list = {}
    for i = 1, n do list[i] = args[from + i - 1] end
    return list
end

local function run_script(server, script, args)
    if not script then
        fail("NOSCRIPT No matching script. Register it: redis:script(text, function)")
    end
    local n = whole(args[2])
    local function call(...)
        local words = { ... }
        for i, word in ipairs(words) do words[i] = tostring(word) end
        return server:run(words)
    end
    return script(call, words_from(args, 3, n), words_from(args, 3 + n, #args - 2 - n))
end

function commands.EVAL(server, args) return run_script(server, server.scripts[args[1]], args) end
function commands.EVALSHA(server, args)
    return run_script(server, server.by_sha[args[1]:lower()], args)
end

function commands.SCRIPT(server, args)
    local what = args[1]:upper()
    if what == "LOAD" then
        local sha = server.sha_of(args[2])
        if not server.scripts[args[2]] then
            fail("ERR nobody registered this script: redis:script(text, function)")
        end
        return sha
    elseif what == "EXISTS" then
        local out = {}
        for i = 2, #args do out[i - 1] = server.by_sha[args[i]:lower()] and 1 or 0 end
        return out
    end
    return OK
end

--- What EVAL of this text does: fn(call, keys, args) -> value; call("GET", key).
function Server:script(text, fn)
    self.scripts[text] = fn
    self.by_sha[self.sha_of(text)] = fn
end

-- ---------------------------------------------------------------- publish and subscribe

function commands.PUBLISH(server, args)
    local n = 0
    for session in pairs(server.sessions) do
        if session.channels[args[1]] then
            n = n + 1
            session.conn:send(encode { "message", args[1], args[2] })
        end
    end
    return n
end

function commands.SUBSCRIBE(_, args, session)
    for _, channel in ipairs(args) do
        session.channels[channel] = true
        session.conn:send(encode { "subscribe", channel, #sorted(session.channels) })
    end
end

function commands.UNSUBSCRIBE(_, args, session)
    for _, channel in ipairs(args[1] and args or sorted(session.channels)) do
        session.channels[channel] = nil
        session.conn:send(encode { "unsubscribe", channel, #sorted(session.channels) })
    end
end

-- ---------------------------------------------------------------- transactions

function commands.MULTI(_, _, session)
    session.queue = {}
    return OK
end

function commands.DISCARD(_, _, session)
    session.queue = nil
    return OK
end

function commands.EXEC(server, _, session)
    local queue = session.queue or fail("ERR EXEC without MULTI")
    session.queue = nil
    local out = { n = #queue }
    for i, words in ipairs(queue) do out[i] = server:run(words, session) end
    return out
end

function commands.WATCH() return OK end
commands.UNWATCH = commands.WATCH

local NOT_QUEUED = { EXEC = true, DISCARD = true, MULTI = true, WATCH = true }

-- ---------------------------------------------------------------- the server

--- Run one command as if it came: { "GET", "a" }.
function Server:run(words, session)
    local name = words[1]:upper()
    local fn = commands[name]
    if not fn then
        return { err = ("ERR unknown command '%s' (the server of the test does not play it)")
            :format(words[1]) }
    end
    local args = {}
    for i = 2, #words do args[i - 1] = words[i] end
    local ran, value = pcall(fn, self, args, session)
    if ran then return value end
    if type(value) == "table" and value.err then return value end
    return { err = "ERR wrong arguments: " .. tostring(value) }
end

-- What a client says when it connects is no command that a test would look for.
local GREETING = { HELLO = true, AUTH = true, SELECT = true, CLIENT = true }

function Session:take(words)
    local server, name = self.server, words[1]:upper()
    if not GREETING[name] then table.insert(server.commands, words) end
    if server.failure then return self.conn:send(encode { err = server.failure }) end
    if name == "QUIT" then
        self.conn:send(encode(OK))
        return self.conn:close()
    end
    if self.queue and not NOT_QUEUED[name] then
        table.insert(self.queue, words)
        return self.conn:send(encode(QUEUED))
    end
    local value = server:run(words, self)
    local silent = name == "SUBSCRIBE" or name == "UNSUBSCRIBE"
    if not silent then self.conn:send(encode(value)) end
end

--- Each command is answered by this error from now on; nil: no more.
function Server:fail(text)
    self.failure = text
end

function Server:flush()
    for key in pairs(self.data) do self.data[key] = nil end
end

--- A value, as GET gives it; nil when it is not there.
function Server:get(key)
    local entry = self:entry(key)
    return entry and entry.value
end

local function sha1_of(text)
    local crypto = require("rproxy.crypto")
    return require("rproxy.text").hex(crypto.sha1(text))
end

--- @param clock table  rproxy.lab's
function M.new(clock)
    local server = setmetatable({ clock = clock, data = {}, commands = {}, scripts = {},
        by_sha = {}, sessions = {}, sha_of = sha1_of }, Server)
    server.handlers = {
        on_open = function(conn)
            conn.session = setmetatable({ server = server, conn = conn, channels = {}, buf = "" },
                Session)
            server.sessions[conn.session] = true
        end,
        on_data = function(conn, bytes)
            local session = conn.session
            session.buf = session.buf .. bytes
            while true do
                local words, rest = take_command(session.buf)
                if not words then return end
                session.buf = rest
                if words[1] then session:take(words) end
            end
        end,
        on_end = function(conn) server.sessions[conn.session] = nil end,
    }
    return server
end

return M
