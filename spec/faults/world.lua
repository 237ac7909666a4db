-- SPDX-License-Identifier: MIT
--
-- world: a proxy, its origin and its clients in this process and on one thread; nothing happens but
-- by step(). Time stands still until nothing else moves, then skips to what is due.

local ffi = require("ffi")
local c = require("spec.support.c")
local datagrams = require("spec.faults.datagrams")
local origin = require("spec.faults.origin")
local site = require("spec.faults.site")
local sockets = require("spec.faults.sockets")
local tls = require("spec.faults.tls")

local library = ffi.load(os.getenv("RP_TEST_LIB") or "build/debug/librproxy_test.so", true)
local C = c.load { "script/host.h", "script/bundle.h", "net/loop.h", "proxy/proxy.h", "base/fault.h",
    "base/log.h" }
ffi.cdef "extern int64_t fault_clock_ms; bool fault_first(void *arg, const uint8_t *id);"

local M = { C = C, library = library }
local World = {}
World.__index = World

local PATH, PEM_PATH = "/srv/site/site.lua", "/srv/site/a.pem"
local TLS = 6 -- the listener that is an upstream, too
local SKIP_MOST = 30000 -- ms; longer than nothing but idle timeouts
local ACCEPT_REST = 300 -- ms; longer than a listener rests that found no descriptor
local LONG_SKIP = 256 -- ms; shorter ones fire no deadline but of hooks
local FORGET = 15000    -- ms; longer than a peer rests and a failed name is remembered
local KERNEL_WAITS = 24  -- of 1, 2, 3 ... ms: 0.3 s in all
local IDLE_STEPS = 3    -- without anything moving before time moves

-- What came of handshakes, in all worlds.
M.tls = { handshakes = 0, resumed = 0, early = 0, failed = 0, timeouts = 0, closed = 0 }

function M.now()
    return tonumber(ffi.C.fault_clock_ms)
end

function M.skip(ms)
    ffi.C.fault_clock_ms = ffi.C.fault_clock_ms + ms
end

-- ---------------------------------------------------------------- building

local function u64(n)
    return ffi.string(ffi.new("uint64_t[1]", n), 8)
end

local function text(s)
    return u64(#s) .. s
end

local function bundle(source)
    M.pem = M.pem or tls.cert()
    local flat = "RPB1" .. ffi.string(ffi.new("uint32_t[1]", 2), 4) .. text(PATH) .. text("")
        .. "\1" .. text(PATH) .. text(source) .. "\1" .. text(PEM_PATH) .. text(M.pem)
    local out = ffi.new("struct rp_bundle *[1]")
    assert(C.rp_bundle_load(c.str(flat), out) == 0)
    return out
end

local function build(source, generation)
    local from, conf = bundle(source), ffi.new("struct rp_conf *[1]")
    local err = ffi.new("struct rp_buf")
    C.rp_buf_init(err, 65536)
    local code = C.rp_host_build(from[0], generation, conf, err)
    local why = c.lua(C.rp_buf_str(err))
    C.rp_buf_fini(err)
    C.rp_bundle_free(from)
    if code ~= 0 then error("site: " .. tostring(why)) end
    return conf[0]
end

local function use_log(w)
    local fds = ffi.new("int[?]", w.conf.files_n)
    for i = 0, w.conf.files_n - 1 do
        fds[i] = -1
        if c.lua(w.conf.files[i]) == w.log_path then
            fds[i] = sockets.C.open(w.log_path, 1 + 64 + 1024 + 524288, ffi.cast("int", 384))
        end
    end
    C.rp_proxy_set_files(w.proxy, fds, w.conf.files_n)
end

-- The dice of the site are of their own, so that a world can be built again for any of its seeds.
local function conf_of(w, dice)
    local vars = { log = w.log_path, tls = w.tls_port }
    for name, port in pairs(w.origin.port) do vars[name] = port end
    w.generation = w.generation + 1
    local source, options = site.text(dice, vars)
    w.options = options
    return build(source, w.generation)
end

local function listen(w, i, name)
    local udp = name:find("^udp:") ~= nil
    local fd, port = w.tls_fd, w.tls_port
    if i ~= TLS then fd, port = (udp and datagrams or sockets).listen() end
    w.fds[i], w.ports[i] = fd, port
    local out = ffi.new(udp and "struct rp_udp_door *[1]" or "struct rp_listener *[1]")
    local serve = udp and C.rp_proxy_listen_udp or C.rp_proxy_listen
    for k = 0, w.conf.listeners_n - 1 do
        if c.lua(w.conf.listeners[k].text) == name then
            local e = serve(w.proxy, fd, w.conf.listeners[k], out)
            assert(e == 0, c.err_name(e))
            return
        end
    end
    error("no listener " .. name)
end

-- Keys that nobody else knows, and every third ticket brings no early data.
local function give_tickets(w)
    local t = ffi.new("struct rp_tls_tickets")
    for i = 0, 2 do ffi.fill(t.keys[i].name, ffi.sizeof(t.keys[i]), 17 + i) end
    t.ready, t.is_first = true, ffi.C.fault_first
    C.rp_proxy_set_tickets(w.proxy, t)
end

--- A world of a seed's dice. The log file is removed by close.
function M.new(dice, log_path)
    C.rp_log_threshold = os.getenv("RP_FAULT_LOG") and C.RP_LOG_info or C.RP_LOG_alert
    local w = setmetatable({ dice = dice, log_path = log_path, generation = 0, fds = {}, ports = {},
        clients = {}, started_fds = sockets.fds() }, World)
    w.origin = origin.new(dice)
    w.tls_fd, w.tls_port = sockets.listen()
    w.mem = C.rp_mem_new()
    w.loop = assert(C.rp_loop_new(w.mem))
    w.conf = conf_of(w, dice)
    w.proxy = C.rp_proxy_new(w.loop, w.mem, w.conf)
    C.rp_host_attach(w.conf, w.proxy, nil, 0)
    give_tickets(w)
    use_log(w)
    for i, name in ipairs(site.LISTENERS) do listen(w, i, name) end
    C.rp_loop_turn(w.loop, 0)
    w.base_sockets = sockets.count()
    return w
end

--- The next generation, in the midst of whatever runs.
function World:flip()
    local old = self.conf
    self.conf = conf_of(self, self.dice)
    C.rp_host_attach(self.conf, self.proxy, nil, 0)
    C.rp_host_retire(old) -- first: it may be gone after the flip
    C.rp_proxy_flip(self.proxy, self.conf)
    use_log(self)
end

-- ---------------------------------------------------------------- steps

--- One turn of everything; true when something moved.
function World:step()
    C.rp_loop_turn(self.loop, 0)
    local moved = self.origin:step()
    for _, client in ipairs(self.clients) do moved = client:step() or moved end
    return moved
end

-- The kernel has clocks of its own: a busy machine takes its time to bring bytes from one socket to
-- the other, and a sender whose window was closed asks again after 200 ms. What is on its way is not
-- late, so before deadlines pass it gets the time to arrive. True when something came.
local function came_late()
    local before = sockets.in_flight()
    for i = 1, before > 0 and KERNEL_WAITS or 1 do
        sockets.rest(i)
        if sockets.in_flight() ~= before then return true end
    end
    return false
end

--- Step until check() says so; time moves when nothing else does. nil after `most_ms` of it.
function World:run(check, most_ms)
    local until_ms, idle, skip, steps = M.now() + most_ms, 0, 1, 0
    while not check() do
        if M.now() > until_ms or steps > 100000 then return nil, steps end
        steps = steps + 1
        if self:step() then
            idle, skip = 0, 1
        else
            idle = idle + 1
            if idle == IDLE_STEPS then sockets.rest(skip == 1 and 1 or 0) end
            if idle > IDLE_STEPS and skip == LONG_SKIP and came_late() then
                idle, skip = 0, 1
            elseif idle > IDLE_STEPS then
                if self.on_skip then self.on_skip(skip) end
                M.skip(skip)
                skip, idle = math.min(skip * 2, SKIP_MOST), 0
            end
        end
    end
    return true
end

function World:wrong()
    if self.origin.wrong then return self.origin.wrong end
    for _, client in ipairs(self.clients) do
        if client.wrong then return client.wrong end
    end
end

-- ---------------------------------------------------------------- what must be left: nothing

function World:is_quiet()
    local p = self.proxy
    return p.live == nil and p.streams == nil and p.stats.conns_active == 0
end

local COUNTS = { "requests_active", "streams_active", "conns_active" }

--- What is left over and should not be, or nil.
function World:left()
    local p, n = self.proxy, sockets.count() - self.base_sockets
    if p.live ~= nil then return "requests are live" end
    if p.streams ~= nil then return "streams are live" end
    for _, name in ipairs(COUNTS) do
        local active = tonumber(p.stats[name])
        if active ~= 0 then return ("%s=%d"):format(name, active) end
    end
    local bytes, pieces = tonumber(self.mem.live_bytes), tonumber(self.mem.pieces.live_n)
    if bytes ~= 0 or pieces ~= 0 then return ("%d bytes in chunks, %d pieces"):format(bytes, pieces) end
    if n ~= 0 then return ("%d sockets more than before"):format(n) end
end

--- Everybody goes; what is left after all timeouts, or nil.
function World:settle()
    for _, client in ipairs(self.clients) do client:close() end
    M.skip(ACCEPT_REST) -- a listener that rests has connections in its queue
    for _ = 1, 5 do self:step() end
    self:run(function() return self:is_quiet() end, 200000)
    self.clients = {}
    while self.origin:step() do end -- what still waits to be accepted
    self.origin:close_peers()
    self.origin.requests = {}
    self:run(function() return not self:left() end, 8000 * 1000)
    return self:left()
end

--- Let the proxy get over what failed before: peers that rest, names that were not found.
function World:forget()
    for _ = 1, 3 do
        M.skip(FORGET)
        for _ = 1, 3 do self:step() end
    end
end

local function torn_line(path)
    for line in io.lines(path) do
        if not line:find("^{.*}$") then return line end
    end
end

--- Free all of it. what is wrong, or nil.
function World:close()
    local wrong
    C.rp_proxy_abort_all(self.proxy)
    self:run(function() return self:is_quiet() end, 100000) -- log hooks may wait
    if self.proxy.live ~= nil then wrong = "abort left requests" end
    if self.proxy.streams ~= nil then wrong = wrong or "abort left streams" end
    if wrong then return wrong end
    for name in pairs(M.tls) do
        M.tls[name] = M.tls[name] + tonumber(self.proxy.stats["tls_" .. name])
    end
    C.rp_proxy_free(ffi.new("struct rp_proxy *[1]", self.proxy))
    for _ = 1, 3 do C.rp_loop_turn(self.loop, 0) end
    local bytes, pieces = tonumber(self.mem.live_bytes), tonumber(self.mem.pieces.live_n)
    if bytes ~= 0 or pieces ~= 0 then
        return ("%d bytes, %d pieces after free"):format(bytes, pieces)
    end
    C.rp_loop_free(ffi.new("struct rp_loop *[1]", self.loop))
    C.rp_mem_free(ffi.new("struct rp_mem *[1]", self.mem))
    for _, client in ipairs(self.clients) do client:close() end
    self.origin:close()
    for _, fd in ipairs(self.fds) do sockets.close(fd) end
    local n = sockets.fds()
    if n ~= self.started_fds then
        return ("%d descriptors left by a closed world\n%s"):format(n - self.started_fds,
            sockets.list_fds())
    end
    local torn = torn_line(self.log_path)
    os.remove(self.log_path)
    return torn and ("torn line in the access log: " .. torn:sub(1, 200))
end

return M
