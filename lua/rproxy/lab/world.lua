-- SPDX-License-Identifier: MIT
--
-- world: all that a site in the lab can reach: servers played by Lua functions, names and their
-- addresses. Nothing else is there: what connects elsewhere is refused and noted.

local wire = require("rproxy.lab.wire")

local M = {}

local World, Conn = {}, {}
World.__index, Conn.__index = World, Conn

--- What a server's function may return instead of an answer.
M.FAILURES = { reset = true, close = true, hang = true }

-- ---------------------------------------------------------------- connections of servers

--- Send bytes, as the other side takes them.
function Conn:send(bytes)
    self.out = self.out .. bytes
    self:flush()
end

-- Only once all was sent.
function Conn:close()
    self.closing = true
    self:flush()
end

-- What lies unread in the socket makes it a reset.
function Conn:reset()
    self.out = ""
    self:drop()
end

function Conn:drop()
    if not self.fd then return end
    self.world.core.drop(self.fd)
    self.fd = nil
end

function Conn:flush()
    while self.fd and self.out ~= "" do
        local n = self.world.core.send(self.fd, self.out)
        if not n then return self:drop() end
        if n == 0 then return end
        self.out, self.moved = self.out:sub(n + 1), true
    end
    if self.closing then self:drop() end
end

-- Take out of the socket what was looked at.
function Conn:swallow()
    if self.held and self.fd then self.world.core.recv(self.fd) end
    self.held = nil
end

-- ---------------------------------------------------------------- servers of HTTP

local function read_request(msg, conn)
    local path, query = msg.target:match("^([^?]*)%??(.*)$")
    msg.path, msg.query = path, query ~= "" and query or nil
    msg.host, msg.address = msg.headers.host, conn.to
    return msg
end

-- What a server's function returned as one table.
local function as_answer(status, body, headers)
    if type(status) == "table" then return status end
    if type(status) == "number" then
        return { status = status, body = body, headers = headers }
    end
    if status == nil then return { status = 200, body = body or "" } end
    if M.FAILURES[status] then return { failure = status } end
    if type(status) == "string" then return { status = 200, body = status, headers = body } end
    error("a server returned a " .. type(status), 0)
end

-- Goes out; what is left out of it is `cut` bytes at its end.
local function give(conn, answer, method)
    conn:swallow()
    local bytes = answer.raw or wire.response(answer, method)
    if answer.cut then bytes = bytes:sub(1, math.max(0, #bytes - answer.cut)) end
    if answer.pace then return conn.world:trickle(conn, bytes, answer.pace) end
    conn:send(bytes)
    local ends = answer.raw or answer.cut or answer.close
    if ends then return conn:close() end
    conn.waiting = nil
    conn.reader:again()
end

local function follow(conn, answer, msg)
    if answer.failure == "reset" then return conn:reset() end
    if answer.failure == "close" then
        conn:swallow()
        return conn:close()
    end
    if answer.failure == "hang" then return conn:swallow() end
    give(conn, answer, msg.method)
end

local function answer_http(conn, msg)
    local world = conn.world
    local server = world.places[conn.to] or conn.server -- another may play it since it connected
    conn.waiting = true
    read_request(msg, conn)
    table.insert(server.requests, msg)
    world.last_request = msg
    table.insert(world.requests, msg)
    local ran, answer = xpcall(function() return as_answer(server.fn(msg)) end, debug.traceback)
    if not ran then
        table.insert(world.wrong, ("the server at %s raised: %s"):format(conn.to, answer))
        return conn:reset()
    end
    if not answer.delay then return follow(conn, answer, msg) end
    world:after(answer.delay, function()
        if conn.fd then follow(conn, answer, msg) end
    end)
end

-- Looked at first and taken when it is answered, so that it may end in a reset.
local function serve_http(conn)
    if conn.waiting then return end
    local bytes, why = conn.world.core.recv(conn.fd, true)
    if bytes == nil then return end
    conn.moved = true
    if bytes == false then
        conn.ended = why
        return conn:drop()
    end
    conn.held = true
    local msg = conn.reader:feed(bytes)
    if msg then answer_http(conn, msg) else conn:swallow() end
end

local function serve_bytes(conn)
    local bytes, why = conn.world.core.recv(conn.fd)
    if bytes == nil then return end
    conn.moved = true
    local fn = conn.server.on_data
    if bytes == false then
        conn.ended = why
        if conn.server.on_end then conn.server.on_end(conn, why) end
        return conn:drop()
    end
    local ran, err = xpcall(fn, debug.traceback, conn, bytes)
    if ran then return end
    table.insert(conn.world.wrong, ("the server at %s raised: %s"):format(conn.to, err))
    conn:drop()
end

-- ---------------------------------------------------------------- the world

--- @param core table  host.lab
function M.new(core)
    return setmetatable({ core = core, places = {}, names = {}, conns = {}, later = {}, wrong = {},
        requests = {}, ips = 0, taken = {} }, World)
end

-- 198.18.0.0/15 is for tests of networks (RFC 2544): nobody has it.
function World:fresh_ip()
    self.ips = self.ips + 1
    return ("198.%d.%d.%d"):format(18 + math.floor(self.ips / 65536) % 2,
        math.floor(self.ips / 256) % 256, self.ips % 256)
end

--- "host:port" as an address, with a name for it where there is none yet.
--- @param place string
--- @return string address
function World:address(place)
    if place:find("^unix:") then return place end
    local host, port = place:match("^(.+):(%d+)$")
    if not host then error(("%q is no place: write \"host:port\""):format(place), 0) end
    if host:find("^%[") or host:find("^%d+%.%d+%.%d+%.%d+$") then return place end
    host = host:lower()
    local ips = self.names[host]
    if type(ips) ~= "table" then
        ips = { self:fresh_ip() }
        self:name(host, ips)
    end
    local ip = ips[1]
    return (ip:find(":", 1, true) and "[%s]:%s" or "%s:%s"):format(ip, port)
end

--- Say what connecting there does.
--- @param place string
--- @param server table  fn | on_data, manner ("accept", "refuse", "hang", "reset")
function World:put(place, server)
    local address = self:address(place)
    server.requests = server.requests or {}
    self.places[address] = server
    self.core.place(address, server.manner or "accept")
    return server
end

--- What a name is: a list of addresses, or "absent", "timeout", "fail".
function World:name(name, what)
    self.names[name:lower()] = what
    self.core.name(name:lower(), what)
end

--- A new site begins: the core has forgotten all places.
function World:apply()
    for address, server in pairs(self.places) do
        self.core.place(address, server.manner or "accept")
    end
    for name, what in pairs(self.names) do self.core.name(name, what) end
end

local function copy(t)
    local out = {}
    for key, value in pairs(t) do out[key] = value end
    return out
end

--- What is there now, for `restore`.
function World:snapshot()
    return { places = copy(self.places), names = copy(self.names) }
end

function World:restore(kept)
    for address in pairs(self.places) do
        if not kept.places[address] then self.core.place(address, "refuse") end
    end
    for name in pairs(self.names) do
        if not kept.names[name] then self.core.name(name, "absent") end
    end
    self.places, self.names = copy(kept.places), copy(kept.names)
    self:apply()
end

--- Close what is open; nothing of the last site is left.
function World:hang_up()
    for _, conn in ipairs(self.conns) do conn:drop() end
    self.conns, self.later, self.wrong = {}, {}, {}
    self.requests, self.last_request = {}, nil
end

-- ---------------------------------------------------------------- time

--- Have fn run when so many seconds have passed.
function World:after(seconds, fn)
    local at = self.core.now() + seconds
    local i = #self.later
    while i > 0 and self.later[i].at > at do i = i - 1 end
    table.insert(self.later, i + 1, { at = at, fn = fn })
end

--- Send pace.bytes every pace.seconds.
function World:trickle(conn, bytes, pace)
    local part = bytes:sub(1, pace.bytes)
    conn:send(part)
    if #part == #bytes then
        conn.waiting = nil
        conn.reader:again()
        return
    end
    self:after(pace.seconds, function()
        if conn.fd then self:trickle(conn, bytes:sub(#part + 1), pace) end
    end)
end

--- Seconds until something is to be done here; nil: never.
function World:next()
    local first = self.later[1]
    return first and math.max(0, first.at - self.core.now())
end

local TINY = 1e-9

local function run_due(self)
    local moved = false
    while self.later[1] and self.later[1].at <= self.core.now() + TINY do
        moved = true
        table.remove(self.later, 1).fn()
    end
    return moved
end

-- ---------------------------------------------------------------- turning

local function arrive(self)
    local list = self.core.arrivals()
    for _, one in ipairs(list or {}) do
        local server = self.places[one.to]
        local conn = setmetatable({ world = self, fd = one.fd, to = one.to, server = server,
            out = "", datagrams = one.datagrams }, Conn)
        if not server or server.manner == "hang" then conn.server = nil
        elseif server.fn then conn.reader = wire.reader("request")
        elseif server.on_open then server.on_open(conn) end
        table.insert(self.conns, conn)
    end
    return list ~= nil
end

--- Do what can be done without time passing. False: there was nothing.
function World:serve()
    self.serving = true
    local ran, moved = pcall(self.turn, self)
    self.serving = false
    if not ran then error(moved, 0) end
    return moved
end

function World:turn()
    local moved = run_due(self)
    moved = arrive(self) or moved
    local kept = {}
    for _, conn in ipairs(self.conns) do
        conn.moved = false
        if conn.fd and conn.server then
            conn:flush()
            if conn.fd and conn.server.fn then serve_http(conn)
            elseif conn.fd and conn.server.on_data then serve_bytes(conn) end
        end
        moved = moved or conn.moved
        if conn.fd then kept[#kept + 1] = conn end
    end
    self.conns = kept
    return moved
end

return M
