-- SPDX-License-Identifier: MIT
--
-- client: one connection to the proxy with a few exchanges on it. It says whether what came back is
-- what may come back: for each request its own answer, whole; or an error of the proxy; or a cut
-- that nobody can take for a whole message. What it finds wrong is in `wrong`.

local http = require("spec.faults.http")
local sockets = require("spec.faults.sockets")
local tls = require("spec.faults.tls")

local M = {}
local Client = {}
Client.__index = Client

-- Without X-Id an answer is the proxy's own.
local OWN = { [408] = true, [413] = true, [421] = true, [431] = true, [500] = true, [502] = true,
    [503] = true, [504] = true }

local OF_ORIGIN = { [101] = true, [200] = true, [204] = true, [503] = true }

-- ---------------------------------------------------------------- what is asked

-- Letters of a 200 by kind of route; others: those of the origin.
local says = {
    upper = function(ex, n) return http.body(ex.id, n):upper() end,
    once = function(ex, n) return http.body(ex.id, n):upper() end,
    write = function(ex)
        return ("w" .. ex.id .. ";"):rep(ex.n / (#ex.id + 2) + 1):sub(1, ex.n)
    end,
    ["local"] = function(ex) return "local " .. ex.id end,
    replace = function(ex) return "replaced " .. ex.id end,
    echo = function(ex) return ex.body end,
    turn = function(ex) return ex.body:upper() end,
}

local function expected(ex, status)
    if status == 204 or ex.method == "HEAD" then return "" end
    local n = ex.n + (ex.mode:find("^cut") and 1 or 0) -- what is cut lacks at least one byte
    if says[ex.kind] then return says[ex.kind](ex, n) end
    return http.body(ex.id, n)
end

local function request_text(ex)
    local lines = { ("%s /%s/%s?m=%s&n=%d HTTP/%s"):format(ex.method, ex.kind, ex.id, ex.mode, ex.n,
        ex.version), "Host: site.test" }
    if ex.upgrade then
        lines[#lines + 1] = "Connection: Upgrade"
        lines[#lines + 1] = "Upgrade: websocket"
        lines[#lines + 1] = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        lines[#lines + 1] = "Sec-WebSocket-Version: 13"
    elseif ex.close then
        lines[#lines + 1] = "Connection: close"
    end
    if ex.expects then lines[#lines + 1] = "Expect: 100-continue" end
    local body = ex.body or ""
    if ex.body and ex.chunked then
        lines[#lines + 1] = "Transfer-Encoding: chunked"
        body = http.chunked(ex.body, ex.chunked)
    elseif ex.body then
        lines[#lines + 1] = "Content-Length: " .. #ex.body
    end
    return table.concat(lines, "\r\n") .. "\r\n\r\n" .. body
end

--- opt: port, exchanges, dice, pipelined, before (bytes in front), data (a tunnel's or a stream's),
--- slow (bytes a step), lazy (steps between reads), leave = { after = bytes, how = } (goes away), tls
--- (options of faults/tls: TLS is spoken)
function M.new(opt)
    local c = setmetatable(opt, Client)
    c.fd = sockets.connect(c.port)
    c.link = c.tls and tls.wrap(c.fd, c.tls)
    c.out, c.buf, c.at, c.sent_n, c.came_n, c.steps = c.before or "", "", 1, 0, 0, 0
    for i, ex in ipairs(c.exchanges) do
        if c.pipelined or i == 1 then c.out = c.out .. request_text(ex) end
    end
    if c.data and #c.exchanges == 0 then c.tunnel = { got = 0 } end
    if c.tunnel then c.out = c.out .. c.data end
    return c
end

function Client:fail(...)
    self.wrong = self.wrong or ("client: " .. select(1, ...):format(select(2, ...)))
end

-- ---------------------------------------------------------------- what comes back

local function check_head(c, ex, res)
    local id = res.fields["x-id"]
    if id and id ~= ex.id then
        return c:fail("%s got the answer of %s", ex.id, id)
    elseif not id and not OWN[res.status] then
        return c:fail("%s: status %d of nobody", ex.id, res.status)
    elseif id and not OF_ORIGIN[res.status] then
        return c:fail("%s: status %d", ex.id, res.status)
    end
    res.own = not id
end

-- `whole`: as far as the message itself says.
local function check_body(c, ex, res, whole)
    if res.own then return end
    local text, want = res.body:text(), expected(ex, res.status)
    if res.body.bad then
        c:fail("%s: bad chunk", ex.id)
    elseif whole and text ~= want then
        c:fail("%s: %d bytes look whole (%s) and %d were sent (m=%s)", ex.id, #text, res.body.how,
            #want, ex.mode)
    elseif not whole and want:sub(1, #text) ~= text then
        c:fail("%s: other bytes than were sent", ex.id)
    end
end

local function next_exchange(c, ex, res)
    ex.status, ex.own = res.status, res.own
    c.res = nil
    c.at = c.at + 1
    local following = c.exchanges[c.at]
    if following and not c.pipelined and not c.ended then c.out = c.out .. request_text(following) end
end

local function begin_tunnel(c, ex, res)
    ex.status = res.status
    c.res, c.at = nil, c.at + 1
    c.tunnel = { got = 0 }
    c.out = c.out .. c.data
end

-- Eat one thing from what came; false when there is none.
local function take(c)
    if c.tunnel then
        if c.buf == "" then return false end
        local at = c.tunnel.got
        if c.data:sub(at + 1, at + #c.buf) ~= c.buf then c:fail("other bytes in the tunnel") end
        c.tunnel.got, c.buf = at + #c.buf, ""
        return true
    end
    local ex = c.exchanges[c.at]
    if not ex then
        -- A head that did not come in time is answered before its method, HEAD, is known.
        local late = c.told_close and c.exchanges[#c.exchanges].status == 408
        if c.buf ~= "" and not late then c:fail("%q of no request", c.buf:sub(1, 60)) end
        return false
    end
    if not c.res then
        local res, rest = http.response(c.buf, ex.method)
        if not res then return false end
        if res.bad then return c:fail("%s: bad status line %q", ex.id, res.bad) end
        c.buf = rest
        if res.status >= 100 and res.status < 200 and res.status ~= 101 then return true end
        check_head(c, ex, res)
        if res.status == 101 then
            begin_tunnel(c, ex, res)
            return true
        end
        c.res = res
    end
    local before = #c.buf
    c.buf = c.res.body:feed(c.buf)
    if not c.res.body.done then return #c.buf < before end
    check_body(c, ex, c.res, true)
    if c.res.fields.connection == "close" then c.told_close = true end
    next_exchange(c, ex, c.res)
    return true
end

-- A WebSocket that ends without its closing frame has visibly been cut. A stream's cut is a reset,
-- but where it never reached an upstream.
local function check_tunnel_end(c)
    local t = c.tunnel
    if c.ended ~= "closed" or #c.exchanges > 0 or t.got == 0 then return end
    if t.got < #c.data then c:fail("stream: a clean end after %d of %d bytes", t.got, #c.data) end
end

local function at_end(c)
    local ex = c.exchanges[c.at]
    if c.tunnel then return check_tunnel_end(c) end
    if c.res then
        check_body(c, ex, c.res, c.res.body.how == "close" and c.ended == "closed")
        if c.res.body.how == "close" and c.ended == "closed" then next_exchange(c, ex, c.res) end
    end
end

-- ---------------------------------------------------------------- steps

function Client:close(how)
    if not self.fd then return end
    if self.link then self.link:close(how) else sockets.close(self.fd, how) end
    self.fd = nil
    self.done = true
end

local function leaves(c)
    local l = c.leave
    if not l or c.sent_n + c.came_n < l.after then return false end
    c:close(l.how)
    c.left = true
    return true
end

local function write(c)
    if c.out == "" then return false end
    local part = c.slow and c.out:sub(1, c.slow) or c.out
    local n
    if c.link then n = c.link:write(part) else n = sockets.write(c.fd, part) end
    if not n then -- what came before the end is still to be read; the reset is told only once
        c.out, c.was_reset = "", true
        return true
    end
    c.out = c.out:sub(n + 1)
    c.sent_n = c.sent_n + n
    return n > 0
end

local function read(c)
    if c.lazy and c.steps % c.lazy ~= 0 then return c.reading end
    local bytes, why
    if c.link then bytes, why = c.link:read(c.lazy and 3000 or nil)
    else bytes, why = sockets.read(c.fd, c.lazy and 3000 or nil) end
    if c.link and c.link.wrong then c:fail("%s", c.link.wrong) end
    c.reading = why ~= "again"
    if not c.reading then return false end
    if why == "moved" then return true end
    if bytes then
        c.came_n = c.came_n + #bytes
        c.buf = c.buf .. bytes
        while not c.wrong and take(c) do end
    else
        c.ended = c.was_reset and "reset" or why
        at_end(c)
        c:close()
    end
    return true
end

-- Both sides of a tunnel have said all: the client ends its half, and the other follows.
local function finish(c)
    if c.tunnel and c.out == "" and not c.finished then
        if c.link and not c.link:finish() then return false end
        if not c.link then sockets.finish(c.fd) end
        c.finished = true
        return true
    end
    if not c.tunnel and not c.exchanges[c.at] then
        c:close()
        return true
    end
    return false
end

--- True when something happened.
function Client:step()
    if self.done then return false end
    self.steps = self.steps + 1
    if leaves(self) then return true end
    local moved = write(self)
    moved = read(self) or moved
    if self.fd and not self.wrong then moved = finish(self) or moved end
    return moved
end

--- How far it is, for a report.
function Client:describe()
    local what = #self.exchanges == 0 and "stream" or self.tunnel and "tunnel" or "http"
    if self.link then what = what .. " TLS" end
    local lines = { ("  %s port=%d at=%d/%d sent=%d came=%d unsent=%d slow=%s lazy=%s pipelined=%s "
        .. "ended=%s%s"):format(what, self.port, self.at, #self.exchanges,
            self.sent_n, self.came_n, #self.out, tostring(self.slow), tostring(self.lazy),
            tostring(self.pipelined), tostring(self.ended), self.left and " left" or "") }
    for i, ex in ipairs(self.exchanges) do
        lines[#lines + 1] = ("    %s %s /%s/%s m=%s n=%d body=%s chunked=%s expects=%s %s status=%s own=%s%s")
            :format(i == self.at and ">" or " ", ex.method, ex.kind, ex.id, ex.mode, ex.n,
            ex.body and #ex.body or "-", tostring(ex.chunked), tostring(ex.expects), ex.version,
            tostring(ex.status), tostring(ex.own), ex.close and " close" or "")
    end
    return table.concat(lines, "\n")
end

return M
