-- SPDX-License-Identifier: MIT
--
-- support: a whole proxy inside the spec's process: a site evaluated in a VM of its own, a real
-- listener on a free port, real sockets; the spec turns the loop.
--
--   local site = support.site [[ return rp.site { ... } ]]      -- a head and listeners are added
--   local res = site:get("/x", { ["x-key"] = "1" })             -- { status, headers, body, raw }
--   site:close()                                                -- frees all of it

local assert = require("luassert")
local ffi = require("ffi")
local socket = require("socket")

-- The VM's own FFI looks names up among the global symbols of the process; a library that nobody
-- refers to is closed by the collector.
local library = ffi.load(os.getenv("RP_TEST_LIB") or "build/librproxy_test.so", true)

local c = require("spec.support.c")
local posix = require("spec.support.posix")

-- C calls back into this VM (a start's outcome), which it may not while compiled code runs. The VM
-- of the site is another one.
jit.off()

local C = c.load { "script/host.h", "script/abi.h", "net/loop.h", "proxy/proxy.h" }

local M = { C = C, c = c, library = library }

local Site = {}
Site.__index = Site

M.PATH = "/srv/site/site.lua"

-- ---------------------------------------------------------------- building

local function u64(n)
    return ffi.string(ffi.new("uint64_t[1]", n), 8)
end

local function u32(n)
    return ffi.string(ffi.new("uint32_t[1]", n), 4)
end

local function text(s)
    return u64(#s) .. s
end

--- A bundle of files (name below the site's folder -> source; false: known to be absent).
function M.bundle(files, overrides)
    local parts, n = {}, 0
    for name, source in pairs(files) do
        n = n + 1
        parts[#parts + 1] = (source and "\1" or "\0") .. text("/srv/site/" .. name)
            .. text(source or "")
    end
    local flat = "RPB1" .. u32(n) .. text(M.PATH) .. text(overrides or "") .. table.concat(parts)
    local out = ffi.new("struct rp_bundle *[1]")
    assert.equal("OK", c.err_name(C.rp_bundle_load(c.str(flat), out)))
    return out[0]
end

--- Evaluate a site: the frozen conf, or nil and the message.
function M.build(source, files, overrides, generation)
    local all = { ["site.lua"] = source }
    for name, s in pairs(files or {}) do all[name] = s end
    local bundle = M.bundle(all, overrides)
    local conf = ffi.new("struct rp_conf *[1]")
    local err = ffi.new("struct rp_buf")
    C.rp_buf_init(err, 65536)
    local code = C.rp_host_build(bundle, generation or 1, conf, err)
    local message = c.lua(C.rp_buf_str(err))
    C.rp_buf_fini(err)
    C.rp_bundle_free(ffi.new("struct rp_bundle *[1]", bundle))
    if code ~= 0 then return nil, message, c.err_name(code) end
    return conf[0]
end

--- The usual head of a site text.
M.HEAD = 'local rp = require "rproxy"\n'

--- A site of one host with these routes (text), as source.
function M.routes(port, routes, more)
    return M.HEAD .. ([[
return rp.site {
  listeners = { rp.listen { "127.0.0.1:%d" } },
  log = { access = false },
  %s
  hosts = { rp.host { default = true, routes = { %s } } },
}]]):format(port, more or "", routes)
end

-- ---------------------------------------------------------------- serving

--- Serve these routes (text).
--- opts: more (options text), files, before (text before the site)
function M.site(source, opts)
    opts = opts or {}
    local port = posix.free_port()
    local whole = M.routes(port, source, opts.more)
    if opts.before then whole = M.HEAD .. opts.before .. "\n" .. whole end
    local conf, err = M.build(whole, opts.files)
    if not conf then error(err, 2) end
    local self = setmetatable({ port = port, conf = conf }, Site)
    self.mem = C.rp_mem_new()
    self.loop = C.rp_loop_new(self.mem)
    self.proxy = C.rp_proxy_new(self.loop, self.mem, conf)
    C.rp_host_attach(conf, self.proxy, nil, 0)
    self.server = assert(socket.bind("127.0.0.1", port, 64))
    local out = ffi.new("struct rp_listener *[1]")
    assert.equal("OK", c.err_name(C.rp_proxy_listen(self.proxy, self.server:getfd(),
        conf.listeners[0], out)))
    return self
end

function Site:turn(n)
    for _ = 1, n or 1 do C.rp_loop_turn(self.loop, 1) end
end

--- Turn the loop until check() is true; raises after `seconds` (5).
function Site:until_true(check, seconds, what)
    local deadline = posix.now() + (seconds or 5)
    while true do
        local value = check()
        if value then return value end
        if posix.now() > deadline then error((what or "condition") .. " did not come", 2) end
        C.rp_loop_turn(self.loop, 1)
        if self.origin then self.origin:serve() end
    end
end

--- A raw client connection.
function Site:connect()
    local sock = assert(socket.tcp())
    sock:settimeout(2)
    assert(sock:connect("127.0.0.1", self.port))
    sock:settimeout(0)
    return sock
end

local function parse(raw)
    local status, head, body = raw:match("^HTTP/1%.1 (%d+)[^\r]*\r\n(.-)\r\n\r\n(.*)$")
    if not status then return nil end
    local headers, list = {}, {}
    for name, value in (head .. "\r\n"):gmatch("([^:\r\n]+):[ \t]*([^\r\n]*)\r\n") do
        headers[name:lower()] = headers[name:lower()] or value
        list[#list + 1] = name:lower() .. ": " .. value
    end
    if headers["transfer-encoding"] == "chunked" then
        local whole, rest = {}, body
        while true do
            local size, after = rest:match("^(%x+)\r\n(.*)$")
            if not size then break end
            local n = tonumber(size, 16)
            if n == 0 then break end
            whole[#whole + 1] = after:sub(1, n)
            rest = after:sub(n + 3)
        end
        body = table.concat(whole)
    end
    return { status = tonumber(status), headers = headers, list = list, body = body, raw = raw }
end

--- Send bytes on a connection of their own and take all that comes until it is closed.
function Site:raw(bytes, seconds)
    local sock, got = self:connect(), {}
    assert(sock:send(bytes))
    self:until_true(function()
        local data, err, part = sock:receive("*a")
        got[#got + 1] = data or part
        return data or err == "closed"
    end, seconds, "response")
    sock:close()
    return table.concat(got)
end

--- One request; returns { status, headers, body }.
function Site:request(method, path, headers, body, seconds)
    local lines = { ("%s %s HTTP/1.1"):format(method, path), "Connection: close" }
    headers = headers or {}
    if not headers.host then lines[#lines + 1] = "Host: example.com" end
    for name, value in pairs(headers) do lines[#lines + 1] = name .. ": " .. value end
    if body then lines[#lines + 1] = "Content-Length: " .. #body end
    local raw = self:raw(table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or ""), seconds)
    return parse(raw) or { raw = raw }
end

function Site:get(path, headers, seconds)
    return self:request("GET", path, headers, nil, seconds)
end

-- ---------------------------------------------------------------- an origin in the same process

local Origin = {}
Origin.__index = Origin

--- An origin that notes requests and answers each with `response` (text, or a function of it).
function M.origin(response)
    local server = assert(socket.bind("127.0.0.1", 0, 64))
    server:settimeout(0)
    local _, port = server:getsockname()
    return setmetatable({ server = server, port = tonumber(port), open = {}, requests = {},
        response = response or "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" }, Origin)
end

local function take_request(conn)
    local head, rest = conn.buf:match("^(.-\r\n\r\n)(.*)$")
    if not head then return nil end
    local n = tonumber(head:lower():match("content%-length:%s*(%d+)") or 0)
    if #rest < n then return nil end
    conn.buf = rest:sub(n + 1)
    return head .. rest:sub(1, n)
end

function Origin:serve()
    local sock = self.server:accept()
    if sock then
        sock:settimeout(0)
        self.open[#self.open + 1] = { sock = sock, buf = "" }
    end
    for _, conn in ipairs(self.open) do
        local data, _, part = conn.sock:receive("*a")
        conn.buf = conn.buf .. (data or part or "")
        local request = take_request(conn)
        if request then
            self.requests[#self.requests + 1] = request
            local answer = self.response
            if type(answer) == "function" then answer = answer(request) end
            conn.sock:send(answer)
        end
    end
end

function Origin:close()
    for _, conn in ipairs(self.open) do conn.sock:close() end
    self.server:close()
end

--- Free everything.
function Site:close()
    C.rp_proxy_abort_all(self.proxy)
    self:turn(5)
    C.rp_proxy_free(ffi.new("struct rp_proxy *[1]", self.proxy))
    C.rp_loop_free(ffi.new("struct rp_loop *[1]", self.loop))
    C.rp_mem_free(ffi.new("struct rp_mem *[1]", self.mem))
    self.server:close()
    if self.origin then self.origin:close() end
end

return M
