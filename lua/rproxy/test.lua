-- SPDX-License-Identifier: MIT
--
-- test: what a spec gets from require "rproxy.test". The site that t.site opens is served by the
-- real core in this process (rproxy.lab): no port, no network, and time moves when the spec says
-- so.
--
--   local t = require "rproxy.test"
--   describe("my plugin", function()
--       it("refuses strangers", function()
--           local site = t.site { use = { require "plugins.mine" { key = "s3cret" } } }
--           assert.equal(401, site:get("/").status)
--       end)
--   end)

local aborts = require("rproxy.test.aborts")
local golden = require("rproxy.test.golden")
local json = require("rproxy.json")
local lab = require("rproxy.lab")
local nearest = require("rproxy.config.nearest")
local redis = require("rproxy.test.redis")
local shape = require("rproxy.lab.shape")
local site_of = require("rproxy.config.site")
local world = require("rproxy.lab.world")

local M = {}

-- "file:line" of the spec's code that called us, also by pcall.
local function caller()
    for level = 3, 20 do
        local info = debug.getinfo(level, "Sl")
        if not info then break end
        local source = info.what ~= "C" and info.source:match("^@(.*)$")
        if source and not source:find("^lua/rproxy/") and info.currentline > 0 then
            return ("%s:%d"):format(source, info.currentline)
        end
    end
    return "?"
end

local Site, Answer = {}, {}

--- Settings of the run; `rproxy test` fills them in.
M.run = { seed = 1, update_golden = false, folder = "./" }

--- Virtual time: t.clock:advance(seconds), :now(), :time(), :set(time), :hold(), :release().
M.clock = lab.clock

-- The servers and names of all specs of this run; each test takes away what it brought.
local outside = world.new(lab.core)

-- ---------------------------------------------------------------- answers

Answer.__index = Answer

--- The body, decoded from JSON.
function Answer:json()
    local value, err = json.decode(self.body)
    if value == nil then error("the body is no JSON: " .. tostring(err), 2) end
    return value
end

--- The value of a cookie that the answer sets; nil: it sets none of that name.
function Answer:cookie(name)
    for _, line in ipairs(self.all["set-cookie"] or {}) do
        local found, value = line:match("^%s*([^=;]+)=([^;]*)")
        if found == name then return value, line end
    end
end

--- What the hooks decided, in short: "access ratelimit answer 429", a line each.
function Answer:decisions()
    return golden.decisions(self.journal)
end

-- ---------------------------------------------------------------- requests

local ASK = { "method", "url", "path", "host", "headers", "body", "json", "form", "trailers", "tls",
    "from", "listener", "raw", "version", "cookies", "query" }
local IS_ASK = {}
for _, name in ipairs(ASK) do IS_ASK[name] = true end

local function escape(text)
    return (tostring(text):gsub("[^%w%-._~]", function(ch) return ("%%%02X"):format(ch:byte()) end))
end

local function pairs_text(values, between)
    local list = {}
    for _, name in ipairs(nearest.names(values)) do
        list[#list + 1] = escape(name) .. "=" .. escape(values[name])
    end
    return table.concat(list, between)
end

local function with_header(ask, name, value)
    for given in pairs(ask.headers) do
        if type(given) == "string" and given:lower() == name then return end
    end
    ask.headers[name] = value
end

-- One table that the lab takes; what is short for something else is written out.
local function ask_of(method, url, opts, level)
    local ask = { method = method, url = url }
    for key, value in pairs(opts or {}) do
        if not IS_ASK[key] then
            error(("a request has no %q%s; headers go into headers = { .. }"):format(tostring(key),
                nearest.hint(tostring(key), ASK)), level + 1)
        end
        ask[key] = value
    end
    local headers = {}
    for name, value in pairs(ask.headers or {}) do headers[name] = value end
    ask.headers = headers
    if ask.json ~= nil then
        ask.body = json.encode(ask.json)
        with_header(ask, "content-type", "application/json")
    elseif ask.form then
        ask.body = pairs_text(ask.form, "&")
        with_header(ask, "content-type", "application/x-www-form-urlencoded")
    end
    if ask.cookies then with_header(ask, "cookie", pairs_text(ask.cookies, "; ")) end
    if ask.query then
        local target = ask.url or ask.path or "/"
        ask.url = target .. (target:find("?", 1, true) and "&" or "?")
            .. pairs_text(ask.query, "&")
    end
    return ask
end

local function complete(answer)
    return setmetatable(answer, Answer)
end

Site.__index = Site

local function check_open(site, level)
    if site.lab ~= lab.current() then
        error("this site is closed: t.site was called again after it, one is open at a time",
            level + 1)
    end
end

-- level: of the spec's line, for whatever is wrong.
local function ask(site, method, url, opts, level)
    check_open(site, level + 1)
    local request = ask_of(method, url, opts, level + 1)
    table.insert(site.asked, { ask = request })
    local ran, answer = pcall(site.lab.request, site.lab, request)
    if not ran then error(answer, level + 1) end
    return complete(answer)
end

--- Ask and wait for the answer: site:request { method = "PUT", url = "/x", headers = { .. }, .. }.
--- @return table answer  status, headers, body, .. (see docs/guide/testing.md)
function Site:request(opts)
    return ask(self, nil, nil, opts, 2)
end

for _, method in ipairs { "get", "head", "post", "put", "patch", "delete", "options" } do
    Site[method] = function(self, url, opts)
        if type(url) ~= "string" then
            error(("write site:%s(\"/path\", { headers = .. })"):format(method), 2)
        end
        return ask(self, method:upper(), url, opts, 2)
    end
end

--- Send a request and do not wait: pending.answer once it is there, pending:wait(), :abort().
function Site:begin(url, opts)
    check_open(self, 2)
    local request = ask_of(nil, url, opts, 2)
    local pending = self.lab:begin(request)
    self.lab:settle()
    local wait = pending.wait
    function pending.wait(p)
        local ran, answer = pcall(wait, p)
        if not ran then error(answer, 2) end
        return complete(answer)
    end
    return pending
end

--- A bare connection of a client: conn:send(bytes), conn:receive(), conn:wait_for(text),
--- conn:finish(), conn:close(). For streams, tunnels, and what no client should send.
--- @param opts table|nil  listener (its number, from 1), from, tls
function Site:connect(opts)
    check_open(self, 2)
    return self.lab:connect(opts)
end

--- All peers of an upstream of the site are played by fn(req) from now on.
function Site:upstream(name, fn)
    return self.lab:upstream(name, fn)
end

--- The requests that upstreams and other servers got since the site was opened.
function Site:received()
    return self.lab.world.requests
end

--- All that can happen without time passing happens (background tasks, log hooks).
function Site:settle()
    self.lab:settle()
end

--- The error log, from the opening on.
function Site:log()
    return self.lab:log()
end

--- The access log, line by line.
function Site:access()
    local lines = {}
    for line in self.lab:access():gmatch("[^\n]+") do lines[#lines + 1] = line end
    return lines
end

--- The stop hooks run, as at a worker's end.
function Site:stop()
    self.lab:stop()
end

function Site:close()
    self.lab:close()
end

-- ---------------------------------------------------------------- sites

local opened_at -- of the site that is open

--- Open a site: a path of a site.lua, an rp.site { .. }, or a table of options of rp.site, of which
--- listeners, hosts and upstreams may be left out (all requests then go to an upstream that says
--- "ok"). `routes` is short for one host, `upstream` for the function that plays the upstream
--- "origin". The site before it is closed.
--- @param what string|table
--- @param opts table|nil  upstreams = { name = fn } of a file, seed, time, start = false
function M.site(what, opts)
    local at = caller()
    local given = { world = outside, seed = M.run.seed, budget = M.run.budget }
    for key, value in pairs(opts or {}) do given[key] = value end
    local ran, open = pcall(lab.open, what, given, at)
    -- A report has the places of what is wrong itself.
    if not ran then
        error(open, type(open) == "string" and open:find("^[^\n]-:%d+: ") and 0 or 2)
    end
    opened_at = at
    return setmetatable({ lab = open, asked = {}, what = what, opts = given, at = at }, Site)
end

local advance = lab.clock.advance

--- @diagnostic disable-next-line: duplicate-set-field
function M.clock.advance(clock, seconds)
    local site = M.watching
    if site then table.insert(site.asked, { seconds = seconds }) end
    advance(clock, seconds)
end

--- Shared zones as rp.shm makes them; small ones unless a size is given.
M.shm = setmetatable({}, { __index = function(_, kind)
    local make = site_of.shm[kind]
    if not make then
        error(("t.shm has no %q%s"):format(tostring(kind), nearest.hint(tostring(kind),
            nearest.names(site_of.shm))), 2)
    end
    return function(given)
        local copy = { size = "256k" }
        for key, value in pairs(given or {}) do copy[key] = value end
        return make(copy)
    end
end })

-- ---------------------------------------------------------------- servers

--- An upstream that the spec plays, for `upstreams` of a site: fn(req) -> status, body, headers. A
--- list of functions is as many peers.
--- @param fn function|function[]
--- @param opts table|nil  options of rp.upstream
function M.upstream(fn, opts)
    return shape.server(fn, opts, caller())
end

--- What is at "host:port": fn(req) answers as an upstream's.
function M.serve(place, fn)
    if type(fn) ~= "function" then error("t.serve takes \"host:port\" and a function(req)", 2) end
    return outside:put(place, { fn = fn })
end

local function place_of(url)
    local scheme, host, port, path = url:match("^(https?)://([^/:?#]+):?(%d*)([^?#]*)")
    if not scheme then error(("%q is no URL of http or https"):format(tostring(url)), 3) end
    port = port ~= "" and port or scheme == "https" and "443" or "80"
    return ("%s:%s"):format(host:lower(), port), path ~= "" and path or "/"
end

local function by_path(server)
    return function(req)
        local fn = server.paths[req.path]
        if fn then return fn(req) end
        return 404, ("nothing is at %s of this server of the test\n"):format(req.path)
    end
end

--- What is at a URL: fn(req) answers, or a fixed answer { status, body, headers }. The paths of one
--- server may be given one by one. HTTPS is played without TLS.
--- @return table handle  requests: those that came for this path
function M.http(url, fn)
    local place, path = place_of(url)
    local address = outside:address(place)
    local server = outside.places[address]
    if not server or not server.paths then
        server = { paths = {} }
        server.fn = by_path(server)
    else
        server = setmetatable({ paths = setmetatable({}, { __index = server.paths }) },
            { __index = server })
        server.fn = by_path(server)
    end
    local fixed = fn
    if type(fn) == "table" then
        fn = function() return fixed.status or fixed[1], fixed.body or fixed[2],
            fixed.headers or fixed[3] end
    elseif type(fn) == "string" then
        fn = function() return 200, fixed end
    end
    local handle = { requests = {} }
    server.paths[path] = function(req)
        table.insert(handle.requests, req)
        return fn(req)
    end
    outside:put(place, server)
    return handle
end

--- Connecting to "host:port" is refused.
function M.refuse(place) outside:put(place, { manner = "refuse" }) end

--- Connecting to "host:port" takes for ever.
function M.hang(place) outside:put(place, { manner = "hang" }) end

--- A server of bytes: on_data(conn, bytes); conn:send(bytes), conn:close(), conn:reset().
--- @param handlers function|table  on_data, or { on_open =, on_data =, on_end = }
function M.tcp(place, handlers)
    if type(handlers) == "function" then handlers = { on_data = handlers } end
    return outside:put(place, handlers)
end

--- A server of datagrams: fn(bytes) -> bytes to answer, or nil.
function M.udp(place, fn)
    return outside:put(place, { on_data = function(conn, bytes)
        local answer = fn(bytes)
        if answer then conn:send(answer) end
    end })
end

--- A Redis server with nothing in it: redis.data, redis.commands (those that came),
--- redis:fail(text).
function M.redis(place)
    local server = redis.new(M.clock)
    outside:put(place or "127.0.0.1:6379", server.handlers)
    return server
end

--- Names: t.dns["idp.test"] = "10.0.0.1", a list of addresses, or "absent", "timeout", "fail".
M.dns = setmetatable({}, {
    __newindex = function(_, name, what)
        local is_address = type(what) == "string" and what:find("^[%x.:]+$") and what:find("[.:]")
        outside:name(name, is_address and { what } or what)
    end,
    __index = function(_, name) return outside.names[name] end,
})

-- ---------------------------------------------------------------- failures of servers

M.reset, M.close = "reset", "close" -- the connection, instead of an answer

--- Never an answer.
M.never = "hang"

local function as_table(status, body, headers)
    if type(status) == "table" then return status end
    if world.FAILURES[status] then return { failure = status } end
    return { status = status, body = body, headers = headers }
end

--- The answer comes after so many seconds: return t.delay(2, 200, "late").
function M.delay(seconds, ...)
    local answer = as_table(...)
    answer.delay = seconds
    return answer
end

--- The answer ends so many bytes early.
function M.truncate(bytes, ...)
    local answer = as_table(...)
    answer.cut = bytes
    return answer
end

--- The answer comes in pieces of so many bytes, one every so many seconds.
function M.trickle(bytes, seconds, ...)
    local answer = as_table(...)
    answer.pace = { bytes = bytes, seconds = seconds }
    return answer
end

--- These bytes, whatever they are; then the connection ends.
function M.raw(bytes)
    return { raw = bytes }
end

-- ---------------------------------------------------------------- checks

--- Compare with what was kept under that name beside the spec; `rproxy test --update-golden` keeps
--- it anew. A journal (or an answer) is compared by its decisions.
function M.golden(name, value)
    if getmetatable(value) == Answer then value = value:decisions() end
    local ok, text = golden.check(name, value, caller(), M.run.update_golden)
    if not ok then (M.run.fail or error)(text, 2) end
    return true
end

--- The places in site code at which LuaJIT gave up on hooks of this site, by repeating the requests
--- that it was asked so far. Empty: all that ran often was compiled.
--- @return string[] lines
function M.aborts(site)
    check_open(site, 2)
    if M.run.coverage then return {} end -- nothing is compiled there
    return aborts.of(site)
end

-- ---------------------------------------------------------------- the run

local kept

--- For the runner: a test begins, it ends.
function M.begin_test()
    kept = outside:snapshot()
    kept.site = lab.current()
    M.clock:release()
end

function M.end_test()
    local open = lab.current()
    local said = open and open:log() or ""
    if open and open ~= kept.site then open:close() end
    outside:restore(kept)
    M.clock:release()
    M.clock.was_set = false
    return said, opened_at
end

return M
