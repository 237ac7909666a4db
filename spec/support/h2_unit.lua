-- SPDX-License-Identifier: MIT
--
-- h2_unit: one side of HTTP/2 in this process, driven by FFI; the other side is spec.support.h2 on
-- a wire that turns the loop while it waits.
--
--   local link = h2_unit.link(env, { window = 65536 })      -- an upstream's connection (h2_link)
--   local s = link:accept { settings = { { 3, 10 } } }      -- its server
--   local u = link:stream()                                 -- a struct rp_up; u.woken counts
--
--   local down = h2_unit.down(env)                          -- a client's connection (h2_down)
--   local c = down:connect()                                -- its client
--   local x = down:until_started()                          -- a struct rp_exchange
--
-- Both: close(). Ops are called by h2_unit.up.NAME(u, ..) and x.ops.NAME(x, ..).

local h2 = require("spec.support.h2")
local net = require("spec.support.net")
local posix = require("spec.support.posix")

local C, ffi, c, sys = net.C, net.ffi, net.c, net.sys
c.load { "http/h2_up.h", "http/h2_down.h", "http/h1_write.h" }

local M = { up = net.up }
local U = net.up
local PATIENCE = 20

local Wire = {}
Wire.__index = Wire

--- The calls of a wire over a non-blocking descriptor.
function M.wire(env, fd)
    return setmetatable({ env = env, fd = fd, buf = "" }, Wire)
end

function Wire:send(bytes)
    local deadline = posix.now() + PATIENCE
    while #bytes > 0 do
        local n = net.write(self.fd, bytes)
        if n < 0 then
            if ffi.errno() ~= posix.EAGAIN then error("reset", 2) end
            if posix.now() > deadline then error("the other side takes nothing", 2) end
            C.rp_loop_turn(self.env.loop, 2)
        else
            bytes = bytes:sub(n + 1)
        end
    end
end

--- What has come; false at the end.
function Wire:take()
    local bytes, errno = net.read(self.fd)
    if bytes == "" then return false end
    if not bytes then return errno == posix.EAGAIN and "" end
    self.buf = self.buf .. bytes
    return bytes
end

function Wire:recv(n)
    local deadline = posix.now() + PATIENCE
    while #self.buf < n do
        C.rp_loop_turn(self.env.loop, 2)
        if self:take() == false then error("closed", 2) end
        if posix.now() > deadline then error("nothing came", 2) end
    end
    local out = self.buf:sub(1, n)
    self.buf = self.buf:sub(n + 1)
    return out
end

function Wire:close()
    if self.fd then sys.close(self.fd) end
    self.fd = nil
end

local function set_nonblocking(fd)
    sys.fcntl(fd, 4, ffi.cast("int", net.NONBLOCK)) -- F_SETFL
end

local function adopt(env, fd)
    local out = ffi.new("struct rp_conn *[1]")
    assert(C.rp_conn_adopt(env.loop, fd, nil, nil, out) == 0)
    return out[0]
end

--- Read everything that comes until check() is true, or `seconds` are over: true when it was.
function M.settle(env, peer, check, seconds)
    local deadline = posix.now() + (seconds or PATIENCE)
    repeat
        if check and check() then return true end
        C.rp_loop_turn(env.loop, 2)
        if peer.wire:take() == false then return check and check() or false end
        while #peer.wire.buf >= 9 do
            local a, b, d = peer.wire.buf:byte(1, 3)
            if #peer.wire.buf < 9 + a * 65536 + b * 256 + d then break end
            peer:read()
        end
    until posix.now() > deadline
    return check and check() or false
end

--- Turn the loop until nothing happens any more: what was sent was taken, by both.
function M.quiet(env, peer)
    M.settle(env, peer, nil, 0.05)
end

-- ---------------------------------------------------------------- to an upstream

local Link = {}
Link.__index = Link

--- opt: links (struct rp_h2_links; a fresh one), streams, window, requests, idle (ms), small (bytes
--- that the system keeps for the socket, about).
function M.link(env, opt)
    opt = opt or {}
    local near, far = net.tcp_pair()
    set_nonblocking(far)
    if opt.small then
        local bytes = ffi.new("int[1]", opt.small)
        sys.setsockopt(near, net.SOL_SOCKET, net.SO_SNDBUF, bytes, 4)
        sys.setsockopt(far, net.SOL_SOCKET, net.SO_RCVBUF, bytes, 4)
    end
    local k = setmetatable({ env = env, far = far, streams = {},
        links = opt.links or env:anchor(ffi.new("struct rp_h2_links")) }, Link)
    local settings = ffi.new("struct rp_h2_link_settings", opt.streams or 100,
        opt.window or 65536, opt.requests or 0, opt.idle or 20000)
    k.conn = adopt(env, near)
    k.raw = C.rp_h2_link_open(k.links, k.conn, env.mem, settings, false)
    return k
end

--- The server of the link, its first SETTINGS taken. opt: of h2.accept.
function Link:accept(opt)
    self.server = h2.accept(M.wire(self.env, self.far), opt)
    self.server:wait(function() return self.server.acked end)
    return self.server
end

--- A stream; woken counts its events.
function Link:stream(tunnel)
    local u = C.rp_h2_link_stream(self.raw, tunnel or false)
    local s = { u = u, woken = 0 }
    u.wake = self.env:callback("rp_up_fn", function() s.woken = s.woken + 1 end)
    self.streams[#self.streams + 1] = s
    return u, s
end

--- Give a stream back.
function Link:give_back(u)
    for i, s in ipairs(self.streams) do
        if s.u == u then table.remove(self.streams, i) end
    end
    U.close(u)
end

function Link:close()
    for i = #self.streams, 1, -1 do self:give_back(self.streams[i].u) end
    C.rp_h2_links_close(self.links)
    if self.server then self.server.wire:close() else sys.close(self.far) end
end

--- A struct rp_chain, with these bytes.
function M.chain(env, bytes)
    local out = ffi.new("struct rp_chain")
    C.rp_chain_init(out, env.mem)
    if bytes then C.rp_chain_add_copy(out, c.str(bytes)) end
    return out
end

--- The bytes of a chain, which is empty then.
function M.drain(out)
    local n = tonumber(out.bytes)
    local buf = ffi.new("char[?]", n + 1)
    C.rp_chain_peek(out, buf, n)
    C.rp_chain_clear(out)
    return ffi.string(buf, n)
end

--- Start a request on a stream. opt: method, framing, length, target, fields (text).
function M.start(env, u, opt)
    opt = opt or {}
    local head = ("%s %s HTTP/1.1\r\nHost: a\r\n%s\r\n"):format(opt.method or "GET",
        opt.target or "/", opt.fields or "")
    U.start(u, M.chain(env, head), C["RP_M_" .. (opt.method or "GET")],
        C["RP_BODY_" .. (opt.framing or "NONE")], opt.length or 0)
end

--- Queue content; the error's name.
function M.send(env, u, bytes, last)
    local piece = M.chain(env, bytes)
    local e = c.err_name(U.send(u, piece, last or false, nil))
    C.rp_chain_clear(piece)
    return e
end

-- ---------------------------------------------------------------- from a client

local Down = {}
Down.__index = Down

local function common_settings(opt)
    local s = ffi.new("struct rp_h1_settings")
    s.limits = { 32768, 8192, 100 }
    s.head_ms, s.keepalive_ms = opt.head or 20000, opt.keepalive or 20000
    s.linger_ms = opt.linger or 20000
    s.requests_max = opt.requests or 0
    return s
end

local function new_exchange(down)
    local x = ffi.new("struct rp_exchange")
    down.anchors[#down.anchors + 1] = x
    C.rp_arena_init(x.arena, x.arena_first, C.RP_EXCHANGE_ARENA_BYTES, 65536)
    C.rp_msg_init(x.head, x.fields, C.RP_EXCHANGE_FIELDS, 100)
    x.body_limit = -1ULL
    return x
end

--- opt: streams (100), window (65536), head, keepalive, linger (ms), requests.
function M.down(env, opt)
    opt = opt or {}
    local d = setmetatable({ env = env, anchors = {}, live = {}, started = {}, wakes = {} }, Down)
    d.all = env:anchor(ffi.new("struct rp_h2_downs"))
    d.counts = env:anchor(ffi.new("struct rp_h2_counts"))
    d.common = env:anchor(common_settings(opt))
    local user = env:anchor(ffi.new("struct rp_exchange_user"))
    user.open = env:callback("struct rp_exchange *(*)(void *, void *)", function()
        return new_exchange(d)
    end)
    user.start = env:callback("void (*)(struct rp_exchange *, rp_err)", function(x, e)
        d.started[#d.started + 1] = { x = x, err = c.err_name(e) }
        d.live[tonumber(x.stream_id)] = x
    end)
    user.wake = env:callback("void (*)(struct rp_exchange *, unsigned)", function(x, why)
        local id = tonumber(x.stream_id)
        d.wakes[id] = d.wakes[id] or {}
        table.insert(d.wakes[id], tonumber(why))
    end)
    C.rp_h2_downs_init(d.all, env.mem, d.common, user, d.counts)
    d.all.settings = { opt.streams or 100, opt.window or 65536 }
    return d
end

--- A client. opt: of h2.connect.
function Down:connect(opt)
    local near, far = net.tcp_pair()
    set_nonblocking(far)
    C.rp_h2_down_open(self.all, adopt(self.env, near), nil, 7, nil, c.str(""))
    local all = { wire = M.wire(self.env, far) }
    for name, value in pairs(opt or {}) do all[name] = value end
    self.client = h2.connect(nil, all)
    return self.client
end

--- The n-th request (the next one that was not asked for).
function Down:until_started()
    self.seen = (self.seen or 0) + 1
    self.env:until_true(function() return self.started[self.seen] end)
    local s = self.started[self.seen]
    return s.x, s.err
end

function Down:has_woken(x, why)
    for _, w in ipairs(self.wakes[tonumber(x.stream_id)] or {}) do
        if w == why then return true end
    end
    return false
end

function Down:finish(x)
    self.live[tonumber(x.stream_id)] = nil
    x.ops.finish(x)
    C.rp_chunk_drop(x.head_chunk)
    C.rp_arena_reset(x.arena)
end

--- Send a response head; framing as of struct rp_msg.
function Down.head(_, x, status, framing, length)
    local res = ffi.new("struct rp_msg")
    C.rp_msg_init(res, nil, 0, 10)
    res.status, res.framing = status, C["RP_BODY_" .. (framing or "NONE")]
    res.content_length = length or 0
    return c.err_name(x.ops.send_head(x, res))
end

function Down:body(x, bytes, last)
    local piece = M.chain(self.env, bytes)
    local e = c.err_name(x.ops.send_body(x, piece, last or false))
    C.rp_chain_clear(piece)
    return e
end

function Down:read(x, most)
    local out = M.chain(self.env)
    local e = c.err_name(x.ops.read_body(x, out, most or 65536))
    return e, M.drain(out)
end

function Down:close()
    for _, x in pairs(self.live) do self:finish(x) end
    C.rp_h2_downs_abort(self.all)
    self.env:until_true(function() return self.all.n == 0 end)
    C.rp_h2_downs_fini(self.all)
    if self.client then self.client.wire:close() end
end

return M
