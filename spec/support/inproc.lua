-- SPDX-License-Identifier: MIT
--
-- inproc: the whole proxy floor in this process, both its ends played by the spec, one thread:
-- every wait turns the loop.
--
--   local inproc = require("spec.support.inproc")
--   local p = inproc.open { numbers = { ["limits.body_bytes"] = 100 } }
--   local client = p:client()
--   client:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
--   local up = p:accept()                       -- the connection that the proxy made
--   up:recv_until("\r\n\r\n")
--   up:send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
--   client:recv_until("ok")
--   p:close()                                   -- checks that nothing is left
--
-- open's options: numbers (site scalars), up (upstream scalars), trust (CIDR), peers (texts; "self"
-- is the accepting end), site = function(site, host, upstream) to add routes before the default.

local net = require("spec.support.net")
local c = require("spec.support.c")
local site = require("spec.support.site")

local ffi, sys, posix = net.ffi, net.sys, net.posix
local C = c.load { "proxy/proxy.h", "proxy/server.h", "proxy/upstream.h", "proxy/lifecycle.h",
    "proxy/answer.h", "proxy/payload.h", "proxy/queue.h", "proxy/sticky.h", "proxy/hash_key.h",
    "shm/census.h", "shm/roster.h" }

local M = { C = C, c = c, ffi = ffi, net = net, posix = posix, sys = sys }
local Proxy, Wire = {}, {}
Proxy.__index, Wire.__index = Proxy, Wire

local function nonblocking(fd)
    assert(sys.fcntl(fd, 4, ffi.cast("int", net.NONBLOCK)) == 0) -- F_SETFL
    return fd
end

-- ---------------------------------------------------------------- one end of a connection

local function wire(p, fd)
    local w = setmetatable({ p = p, fd = fd, buf = "" }, Wire)
    p.wires[#p.wires + 1] = w
    return w
end

-- Take what is there; notes the end.
local function fill(w)
    if w.ended then return end
    local bytes, errno = net.read(w.fd)
    if bytes == "" then w.ended = "closed"
    elseif bytes then w.buf = w.buf .. bytes
    elseif errno ~= posix.EAGAIN then w.ended = "reset" end
end

--- Send all of it, turning the loop while the other side is slow.
function Wire:send(bytes)
    while #bytes > 0 do
        local n = net.write(self.fd, bytes)
        if n > 0 then bytes = bytes:sub(n + 1)
        elseif ffi.errno() == posix.EAGAIN then C.rp_loop_turn(self.p.env.loop, 1)
        else return false end
    end
    return true
end

--- Send as much as the socket takes at once; how much that was.
function Wire:push(bytes)
    return math.max(0, net.write(self.fd, bytes))
end

--- Everything up to and with the mark.
function Wire:recv_until(mark)
    local last
    self.p.env:until_true(function()
        fill(self)
        last = select(2, self.buf:find(mark, 1, true))
        return last or self.ended
    end, nil, ("%q"):format(mark))
    if not last then error(("%s before %q; had %q"):format(self.ended, mark, self.buf), 2) end
    local out = self.buf:sub(1, last)
    self.buf = self.buf:sub(last + 1)
    return out
end

function Wire:head()
    return self:recv_until("\r\n\r\n")
end

--- Everything until the end of the connection, and "closed" or "reset".
function Wire:recv_all()
    self.p.env:until_true(function()
        fill(self)
        return self.ended
    end, nil, "the end of the connection")
    local out = self.buf
    self.buf = ""
    return out, self.ended
end

--- What came within a few turns.
function Wire:recv_some(seconds)
    self.p.env:spin(seconds or 0.02)
    fill(self)
    local out = self.buf
    self.buf = ""
    return out, self.ended
end

function Wire:finish()
    sys.shutdown(self.fd, 1)
end

function Wire:close()
    if self.fd then sys.close(self.fd) end
    self.fd = nil
end

function Wire:reset()
    net.reset_on_close(self.fd)
    self:close()
end

-- ---------------------------------------------------------------- the proxy

local function build(opt, up_port)
    local s = site.new()
    for key, value in pairs(opt.numbers or {}) do s:number(key, value) end
    if opt.trust then assert(C.rp_conf_add_trust(s.conf, c.str(opt.trust), s.e) == 0) end
    local peers = {}
    for i, text in ipairs(opt.peers or { "self" }) do
        peers[i] = text == "self" and "127.0.0.1:" .. up_port or text
    end
    local up = s:upstream("up", peers)
    for key, value in pairs(opt.up or {}) do
        assert(C.rp_conf_set_upstream(s.conf, up, c.str(key), value) == 0, key)
    end
    local index = ffi.new("uint32_t[1]")
    assert(C.rp_conf_add_listener(s.conf, c.str("127.0.0.1:80"), false, index, s.e) == 0)
    local host = s:host({}, true)
    if opt.site then opt.site(s, host, up) end
    s:route(host, "/*", { upstream = up })
    s:freeze()
    ffi.gc(s.box, nil) -- the proxy's from now on
    return s.conf
end

-- We are worker 0; a spec may play the others.
local function open_census(p)
    p.zone, p.census = ffi.new("struct rp_zone *[1]"), ffi.new("struct rp_census *[1]")
    assert(C.rp_zone_new(c.str("spec"), C.rp_census_bytes(4, 1024), p.zone) == 0)
    assert(C.rp_census_new(p.zone[0], c.str("census"), 4, 1024, p.census) == 0)
    for w = 1, 3 do C.rp_census_forget(p.census[0], w) end
    C.rp_proxy_use_census(p.raw, p.census[0], 0)
end

--- A proxy with one listening socket and one place where its upstream connections arrive.
function M.open(opt)
    opt = opt or {}
    C.rp_log_threshold = C.RP_LOG_alert -- failures are the specs' daily bread
    local p = setmetatable({ env = net.open(), wires = {}, opt = opt }, Proxy)
    p.up_fd, p.up_port = net.tcp_listen()
    nonblocking(p.env:own(p.up_fd))
    local fd
    fd, p.port = net.tcp_listen()
    nonblocking(p.env:own(fd))
    p.conf = build(opt, p.up_port)
    p.raw = C.rp_proxy_new(p.env.loop, p.env.mem, p.conf)
    open_census(p)
    p.listener = ffi.new("struct rp_listener *[1]")
    assert(C.rp_proxy_listen(p.raw, fd, p.conf.listeners[0], p.listener) == 0)
    return p
end

--- A new generation, by the same options or others.
function Proxy:flip(opt)
    self.conf = build(opt or self.opt, self.up_port)
    C.rp_proxy_flip(self.raw, self.conf)
end

--- Connect as a client.
function Proxy:client()
    local fd = sys.socket(net.AF_INET, net.STREAM, 0)
    assert(sys.connect(fd, posix.inet("127.0.0.1", self.port), 16) == 0)
    return wire(self, nonblocking(fd))
end

local function try_accept(p)
    local fd = sys.accept4(p.up_fd, nil, nil, net.NONBLOCK)
    return fd >= 0 and wire(p, fd) or nil
end

--- The next connection that the proxy makes.
function Proxy:accept()
    local w
    self.env:until_true(function()
        w = try_accept(self)
        return w
    end, nil, "a connection to the upstream")
    return w
end

--- A connection to the upstream that should not be there, or nil.
function Proxy:accepted(seconds)
    self.env:spin(seconds or 0.03)
    return try_accept(self)
end

function Proxy:until_true(check, what)
    self.env:until_true(check, nil, what)
end

--- Wait until no request is live.
function Proxy:idle()
    self:until_true(function() return self.raw.live == nil end, "idle")
end

--- One exchange with a bodiless request: the client's whole answer of n body bytes.
function Proxy:round(client, up, request, response, n)
    client:send(request)
    local sent = up:head()
    up:send(response)
    local head = client:head()
    self:until_true(function()
        fill(client)
        return #client.buf >= (n or 0)
    end, "the body")
    local body = client.buf:sub(1, n or 0)
    client.buf = client.buf:sub((n or 0) + 1)
    return head, body, sent
end

--- End everything; raises when requests, memory or connections are left.
function Proxy:close()
    for _, w in ipairs(self.wires) do w:close() end
    C.rp_proxy_abort_all(self.raw)
    self:idle()
    local raw = ffi.new("struct rp_proxy *[1]", self.raw)
    C.rp_proxy_free(raw)
    C.rp_census_free(self.census)
    C.rp_zone_free(self.zone)
    self.env:spin(0.01)
    assert(tonumber(self.env.mem.live_bytes) == 0, "chunks are left")
    assert(self.env.mem.pieces.live_n == 0, "pieces are left")
    self.env:close()
end

return M
