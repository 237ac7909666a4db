-- SPDX-License-Identifier: MIT
--
-- lab: a site served inside this VM by the real core, with nothing around it: connections are
-- socket pairs, upstreams and whatever else hooks reach are Lua functions, time stands until it is
-- moved, dice are seeded. `rproxy test`, explain and replay are made of it. Only tools have it: in
-- a VM that serves, this module does not load.
--
--   local lab = require("rproxy.lab").open(what, opts)
--   what   a path of a site.lua, an rp.site { .. }, or a table: options of rp.site, of which
--          `listeners`, `hosts` and `upstreams` may be left out; `routes` is short for one host,
--          `upstream` for a function or a list of routes' upstream "origin"; a function may stand
--          for an rp.upstream
--   opts   seed (number), time (wall clock, seconds), upstreams = { name = fn } for those of a
--          file, start = false (start hooks do not run), strays = "refuse" (what is not there is
--          refused and no mistake), overrides ("name=value" lines, as -g), budget = false (no CPU
--          budget), journal = false (requests keep none), world (of another lab: its servers and
--          names)
--
--   lab:request { method =, url = or path =, host =, headers =, body =, trailers =, tls =, from =,
--                 listener =, raw = } -> answer { status, reason, headers, all, body, interim,
--                 trailers, journal, log, upstream (the last request an upstream got), ended,
--                 duration }; status nil: the connection ended ("closed", "reset") without an
--                 answer
--   lab:begin { .. } -> pending; pending:wait() -> answer; pending.answer once it is there
--   lab:connect { listener =, from =, tls = } -> bare connection: send, receive, wait_for, finish,
--                                  close
--   lab.clock:advance(seconds), :now(), :time(), :set(wall time), :hold(), :release()
--   lab:upstream(name, fn)         all peers of that upstream are played by fn(req)
--   lab:serve("host:port", fn)     a server of HTTP; fn(req) -> status, body, headers | answer
--                                  table | "reset" | "close" | "hang"
--   lab:settle()                   all that can happen without time happens
--   lab:close()
--
-- Time. While anything can happen without it, it stands. When a request only waits for time, the
-- clock jumps to the next timer by itself (not while it is held: then the request stays pending,
-- and request{} says what it waits for). Threads and programs (passwords, files, rp.exec) are real
-- and are waited for.
--
-- One lab is open at a time in a VM: opening another closes it. Site code runs as it does in a
-- worker, confined and by the same chains; of TLS there is none: `tls = true` makes a request
-- `https` for all that hooks and routes see, and what the site would seal for an upstream goes in
-- the clear.

local abi = require("rproxy.abi")
local boot = require("rproxy.config.boot")
local build = require("rproxy.config.build")
local journal = require("rproxy.journal")
local loader = require("rproxy.loader")
local plugin = require("rproxy.plugin")
local regex = require("rproxy.regex")
local report = require("rproxy.config.report")
local schema = require("rproxy.schema")
local shape = require("rproxy.lab.shape")
local sink = require("rproxy.config.sink")
local validate = require("rproxy.config.validate")
local wire = require("rproxy.lab.wire")
local world = require("rproxy.lab.world")

local core = abi.host.lab or error("a lab is for tools: nothing that serves has one", 0)

local M = {}

local Lab, Pending, Line, Clock = {}, {}, {}, {}
Lab.__index, Pending.__index, Line.__index, Clock.__index = Lab, Pending, Line, Clock

local PATIENCE = 3600      -- virtual seconds that a request may take
local ROUNDS_MOST = 20000  -- turns without a rest
local ALONE = 3            -- turns without news after which all is at rest
local REAL_SECONDS = 60    -- that threads and programs may take

local current          -- the open lab
local prepared = false -- the VM has what one of a generation has
local client_port = 40000

-- ---------------------------------------------------------------- turning

local function refuse_hooks(what, level)
    if abi.C.rp_abi_task_self(abi.H) < 0 then return end
    error(("a hook cannot %s the site that it runs in"):format(what), level + 1)
end

local function raise_wrong(self)
    local wrong = table.remove(self.world.wrong, 1)
    if wrong then error(wrong, 0) end
    local strays = core.strays()
    if strays == "" or self.opts.strays == "refuse" then return end
    local kind, where = strays:match("^(%S+) ([^\n]*)")
    if kind == "look-up" then
        error(("the site looked up the name %s, which is not there: give it an address "
            .. "(t.dns), or a server (t.http, t.serve)"):format(where), 0)
    end
    error(("the site wanted to connect to %s, where nothing is: play it (t.http, t.serve), or say "
        .. "that it is not there (t.refuse)"):format(where), 0)
end

-- Once round; false: nothing happened.
local function round(self)
    local ran, awaiting = core.turn()
    local moved = self.world:serve()
    for pending in pairs(self.pending) do moved = pending:look() or moved end
    return ran or moved, awaiting
end

local function next_time(self)
    local a, b = core.next(), self.world:next()
    if a and b then return math.min(a, b) end
    return a or b
end

-- Until done() or nothing moves. True: done.
local function rest(self, done)
    local alone, from = 0, os.time()
    for _ = 1, ROUNDS_MOST do
        if done and done() then return true end
        local moved, awaiting = round(self)
        raise_wrong(self)
        if moved then alone = 0
        elseif not awaiting or os.time() - from > REAL_SECONDS then alone = alone + 1 end
        if alone >= ALONE then return done and done() or false end
    end
    error("the site does not come to rest: something runs again and again without waiting", 0)
end

-- Until done(), passing time as needed. True: done.
local function wait(self, done, patience)
    local ends = core.now() + patience
    while not rest(self, done) do
        local left = next_time(self)
        if not left or self.clock.held or core.now() + left > ends then return false end
        core.pass(left)
    end
    return true
end

-- ---------------------------------------------------------------- the clock

--- Move time by so many seconds: what is due on the way runs in its order.
function Clock:advance(seconds)
    if type(seconds) ~= "number" or not (seconds >= 0 and seconds <= 1e9) then
        error("clock:advance takes seconds from 0", 2)
    end
    local lab, ends = self.lab(), core.now() + seconds
    if lab then rest(lab) end
    while lab do
        local left = next_time(lab)
        if not left or core.now() + left > ends + 1e-9 then break end
        core.pass(left)
        rest(lab)
    end
    core.pass(math.max(0, ends - core.now()))
    if lab then rest(lab) end
end

--- rp.now() of hooks.
function Clock.now()
    return (core.now())
end

--- rp.time() of hooks.
function Clock.time()
    return (select(2, core.now()))
end

--- Give the wall clock another time; nothing becomes due by it.
function Clock:set(time)
    core.set_wall(time)
    self.was_set = true
end

--- Time moves by advance alone from now on.
function Clock:hold()
    self.held = true
end

function Clock:release()
    self.held = false
end

--- The clock of this VM: of whichever lab is open.
M.clock = setmetatable({ lab = function() return current end, held = false }, Clock)

-- ---------------------------------------------------------------- requests

-- "https://host:port/path?query" or "/path"
local function take_apart(ask)
    local url = ask.url or ask.path or "/"
    local scheme, authority, rest_of = url:match("^(https?)://([^/?#]*)(.*)$")
    local tls = ask.tls
    if scheme then
        if rest_of == "" or rest_of:sub(1, 1) ~= "/" then rest_of = "/" .. rest_of end
        if tls == nil then tls = scheme == "https" end
    end
    return { target = scheme and rest_of or url, host = ask.host or authority or "localhost",
        tls = tls or false }
end

-- The listener that speaks what is asked for; there may be none for https.
local function listener_for(self, tls)
    local first
    for i, one in ipairs(core.listeners()) do
        if not one.stream then
            first = first or i
            if one.tls == tls then return i end
        end
    end
    return first
end

--- Send a request and do not wait for its answer.
function Lab:begin(ask)
    if self ~= current then
        error("this site is closed: another was opened after it, one is open at a time", 2)
    end
    refuse_hooks("ask", 2)
    if self.world.serving then
        error("a function that plays a server cannot ask the site: let it return its answer", 2)
    end
    ask = type(ask) == "string" and { url = ask } or ask or {}
    local parts = take_apart(ask)
    local listener = ask.listener or listener_for(self, parts.tls)
    if not listener then error("the site has no listener that speaks HTTP", 2) end
    client_port = client_port < 65000 and client_port + 1 or 40001
    local method = ask.method or "GET"
    local bytes = ask.raw or wire.request { method = method, target = parts.target,
        host = parts.host, headers = ask.headers, body = ask.body, trailers = ask.trailers,
        version = ask.version }
    local pending = setmetatable({ lab = self, method = method, out = bytes, port = client_port,
        reader = wire.reader("response", method), from = core.now(),
        fd = core.connect(listener, parts.tls, ask.from or "127.0.0.1", client_port) }, Pending)
    self.pending[pending], self.by_port[client_port] = true, pending
    self.world.last_request = nil
    return pending
end

local function finish(pending, msg, ended)
    msg = msg or { headers = {}, all = {}, body = "" }
    msg.interim, msg.ended = pending.reader.interim, ended
    msg.duration = core.now() - pending.from
    pending.answer = msg
    core.drop(pending.fd)
    pending.fd = nil
    pending.lab.pending[pending] = nil
end

-- Send and read what can be. True: something moved.
function Pending:look()
    local moved = false
    if not self.fd then return false end
    while self.out ~= "" do
        local n = core.send(self.fd, self.out)
        if not n then self.out = "" break end -- what was answered is still to be read
        if n == 0 then break end
        self.out, moved = self.out:sub(n + 1), true
    end
    while self.fd do
        local bytes, why = core.recv(self.fd)
        if bytes == nil then return moved end
        moved = true
        if bytes == false then finish(self, self.reader:ended(), why)
        else
            local msg = self.reader:feed(bytes)
            if msg then finish(self, msg) end
        end
    end
    return moved
end

local function why_not(self)
    local dump = core.dump():gsub("\n$", "")
    if dump == "" then return "nothing is under way: the request was not understood as one" end
    return "what is under way:\n  " .. dump:gsub("\n", "\n  ")
        .. (self.clock.held and "\n  (the clock is held: advance it, or release it)" or "")
end

--- Wait for the answer. Raises when none can come, saying what the request waits for.
--- @return table answer
function Pending:wait()
    local lab = self.lab
    if lab ~= current then error("the site of this request is closed", 0) end
    if not wait(lab, function() return self.answer ~= nil end, PATIENCE) then
        error("the request gets no answer; " .. why_not(lab), 0)
    end
    rest(lab) -- log hooks
    local answer = self.answer
    answer.journal = self.journal
    answer.upstream = answer.upstream or lab.world.last_request
    answer.log = core.log()
    lab.said = lab.said .. answer.log
    return answer
end

--- Go away without waiting for the answer.
function Pending:abort()
    if not self.fd then return end
    finish(self, nil, "aborted")
    rest(self.lab)
end

--- Ask, and wait for the answer.
--- @param ask table|string
--- @return table answer
function Lab:request(ask)
    return self:begin(ask):wait()
end

journal.on_end(function(req, entries)
    local lab = current
    local pending = lab and lab.by_port[tonumber(req[1].conn_addr.port)]
    if not pending then return end
    local list = {}
    for i, entry in ipairs(entries) do list[i] = entry end
    pending.journal = list
    if pending.answer then pending.answer.journal = list end
end)

-- ---------------------------------------------------------------- bare connections

function Line:look()
    local moved = false
    while self.fd and self.out ~= "" do
        local n = core.send(self.fd, self.out)
        if n == 0 then break end
        self.out, moved = n and self.out:sub(n + 1) or "", true
    end
    while self.fd do
        local bytes, why = core.recv(self.fd)
        if bytes == nil then break end
        moved = true
        if bytes == false then
            self.ended = why
            self:close()
        else
            self.buf = self.buf .. bytes
        end
    end
    return moved
end

--- Send bytes; what can happen at once happens.
function Line:send(bytes)
    self.out = self.out .. bytes
    rest(self.lab)
    return self
end

--- What came since the last call, without waiting for more.
--- @return string bytes, string|nil ended  "closed", "reset"
function Line:receive()
    rest(self.lab)
    local bytes = self.buf
    self.buf = ""
    return bytes, self.ended
end

--- Wait for a text, passing time as needed: everything up to and with it. Raises when it cannot
--- come.
function Line:wait_for(text)
    local last
    wait(self.lab, function()
        last = select(2, self.buf:find(text, 1, true))
        return last or self.ended
    end, PATIENCE)
    if not last then
        error(("%q did not come (%s); what came: %q"):format(text, self.ended or "nothing more",
            self.buf), 2)
    end
    local bytes = self.buf:sub(1, last)
    self.buf = self.buf:sub(last + 1)
    return bytes
end

--- The end of our side.
function Line:finish()
    rest(self.lab)
    if self.fd then core.finish(self.fd) end
    rest(self.lab)
end

function Line:close()
    if self.fd then core.drop(self.fd) end
    self.fd = nil
    self.lab.pending[self] = nil
end

--- A connection as a client makes it, for what requests do not cover: streams, tunnels, pipelines.
--- @param opts table|nil  listener (its number, from 1), tls, from
function Lab:connect(opts)
    if self ~= current then error("this site is closed", 2) end
    opts = opts or {}
    client_port = client_port < 65000 and client_port + 1 or 40001
    local line = setmetatable({ lab = self, buf = "", out = "", fd = core.connect(
        opts.listener or 1, opts.tls or false, opts.from or "127.0.0.1", client_port) }, Line)
    self.pending[line] = true
    return line
end

-- ---------------------------------------------------------------- the world

local function peer_place(text)
    text = text:match("^%S+"):gsub("^dns:", "")
    if text:find("^unix:") or text:find(":%d+$") then return text end
    return text .. ":80"
end

--- All peers of an upstream of the site are played by fn.
function Lab:upstream(name, fn)
    local up = self.model.upstream_by_name[name]
    if not up then error(("the site has no upstream %q"):format(tostring(name)), 2) end
    local server = type(fn) == "table" and fn or { fn = fn }
    for _, peer in ipairs(up.peers) do self.world:put(peer_place(peer.text), server) end
    return server
end

--- What is at "host:port" from now on: fn(req), or a table { fn | on_data, manner }.
function Lab:serve(place, server)
    return self.world:put(place, type(server) == "function" and { fn = server } or server)
end

--- All that can happen without time passing happens.
function Lab:settle()
    rest(self)
end

--- What is under way: a line for each request.
function Lab.dump()
    return core.dump()
end

--- Everything that was said to the error log since the lab was opened.
function Lab:log()
    self.said = self.said .. core.log()
    return self.said
end

--- The access log so far.
--- @param file number|nil  which of the site's log files (1)
function Lab.access(_, file)
    return core.access(file or 1) or ""
end

-- ---------------------------------------------------------------- opening

local function prepare()
    if prepared then return end
    prepared = true
    core.entries()
    schema.compile_regex = regex.new
end

local base, place -- where sites that are values have their modules; where they are looked for now

local function look_beside(site_path)
    if not place then loader.set_up(site_path, nil)
    elseif place ~= site_path then loader.move(site_path) end
    place = site_path
end

--- Where the plugins of sites that are values, and of specs, are looked for.
--- @param folder string  absolute, ending in "/"
function M.look_in(folder)
    base = folder .. "site.lua"
    if not place then look_beside(base) end
end

-- What modules of the layer know of a site goes with it: those that know something say how.
local function forget_site()
    for name, module in pairs(package.loaded) do
        if type(name) == "string" and name:find("^rproxy%.") and type(module) == "table" then
            local forget = rawget(module, "forget_site")
            if forget then forget() end
        end
    end
end

-- An instance may be used by many sites, one after the other: each runs its setup.
local function forget_instances(model)
    local _, order = validate.instances(model)
    for _, instance in ipairs(order) do
        instance.hooks, instance.noted, instance.index = nil, nil, nil
    end
end

local function close(self)
    if current ~= self then return end
    self.said = self.said .. core.log()
    for pending in pairs(self.pending) do
        if pending.fd then core.drop(pending.fd) end
        pending.fd = nil
    end
    core.close()
    self.world:hang_up()
    current = nil
    if self.model then forget_instances(self.model) end
    forget_site()
    core.strays()
end

--- Close it: what runs is ended, nothing is left of it.
function Lab:close()
    refuse_hooks("close", 2)
    close(self)
end

--- Run the stop hooks, as at a worker's end.
function Lab:stop()
    core.stop()
    wait(self, function() return core.started() ~= nil end, 60)
end

-- Whoever the process has become: files of a site come through C, where it has them.
local function read_all(path)
    local known = abi.host.read(path)
    if known then return known end
    local file, err = io.open(path, "rb")
    if not file then error(err, 0) end
    local text = file:read("*a")
    file:close()
    return text
end

local function absolute(path)
    local status, text = abi.host.tool_call("path", path)
    if status ~= 0 then error(("%s: %s"):format(path, text), 0) end
    return text
end

local texts = {} -- of specs, by path: a mistake in a site is told with its own line

local function text_of(path)
    if path and texts[path] == nil then
        local file = io.open(path, "rb")
        texts[path] = file and file:read("*a") or ""
        if file then file:close() end
    end
    return path and texts[path] or ""
end

local function check_model(self, what, opts, at)
    local over = opts.overrides or ""
    if type(what) == "string" then
        what = absolute(what)
        look_beside(what)
        return boot.check(what, read_all(what), over, loader.run, loader.set_path)
    end
    if base then look_beside(base) end
    local node = shape.site(what, self.world)
    local path = at:match("^(.*):%d+$")
    if node.at == "?" or not node.at:find(":") then node.at = at end
    return boot.check(path or at, text_of(path), over, function() return node end, nil)
end

local used = setmetatable({}, { __mode = "k" }) -- plugins that a site had already

-- What a plugin's module keeps outside of setup belongs to one site, as it does in a worker, whose
-- VM is a generation's: where a plugin was used before, its module is loaded again.
local function renew_plugins(model)
    local _, order = validate.instances(model)
    local renewed = false
    for _, instance in ipairs(order) do
        local before = instance.plugin
        if before and before.module and used[before] then
            if not renewed then loader.renew() end
            renewed = true
            local fresh = require(before.module)
            if plugin.is_plugin(fresh) then instance.plugin = fresh end
        end
        if before then used[instance.plugin] = true end
    end
end

-- There is no agent in a lab: an upstream that only discovers its peers has one that can be played.
local function stand_in(model)
    for i, up in ipairs(model.upstreams) do
        if up.discover and #up.peers == 0 then
            -- Nobody's network (RFC 2544): a name would have to be looked up.
            local text = ("198.18.%d.%d:80"):format(i / 256 % 256, i % 256)
            up.peers[1] = { text = text, weight = 1, priority = 0, max_conns = 0, backup = false,
                at = up.at }
        end
    end
end

local function build_site(self, what, opts, at)
    local found = report.new()
    local model = check_model(self, what, opts, at)
    self.model = model
    stand_in(model)
    for _, up in ipairs(model.upstreams) do up.opts.http = "1.1" end -- what lab/wire.lua speaks
    if type(what) == "table" then renew_plugins(model) end
    -- Upstreams look their names up as soon as they are there.
    self.world:apply()
    for name, fn in pairs(opts.upstreams or {}) do self:upstream(name, fn) end
    build.run(model, sink.new(abi.cast("struct rp_conf *", self.draft)), found)
    if not found:is_empty() then error(found:text(), 0) end
    local ok, why = core.open()
    if not ok then error(why, 0) end
end

local function run_start_hooks(self)
    core.start()
    if not wait(self, function() return core.started() ~= nil end, 120) then
        error("the start hooks do not come to their end", 0)
    end
    local ok, why = core.started()
    if not ok then error("a start hook failed: " .. why .. "\n" .. self:log(), 0) end
end

--- Open a site. Raises with all that is wrong with it, as the check of a site does.
--- @param what string|table
--- @param opts table|nil
--- @param at string|nil  "file:line" of whoever asks, for messages
--- @return table lab
function M.open(what, opts, at)
    opts = opts or {}
    refuse_hooks("leave", 2)
    prepare()
    if current then close(current) end
    local self = setmetatable({ opts = opts, pending = {}, by_port = {}, said = "",
        clock = M.clock, world = opts.world or world.new(core) }, Lab)
    local seed = opts.seed or 1
    core.seed(seed)
    math.randomseed(seed)
    core.watch(opts.budget ~= false)
    core.log()
    local time = opts.time or M.clock.was_set and M.clock.time() or os.time()
    current, self.draft = self, core.draft()
    core.set_wall(time)
    local built, err = pcall(build_site, self, what, opts, at or "lab:1")
    if built then
        journal.all(opts.journal ~= false)
        if opts.start ~= false then built, err = pcall(run_start_hooks, self) end
    end
    if built then return self end
    close(self)
    error(err, 0)
end

--- The lab that is open, or nil.
function M.current()
    return current
end

M.core = core

return M
