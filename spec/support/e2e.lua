-- SPDX-License-Identifier: MIT
--
-- e2e: what the specs of a running proxy share.
--
--   local e2e = require("spec.support.e2e")
--   local rp = e2e.proxy { vars = { origin = o.port }, site = [[
--       upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
--       hosts = { rp.host { default = true, routes = { rp.route { "/*", upstream = "o" } } } } ]] }
--   local up = e2e.listen()              -- an upstream played by the spec itself, step by step
--   local w = up:accept()                -- a wire, server side
--   e2e.head(w)                          -- read one request head, as text
--   e2e.stop(rp)                         -- in teardown: everything ends, and ends cleanly

local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local socket = require("socket")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

local M = {}

--- Start rproxy with one worker and one listener; opt.site holds the rest of rp.site { ... }, the
--- other options are those of proc.rproxy. opt.before: Lua text before `return rp.site`.
function M.proxy(opt)
    local all = {}
    for name, value in pairs(opt) do all[name] = value end
    all.site = (opt.before or "") .. [[ return rp.site { workers = 1,
        listeners = { rp.listen { "127.0.0.1:${port}" } }, ]] .. opt.site .. " }"
    return proc.rproxy(all)
end

--- A proxy (opt as for M.proxy) and the origin behind it: ${origin} is the port of one that answers
--- by `routes`.
function M.pair(routes, opt)
    local up, all = origin.start(routes), {}
    for name, value in pairs(opt) do all[name] = value end
    all.vars = { origin = up.port }
    for name, value in pairs(opt.vars or {}) do all.vars[name] = value end
    return M.proxy(all), up
end

--- Body of GET target; raises when the status is not 200.
function M.body(rp, target, fields)
    local res = http.get(rp.port, target, fields)
    if res.status ~= 200 then error(("%s: %d %s"):format(target, res.status, res.body), 2) end
    return res.body
end

--- Lines of the error log that match, from byte `mark` on.
function M.log_since(rp, mark, pattern)
    local found = {}
    for line in rp:stderr():sub(mark + 1):gmatch("[^\n]+") do
        if line:find(pattern) then found[#found + 1] = line end
    end
    return found
end

--- End a proxy (asserting that it ends cleanly), the origins and what else a spec file started.
function M.stop(rp)
    wire.close_all()
    local ok, err = pcall(rp.stop, rp)
    origin.cleanup()
    proc.cleanup()
    if not ok then error(err, 0) end
end

--- Values of a field in a list of { name, value }.
function M.values(fields, name)
    local found = {}
    for _, field in ipairs(fields) do
        if field[1]:lower() == name:lower() then found[#found + 1] = field[2] end
    end
    return found
end

--- First value of a field in an origin's request record; nil when absent.
function M.field(req, name)
    return M.values(req.fields, name)[1]
end

--- The last request that an origin got.
function M.last(o)
    local all = o:requests()
    return all[#all]
end

--- Raise unless the response was the last of its connection: HTTP/1.1 says so and ends. HTTP/2 has
--- nothing to end but the stream.
function M.assert_last(w, res)
    if protocol.has_h2 then return end
    if res:header("connection") ~= "close" then error("no Connection: close", 2) end
    if not w:is_closed() then error("the connection lives on", 2) end
end

-- ---------------------------------------------------------------- an upstream played by the spec

local Listener = {}
Listener.__index = Listener

--- Listen on a port of our own, or on a unix path.
function M.listen(path)
    local sock, port
    if path then
        sock = require("socket.unix")()
        assert(sock:bind(path))
        assert(sock:listen(16))
        -- Started by root, workers are somebody else: let them in.
        os.execute(("chmod 755 '%s' && chmod 666 '%s'"):format(path:match("^(.*)/"), path))
    else
        port = posix.free_port()
        sock = socket.tcp4()
        sock:setoption("reuseaddr", true)
        assert(sock:bind("127.0.0.1", port))
        assert(sock:listen(16))
    end
    return setmetatable({ sock = sock, port = port }, Listener)
end

--- The next connection; raises when none comes within `seconds` (45).
function Listener:accept(seconds)
    self.sock:settimeout(seconds or 45)
    local sock, err = self.sock:accept()
    if not sock then error("no connection came: " .. err, 2) end
    return wire.wrap(sock)
end

function Listener:close()
    self.sock:close()
end

--- Read one head, request or response.
function M.head(w)
    return w:recv_until("\r\n\r\n")
end

--- A port where connecting hangs: its queue is full and nobody accepts. Returns port, close().
function M.full_port()
    local port = posix.free_port()
    local fd = posix.C.socket(2, 1, 0)
    assert(posix.C.bind(fd, posix.inet("127.0.0.1", port), 16) == 0)
    assert(posix.C.listen(fd, 0) == 0)
    local fillers = {}
    for i = 1, 4 do
        fillers[i] = socket.tcp4()
        fillers[i]:settimeout(0.02)
        fillers[i]:connect("127.0.0.1", port) -- the first ones stay in the queue, the rest hang
    end
    return port, function()
        for _, filler in ipairs(fillers) do filler:close() end
        posix.C.close(fd)
    end
end

-- ---------------------------------------------------------------- memory and large bodies

--- Resident kB of a proxy's processes, the largest one (the worker, under load).
function M.rss(rp)
    local most = 0
    for _, pid in ipairs(posix.tree(rp.pid)) do
        local status = posix.read_file("/proc/" .. pid .. "/status") or ""
        most = math.max(most, tonumber(status:match("VmRSS:%s+(%d+)") or 0))
    end
    return most
end

--- Wait until `sample()` gives the same value for a while (nothing moves any more); returns it.
function M.settled(sample)
    local last, since = nil, posix.now()
    return posix.poll(function()
        local now = sample()
        if now ~= last then
            last, since = now, posix.now()
        end
        return posix.now() - since > 0.15 and last
    end, 30)
end

--- Read and forget n bytes of a wire; returns how many came (fewer: the end), and the end of the
--- last piece.
function M.drain(w, n)
    return w:drain(n)
end

--- Is this the sanitized build? It keeps freed memory and takes its time.
M.is_debug = os.getenv("RP_MODE") == "debug"

return M
