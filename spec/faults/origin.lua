-- SPDX-License-Identifier: MIT
--
-- origin: the other side of the proxy, scripted by what the requests ask for:
--
--   /KIND/ID?m=MODE&n=BYTES     answer with BYTES of body of ID, in the way of MODE
--
-- One listener speaks HTTP, one lines (for cosockets: each is sent back), one echoes (streams).
-- What it receives is checked: an error text in `wrong` is a failure of the proxy.

local datagrams = require("spec.faults.datagrams")
local http = require("spec.faults.http")
local sockets = require("spec.faults.sockets")

local M = {}
local Origin, Peer = {}, {}
Origin.__index, Peer.__index = Origin, Peer

function M.new(dice)
    local o = setmetatable({ dice = dice, peers = {}, seen = {}, port = {}, fd = {} }, Origin)
    for _, name in ipairs { "http", "second", "line", "echo" } do
        o.fd[name], o.port[name] = sockets.listen()
    end
    o.fd.dead, o.port.dead = sockets.dead()
    o.fd.udp, o.port.udp = datagrams.listen()
    return o
end

function Origin:fail(...)
    self.wrong = self.wrong or ("origin: " .. select(1, ...):format(select(2, ...)))
end

-- ---------------------------------------------------------------- answers

local function fields_of(id, more)
    return "X-Id: " .. id .. "\r\n" .. (more or "")
end

local function ok(id, more)
    return "HTTP/1.1 200 OK\r\n" .. fields_of(id, more)
end

-- mode -> what is sent, and how it ends: nil (keeps), "closed", "reset", "stall"
local answers = {}

function answers.cl(id, n)
    return ok(id, ("Content-Length: %d\r\n\r\n"):format(n)) .. http.body(id, n)
end

function answers.chunked(id, n, dice)
    return ok(id, "Transfer-Encoding: chunked\r\n\r\n")
        .. http.chunked(http.body(id, n), dice:pick { 1, 7, 1000, 16384, 100000 } + math.floor(n / 200))
end

function answers.close(id, n)
    return ok(id, "Connection: close\r\n\r\n") .. http.body(id, n), "closed"
end

function answers.last(id, n)
    return ok(id, ("Connection: close\r\nContent-Length: %d\r\n\r\n"):format(n)) .. http.body(id, n),
        "closed"
end

function answers.hints(id, n)
    return "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" .. answers.cl(id, n)
end

function answers.empty(id)
    return "HTTP/1.1 204 No Content\r\n" .. fields_of(id, "\r\n")
end

function answers.unavailable(id, n)
    return ("HTTP/1.1 503 Busy\r\n%sContent-Length: %d\r\n\r\n"):format(fields_of(id), n)
        .. http.body(id, n)
end

-- What is no whole answer: cut anywhere, in its own way.
local function cut(of, how)
    return function(id, n, dice)
        local whole = answers[of](id, n + (how == "closed" and 1 or 0), dice)
        return whole:sub(1, dice:range(0, #whole - 1)), how
    end
end

answers.cut_cl = cut("cl", "closed")
answers.cut_chunked = cut("chunked", "closed")
answers.reset_cl = cut("cl", "reset")
answers.reset_chunked = cut("chunked", "reset")
answers.reset_close = cut("close", "reset")
answers.stall = cut("cl", "stall")

function answers.garbage(id, _, dice)
    return dice:pick { "no http\r\n\r\n", "HTTP/1.1 2000 X\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length"
        .. ": 1\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 200 OK\r\nA B: c\r\n\r\n",
        ok(id, "Transfer-Encoding: chunked\r\n\r\nzz\r\n") }, "closed"
end

function answers.upgrade(id)
    return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        .. fields_of(id, "\r\n"), "echo"
end

M.good = { "cl", "chunked", "close", "last", "hints", "empty", "cl", "chunked" }
M.bad = { "cut_cl", "cut_chunked", "reset_cl", "reset_chunked", "reset_close", "stall", "garbage",
    "unavailable" }

-- ---------------------------------------------------------------- one connection

function Peer:close(how)
    if not self.fd then return end
    sockets.close(self.fd, how)
    self.fd = nil
end

-- A whole request has come: was it sent through as the client wrote it, and once?
local function check(p, id)
    local o, req = p.origin, p.request
    local want = o.requests and o.requests[id]
    if not want then return o:fail("request of nobody: %s", req.target) end
    local text = req.body:text()
    if want.sends and text ~= want.sends then
        o:fail("%s: body of %d bytes came as %d others", id, #want.sends, #text)
    end
    if want.method == "POST" and want.whole then o:fail("%s: POST came twice", id) end
    want.whole = true
end

local function answer(p)
    local req = p.request
    local id, query = req.target:match("^/%l+/([%w.]+)%??(.*)$")
    if not id then return p.origin:fail("odd target %s", req.target) end
    check(p, id)
    local mode, n = query:match("m=([%l_]+)"), tonumber(query:match("n=(%d+)") or 0)
    if req.method == "HEAD" and answers[mode] then
        p.out = p.out .. ok(id, ("Content-Length: %d\r\n\r\n"):format(n))
        p.ending = mode ~= "cl" and "closed" or nil
    else
        local bytes, ending = answers[mode or "cl"](id, n, p.origin.dice)
        p.out, p.ending = p.out .. bytes, ending
    end
    if p.ending == "echo" then p.protocol, p.ending = "echo", nil end
    p.request = nil
end

local protocols = {}

function protocols.http(p)
    if not p.request then
        if p.ending then return end
        if p.buf:find("^PROXY ") then p.buf = p.buf:gsub("^PROXY [^\r\n]*\r\n", "", 1) end
        if p.buf:find("^PROX?Y?$") or p.buf:find("^PROXY [^\n]*$") then return end
        local req, rest = http.request(p.buf)
        if not req then return end
        p.request, p.buf = req, rest
        if p.request.bad then return p.origin:fail("bad request line %q", p.request.bad) end
        if p.request.fields.expect then p.out = p.out .. "HTTP/1.1 100 Continue\r\n\r\n" end
    end
    p.buf = p.request.body:feed(p.buf)
    if p.request.body.bad then return p.origin:fail("bad chunk in %s", p.request.target) end
    if p.request.body.done then answer(p) end
end

function protocols.line(p)
    local line, rest = p.buf:match("^([^\n]*\n)(.*)$")
    if line then p.out, p.buf = p.out .. line, rest end
end

function protocols.echo(p)
    p.out, p.buf = p.out .. p.buf, ""
    if p.ended == "closed" and not p.ending then p.ending = "closed" end
end

local function read(p)
    if p.ended or #p.out > 200000 then return false end
    local bytes, why = sockets.read(p.fd, p.origin.dice:one_in(4) and 100 or nil)
    if bytes then
        p.buf = p.buf .. bytes
        return true
    end
    if why == "again" then return false end
    p.ended = why
    return true
end

local function write(p)
    if p.out == "" then return false end
    local n = sockets.write(p.fd, p.origin.dice:one_in(5) and p.out:sub(1, 50) or p.out)
    if not n then
        p:close()
        return true
    end
    p.out = p.out:sub(n + 1)
    return n > 0
end

-- True when something happened.
local function step(p)
    local moved = read(p)
    if p.buf ~= "" or p.ended then
        local before
        repeat
            before = p.buf
            protocols[p.protocol](p)
        until p.buf == before or p.buf == "" or p.origin.wrong
    end
    moved = write(p) or moved
    if not p.fd then return true end
    if p.out == "" and (p.ending == "closed" or p.ending == "reset") then
        p:close(p.ending)
        return true
    end
    if p.ended == "reset" or (p.ended and p.out == "" and not p.ending) then
        p:close()
        return true
    end
    return moved
end

-- ---------------------------------------------------------------- all of them

local SPEAKS = { http = "http", second = "http", line = "line", echo = "echo" }

local function accept(o)
    local moved = false
    for name, protocol in pairs(SPEAKS) do
        local fd = sockets.accept(o.fd[name])
        if fd then
            o.peers[#o.peers + 1] = setmetatable({ fd = fd, origin = o, protocol = protocol, buf = "",
                out = "" }, Peer)
            moved = true
        end
    end
    return moved
end

--- True when something happened.
function Origin:step()
    local moved = accept(self)
    moved = datagrams.echo(self.fd.udp) or moved
    for i = #self.peers, 1, -1 do
        local p = self.peers[i]
        if p.fd then moved = step(p) or moved end
        if not p.fd then table.remove(self.peers, i) end
    end
    return moved
end

--- A connection breaks for no reason; in the midst of what only its end can end, visibly.
function Origin:break_one()
    local p = #self.peers > 0 and self.dice:pick(self.peers)
    if not p then return end
    local busy = p.protocol == "echo" or p.out ~= ""
    p:close(busy and "reset" or self.dice:pick { "closed", "reset" })
end

function Origin:close_peers()
    for _, p in ipairs(self.peers) do p:close() end
    self.peers = {}
end

function Origin:close()
    self:close_peers()
    for _, fd in pairs(self.fd) do sockets.close(fd) end
end

return M
