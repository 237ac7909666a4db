-- SPDX-License-Identifier: MIT
--
-- redis: rp.redis: a client of Redis, of what sentinels call the master, or of a cluster.
--
-- A client is safe to keep and to use from any number of requests at once: commands of all of them
-- go over a few shared connections (redis/link.lua). Results: what Redis sent, nil for null
-- (rp.null within lists). Failures: nil, code, detail: the first word of an error that Redis sent
-- ("WRONGTYPE") or, in lower case, what became of the connection: "timeout", "connect", "closed",
-- "protocol", "busy".

local command = require("rproxy.redis.command")
local grant = require("rproxy.grant")
local cluster = require("rproxy.redis.cluster")
local crypto = require("rproxy.crypto")
local link = require("rproxy.redis.link")
local node = require("rproxy.redis.node")
local null = require("rproxy.json").null
local object = require("rproxy.object")
local options = require("rproxy.opts")
local resp = require("rproxy.redis.resp")
local sentinel = require("rproxy.redis.sentinel")
local service = require("rproxy.service")
local tls = require("rproxy.tls")

local raise = object.raise

local M = {}

local OPTIONS = {
    host = "string", port = "port", unix = "string", tls = "any", username = "string",
    password = "string", db = "whole", timeout = { "seconds", 5 }, pool = { "count", 2 },
    waiting = { "count", 10000 }, max_reply = { "count", resp.BYTES_MOST }, protocol = "count",
    sentinels = "table", master = "string", sentinel_username = "string",
    sentinel_password = "string", cluster = "table",
}
local POOL_MOST = 64
local FOREVER = 86400 -- seconds a command that waits without end may take in one go

-- ---------------------------------------------------------------- commands as units

local function check_words(n, words)
    local bytes, at = resp.command(n, words)
    if bytes then return bytes end
    return raise("redis: argument %d of %s is a %s, not a string or a number", at - 1,
        tostring(words[1]), words[at] == null and "null" or type(words[at]))
end

-- { bytes, n, key, words }: one command. `own`: on a connection of its own everything is allowed.
local function unit_of(own, name, ...)
    if type(name) ~= "string" or name == "" then raise("redis: a command's name is a string") end
    local n, words = select("#", ...) + 1, { name:upper(), ... }
    if not own then
        local why = command.refusal(words)
        if why then raise("redis: %s %s", words[1], why) end
    end
    return { bytes = check_words(n, words), n = 1, key = command.key(words, n), words = words,
        words_n = n }
end

-- One reply as a result.
local function result(reply)
    if reply == null then return nil end
    if resp.is_failure(reply) then return nil, reply.err, reply.detail end
    return reply
end

-- Of a unit of one command.
local function first_result(replies)
    if resp.is_failure(replies) then return nil, replies.err, replies.detail end
    return result(replies[1])
end

local METHODS_MOST = 1000 -- kept; the names could come from a request
local methods_n = 0

-- Names of methods are commands: made once each.
local function command_method(made, name)
    if type(name) ~= "string" or not name:find("^%a[%w_.%-]*$") then return nil end
    local function method(self, ...) return self:call(name, ...) end
    methods_n = methods_n + 1
    if methods_n <= METHODS_MOST then made[name] = method end
    return method
end

local function class(methods)
    return { __index = setmetatable(methods, { __index = command_method }) }
end

-- ---------------------------------------------------------------- pipelines

local Pipeline = {}
local PIPELINE = class(Pipeline)

function Pipeline:call(...)
    local units = rawget(self, "units")
    local unit = unit_of(false, ...)
    if command.waits(unit.words, unit.words_n) then
        raise("redis: %s would hold up everything behind it", unit.words[1])
    end
    units[#units + 1] = unit
    return #units
end

local function gather(what, fn)
    if type(fn) ~= "function" then raise("%s takes a function", what) end
    local p = setmetatable({ units = {} }, PIPELINE)
    fn(p)
    return rawget(p, "units")
end

-- MULTI .. EXEC as one unit, so that nothing comes between.
local function transaction_unit(units)
    local parts, key = { check_words(1, { "MULTI" }) }, nil
    for i, unit in ipairs(units) do
        parts[i + 1] = unit.bytes
        key = key or unit.key
    end
    parts[#parts + 1] = check_words(1, { "EXEC" })
    return { bytes = table.concat(parts), n = #units + 2, key = key }
end

local function transaction_result(replies)
    if resp.is_failure(replies) then return nil, replies.err, replies.detail end
    local last = replies[#replies]
    if resp.is_failure(last) then
        for i = 2, #replies - 1 do -- the first one refused says more than EXECABORT
            if resp.is_failure(replies[i]) then
                return nil, last.err, replies[i].detail
            end
        end
        return nil, last.err, last.detail
    end
    if last == null then return nil, "aborted", "a watched key has changed" end
    return last
end

-- ---------------------------------------------------------------- a connection of one's own

local Session = {}
local SESSION = class(Session)

--- Any command, also those that change the connection.
--- yields: yes
function Session:call(...)
    local unit = unit_of(true, ...)
    if unit.words[1]:find("SUBSCRIBE", 1, true) then raise("redis: use subscribe") end
    local waits = command.waits(unit.words, unit.words_n)
    local replies, code, detail = self.own:call(unit.bytes, 1,
        waits and math.min(waits + self.timeout, FOREVER))
    if not replies then return nil, code, detail end
    return result(replies[1])
end

--- MULTI, the commands that fn makes, EXEC. nil, "aborted": a watched key has changed.
--- yields: yes
function Session:transaction(fn)
    local unit = transaction_unit(gather("transaction", fn))
    local replies, code, detail = self.own:call(unit.bytes, unit.n)
    if not replies then return nil, code, detail end
    return transaction_result(replies)
end

-- ---------------------------------------------------------------- subscriptions

local Subscription = {}
Subscription.__index = Subscription

local MESSAGES = { message = 3, smessage = 3, pmessage = 4 } -- and how long they are

local function is_message(value)
    return type(value) == "table" and MESSAGES[value[1]]
end

--- The next message.
--- yields: yes
--- @param seconds number|nil  to wait; nil: as long as it takes
--- @return string|nil channel, string text, string|nil pattern  nil, code, detail: "timeout" leaves
---   the subscription as it is, all else is its end: messages may have been missed
function Subscription:next(seconds)
    local deadline = seconds and service.now() + seconds
    while true do
        local left = deadline and math.max(deadline - service.now(), 0.001)
        local value, code, detail = table.remove(self.early, 1), nil, nil
        if value == nil then value, code, detail = self.own:take(left) end
        if value == nil then return nil, code, detail end
        local n = is_message(value)
        if n == 3 then return value[2], value[3] end
        if n == 4 then return value[3], value[4], value[2] end
    end
end

Subscription.__call = function(self)
    local channel, text, pattern = self:next()
    if channel == nil then return nil end
    return channel, text, pattern
end

function Subscription:close()
    self.own:close()
end

-- ---------------------------------------------------------------- scripts

local Script = {}
Script.__index = Script

local function script_words(name, text, keys, args)
    local words = { name, text, #keys }
    for _, key in ipairs(keys) do words[#words + 1] = key end
    for _, arg in ipairs(args) do words[#words + 1] = arg end
    return words
end

--- Run it: by its digest, and by its text where the server does not know it yet.
--- yields: yes
--- @param keys table|nil  list
--- @param args table|nil  list
function Script:run(keys, args)
    keys, args = keys or {}, args or {}
    if type(keys) ~= "table" or type(args) ~= "table" then
        raise("run takes a list of keys and a list of arguments")
    end
    local words = script_words("EVALSHA", self.digest, keys, args)
    local value, code, detail = self.client:call(unpack(words, 1, #words))
    if code ~= "NOSCRIPT" then return value, code, detail end
    words = script_words("EVAL", self.source, keys, args)
    return self.client:call(unpack(words, 1, #words))
end

-- ---------------------------------------------------------------- the client

local Client = {}
local CLIENT = class(Client)

local function open_own(self, key)
    local opts, code, detail = self.route:options_for(key)
    if not opts then return nil, code, detail end
    return link.own(opts)
end

local function call_blocking(self, unit, seconds)
    local own, code, detail = open_own(self, unit.key)
    if not own then return nil, code, detail end
    local replies
    replies, code, detail = own:call(unit.bytes, 1, math.min(seconds + self.opts.timeout, FOREVER))
    own:close()
    if not replies then return nil, code, detail end
    return result(replies[1])
end

--- Send a command. client:get("k") is client:call("get", "k").
--- phases: all   yields: yes
--- @return any|nil value, string|nil code, string|nil detail
function Client:call(...)
    local unit = unit_of(false, ...)
    local seconds = command.waits(unit.words, unit.words_n)
    if seconds then return call_blocking(self, unit, seconds) end
    local replies, code, detail = self.route:run({ unit })
    if not replies then return nil, code, detail end
    return first_result(replies[1])
end

--- Send the commands that fn(p) makes (p:get("k"), ..) at once.
--- phases: all   yields: yes
--- @return table|nil results  one for each: a value, rp.null, or { err =, detail = }
--- @return string|nil code, string|nil detail
function Client:pipeline(fn)
    local units = gather("pipeline", fn)
    if #units == 0 then return {} end
    local replies, code, detail = self.route:run(units)
    if not replies then return nil, code, detail end
    local out = {}
    for i, mine in ipairs(replies) do
        if resp.is_failure(mine) then out[i] = mine else out[i] = mine[1] end
    end
    return out
end

--- The same between MULTI and EXEC: all or none of them, and nothing in between.
--- phases: all   yields: yes
--- @return table|nil results, string|nil code, string|nil detail
function Client:transaction(fn)
    local unit = transaction_unit(gather("transaction", fn))
    local replies, code, detail = self.route:run({ unit })
    if not replies then return nil, code, detail end
    return transaction_result(replies[1])
end

--- A script of the server, sent once.
--- @param source string
--- @return table script  script:run(keys, args)
function Client:script(source)
    if type(source) ~= "string" then raise("script takes the text of a script") end
    local digest = crypto.sha1(source):gsub(".", function(c) return ("%02x"):format(c:byte()) end)
    return setmetatable({ client = self, source = source, digest = digest }, Script)
end

--- Have a connection of one's own for fn(session): WATCH, SELECT, commands that wait.
--- phases: all   yields: yes
--- @param key string|nil  of a cluster: the node that has it
--- @return any ...  what fn returns; nil, code, detail when there is no connection
function Client:session(fn, key)
    if type(fn) ~= "function" then raise("session takes a function") end
    local own, code, detail = open_own(self, key)
    if not own then return nil, code, detail end
    local session = setmetatable({ own = own, timeout = self.opts.timeout }, SESSION)
    local function close(ok, ...)
        own:close()
        if not ok then error((...), 0) end
        return ...
    end
    return close(pcall(fn, session))
end

local function subscribe(self, name, key, ...)
    local n = select("#", ...)
    if n == 0 then raise("%s takes names of channels", name:lower()) end
    local own, code, detail = open_own(self, key)
    if not own then return nil, code, detail end
    local ok
    ok, code, detail = own:send(check_words(n + 1, { name, ... }))
    if not ok then return nil, code, detail end
    local early, confirmed = {}, 0
    while confirmed < n do -- one confirmation, or an error, for each; messages may come between
        local value
        value, code, detail = own:take(self.opts.timeout)
        if value == nil or resp.is_failure(value) then
            own:close()
            if value == nil then return nil, code, detail end
            return nil, value.err, value.detail
        end
        if is_message(value) then early[#early + 1] = value
        else confirmed = confirmed + 1 end
    end
    return setmetatable({ own = own, early = early }, Subscription)
end

--- Listen to channels: for channel, text in client:subscribe("a", "b") do .. end
--- phases: all   yields: yes
--- @return table|nil subscription, string|nil code, string|nil detail
function Client:subscribe(...)
    return subscribe(self, "SUBSCRIBE", nil, ...)
end

--- The same by patterns; the pattern is the third value.
--- @return table|nil subscription, string|nil code, string|nil detail
function Client:psubscribe(...)
    return subscribe(self, "PSUBSCRIBE", nil, ...)
end

--- Sharded channels of a cluster: those of one slot.
--- @return table|nil subscription, string|nil code, string|nil detail
function Client:ssubscribe(...)
    return subscribe(self, "SSUBSCRIBE", tostring((...)), ...)
end

--- { connections =, waiting = commands, connects = so far }, of this worker.
function Client:stats()
    local out = { connections = 0, waiting = 0, connects = 0 }
    self.route:count(out)
    return out
end

--- Close its connections once nothing waits on them. They come back when it is used.
function Client:close()
    self.route:close()
end

-- ---------------------------------------------------------------- making

-- "host:port" or "[::1]:port", with a port unless one is usual.
local function address(what, text, port)
    if type(text) ~= "string" then raise("redis: %s has addresses as strings", what) end
    local host, given = text:match("^%[(.-)%]:(%d+)$")
    if not host then host, given = text:match("^([^:]+):(%d+)$") end
    if not host and not text:find(":", 1, true) then host, given = text, port end
    given = tonumber(given)
    if not host or host == "" or not given or given < 1 or given > 65535 then
        raise('redis: %q in %s is not "host:port"', text, what)
    end
    return { host = host, port = given }
end

local function addresses(what, list, port)
    if #list == 0 then raise("redis: %s is empty", what) end
    local out = {}
    for i, text in ipairs(list) do out[i] = address(what, text, port) end
    return out
end

local function route_of(opts)
    local ways = (opts.host and 1 or 0) + (opts.unix and 1 or 0) + (opts.sentinels and 1 or 0)
        + (opts.cluster and 1 or 0)
    if ways ~= 1 then raise("redis takes one of host, unix, sentinels (with master), cluster") end
    if opts.cluster then
        if opts.db and opts.db > 0 then raise("redis: a cluster has database 0 only") end
        opts.db = nil
        return cluster.new(addresses("cluster", opts.cluster, 6379), opts)
    end
    if opts.sentinels then
        if not opts.master then raise("redis: sentinels need master, its name") end
        local list = addresses("sentinels", opts.sentinels, 26379)
        opts.locate = sentinel.locator(list, opts.master, opts)
    end
    return node.new(opts)
end

-- Here, where the author's mistake is; and again at each connection, which sentinels and clusters
-- may lead elsewhere.
local function check_places(opts)
    opts.maker = {}
    grant.own(opts.maker)
    if opts.host then grant.net(opts.host, opts.port, opts.maker) end
    if opts.unix then grant.net(opts.unix, 0, opts.maker) end
    for _, name in ipairs { "sentinels", "cluster" } do
        local port = name == "cluster" and 6379 or 26379
        for _, place in ipairs(opts[name] and addresses(name, opts[name], port) or {}) do
            grant.net(place.host, place.port, opts.maker)
        end
    end
end

--- A client. Nothing is connected before the first command.
--- @param given table  host and port, unix, sentinels and master, or cluster; tls, username,
---   password, db, timeout, pool, waiting, max_reply, protocol
--- @return table redis
function M.new(given)
    if type(given) ~= "table" then raise("redis takes a table of options") end
    local opts = options.check("redis", given, OPTIONS)
    if opts.protocol and opts.protocol ~= 2 and opts.protocol ~= 3 then
        raise("redis: protocol is 2 or 3")
    end
    if opts.username and not opts.password then raise("redis: username needs password") end
    if opts.pool > POOL_MOST then raise("redis: pool is at most %d", POOL_MOST) end
    if opts.db == 0 then opts.db = nil end
    opts.port = opts.port or 6379
    if opts.tls ~= nil and opts.tls ~= true and opts.tls ~= false and type(opts.tls) ~= "table" then
        raise("redis: tls is true or a table")
    end
    -- Here and not where it is used first: files are read while the site is loaded.
    if type(opts.tls) == "table" and getmetatable(opts.tls) ~= "rp.tls" then
        opts.tls = tls.settings(opts.tls)
    end
    check_places(opts)
    return setmetatable({ opts = opts, route = route_of(opts) }, CLIENT)
end

return M
