-- SPDX-License-Identifier: MIT
--
-- origin: a scripted upstream that records what it gets. It is a process of its own
-- (origin_main.lua), so it answers while the spec waits.
--
--   local origin = require("spec.support.origin")
--   local o = origin.start {
--       ["/hello"] = { status = 200, fields = { ["X-A"] = "1" }, body = "hi" },
--       ["/raw"]   = { { send = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi" } },
--       ["/cut"]   = { { send = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi" },
--                      { close = true } },
--       ["/slow"]  = { { wait = 0.2 }, { send = "..." }, { gate = "go" }, { send = "..." } },
--       ["/flaky"] = { turns = { { { reset = true } }, { status = 200, body = "second time" } } },
--       ["*"]      = { status = 404 },                       -- all else (this is the default)
--   }
--   o.port  o:requests()  o:count("/a")  o:wait_requests(2)  o:connections()  o:received(1)
--   o:open_gate("go")
--   o:stop()                              -- or origin.cleanup() in after_each
--
-- A route is a response { status, reason, fields, body, chunked = true | piece size, close } or
-- a list of steps, each a table with one of:
--   send = bytes [, times = n]   wait = seconds   gate = name (until open_gate)
--   close = true (FIN)   reset = true (RST)   finish = true (FIN, go on reading)
--   hang = true (nothing more, ever)   echo = true (send back every further byte)
--   echo = "ws" (send back WebSocket frames)
--   pause = true | false (stop or go on reading from the socket)   body = true (wait for the body)
-- With early = true in the route its steps begin when the request's head is there, else after its
-- body. A route is found by the target without its query.
--
-- A request record: conn, n (which on its connection), method, target, version, head (raw), fields
-- (list), body (at most 1 MB), body_len, body_sum, framing ("none" "length" "chunked"), trailers,
-- complete. A connection record: id, requests, closed ("client", "reset", "origin" or nil).

local literal = require("spec.support.literal")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")

local M = {}
local Origin = {}
Origin.__index = Origin

local started = {}

--- A short checksum of bytes, the same as body_sum in the records.
function M.sum(bytes)
    local a, b = 1, 0
    for i = 1, #bytes do
        a = (a + bytes:byte(i)) % 65521
        b = (b + a) % 65521
    end
    return b * 65536 + a
end

--- Start an origin. opt: port, on_accept ("close" or "reset": every connection at once; "hang":
--- accept and never read), backlog, rcvbuf (bytes).
function M.start(routes, opt)
    opt = opt or {}
    local dir = proc.temp_dir()
    local port = opt.port or posix.free_port()
    local script = literal.chunk { routes = routes, port = port, dir = dir, on_accept = opt.on_accept,
        backlog = opt.backlog, rcvbuf = opt.rcvbuf }
    posix.write_file(dir .. "/script.lua", script)
    -- Ours is not the program under test: it runs without its sanitizer settings.
    local p = proc.spawn({ "luajit", "spec/support/origin_main.lua", dir .. "/script.lua" },
        { dir = dir, env = { LD_PRELOAD = false } })
    local o = setmetatable({ port = port, dir = dir, proc = p }, Origin)
    started[o] = true
    if not posix.poll(function() return posix.is_listening(port) or not p:is_running() end) or
        not p:is_running() then
        error("the origin does not start: " .. p:stderr(), 2)
    end
    return o
end

local function read_records(dir, prefix)
    local records, n = {}, 1
    while true do
        local text = posix.read_file(("%s/%s-%06d.lua"):format(dir, prefix, n))
        if not text then return records end
        records[n] = assert(loadstring(text))()
        n = n + 1
    end
end

--- Requests in the order in which they were complete (or given up, with complete = false).
function Origin:requests()
    assert(self.proc:is_running() or self.stopped, "the origin died: " .. self.proc:stderr())
    return read_records(self.dir, "req")
end

--- How many requests for that target came.
function Origin:count(target)
    local n = 0
    for _, req in ipairs(self:requests()) do if req.target == target then n = n + 1 end end
    return n
end

--- The requests once there are at least n; raises when they do not come within `seconds` (45).
function Origin:wait_requests(n, seconds)
    local last = ("%s/req-%06d.lua"):format(self.dir, n)
    if not posix.poll(function() return posix.exists(last) end, seconds) then
        error(("the origin got %d requests, not %d; %s"):format(#self:requests(), n,
            self.proc:stderr()), 2)
    end
    return self:requests()
end

function Origin:connections()
    return read_records(self.dir, "conn")
end

--- The connection records once `check(list)` holds; raises when it does not within `seconds` (45).
function Origin:wait_connections(check, seconds)
    local list = posix.poll(function()
        local now = self:connections()
        return check(now) and now
    end, seconds)
    if not list then error("the origin's connections: " .. #self:connections(), 2) end
    return list
end

--- Every byte (the first MB) that the n-th connection brought.
function Origin:received(n)
    return posix.read_file(("%s/raw-%06d"):format(self.dir, n)) or ""
end

--- Let all wait steps for this gate go on, now and later.
function Origin:open_gate(name)
    posix.write_file(self.dir .. "/gate-" .. name, "")
end

function Origin:close_gate(name)
    os.remove(self.dir .. "/gate-" .. name)
end

--- End it (its records stay readable until proc.cleanup()).
function Origin:stop()
    started[self] = nil
    self.stopped = true
    if self.proc:is_running() then
        self.proc:signal("KILL")
        self.proc:wait(5)
    end
end

function M.cleanup()
    for o in pairs(started) do
        o:stop()
    end
end

return M
