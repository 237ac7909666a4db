-- SPDX-License-Identifier: MIT
--
-- rooms: the parts that a serving proxy does not reach: shared memory, sealed memory, messages
-- between processes, binding, jobs, names. Each play makes and unmakes one of them while its calls
-- fail; it must say so or work, and leave nothing open.

local ffi = require("ffi")
local c = require("spec.support.c")
local posix = require("spec.support.posix")
local sockets = require("spec.faults.sockets")

local C = c.load { "shm/zone.h", "process/os.h", "process/channel.h", "process/pidfile.h", "net/listener.h",
    "net/loop.h", "net/dns.h", "net/addr.h", "net/work.h", "base/fault.h", "base/mem.h" }

local M = {}

local function zone(d)
    local out, again = ffi.new("struct rp_zone *[1]"), ffi.new("struct rp_zone *[1]")
    local at, fresh = ffi.new("void *[1]"), ffi.new("bool[1]")
    if C.rp_zone_new(c.str("faults"), d:size(100000), out) ~= 0 then
        assert(out[0] == nil, "a zone that failed is there")
        return
    end
    local e = C.rp_zone_part(out[0], c.str("part"), 100, at, fresh)
    assert(e == 0 or C.rp_zone_left(out[0]) < 128)
    if C.rp_zone_adopt(out[0].fd, again) == 0 then
        again[0].fd = -1 -- the first one's
        C.rp_zone_free(again)
    end
    C.rp_zone_free(out)
end

local function sealed(d)
    local fd, text, view = ffi.new("int[1]", -1), ("x"):rep(1 + d:size(200000)), ffi.new("rp_str")
    if C.rp_os_memfd_seal("faults", c.str(text), fd) ~= 0 then
        assert(fd[0] == -1, "a file that failed is open")
        return
    end
    if C.rp_os_memfd_map(fd[0], 2 ^ 24, view) == 0 then
        assert(c.lua(view) == text, "other bytes in sealed memory")
        C.rp_os_unmap(view)
    end
    C.rp_os_close(fd)
end

local function file(d)
    local text, path = ("y"):rep(1 + d:size(300000)), os.tmpname()
    posix.write_file(path, text)
    local fd = posix.C.open(path, 524288)
    local out = ffi.new("struct rp_buf")
    C.rp_buf_init(out, 1e6)
    local e = C.rp_os_read_all(fd, 1e6, out)
    assert(e ~= 0 or c.lua(C.rp_buf_str(out)) == text, "a part of the file passes for the whole")
    C.rp_buf_fini(out)
    posix.C.close(fd)
    os.remove(path)
end

local message

local function channel(d)
    local pair = ffi.new("int[2]", -1, -1)
    if C.rp_channel_pair(true, pair) ~= 0 then
        assert(pair[0] == -1 and pair[1] == -1, "a channel that failed is open")
        return
    end
    message = message or ffi.new("struct rp_message")
    local head = ffi.new("struct rp_message_head", { kind = 7 })
    local fds = ffi.new("int[2]", pair[0], pair[1])
    for _ = 1, 5 do
        local text = ("z"):rep(d:size(20000))
        local sent = C.rp_channel_send(pair[0], head, c.str(text), fds, d:range(0, 2))
        local came = C.rp_channel_recv(pair[1], message)
        if came == 0 then
            assert(sent == 0, "a message that was not sent")
            assert(message.head.kind == 7, "another kind of message")
            assert(c.lua(C.rp_channel_text(message)) == text, "another message")
        end
        C.rp_channel_done(message)
        if sent == 0 and came ~= 0 then break end -- it is still to come
    end
    C.rp_os_close(pair)
    C.rp_os_close(pair + 1)
end

local function bind(d)
    local a, fd, os_error = ffi.new("struct rp_addr"), ffi.new("int[1]", -1), ffi.new("int[1]")
    local path = d:one_in(2) and os.tmpname() .. ".sock"
    local e = C.rp_addr_parse(c.str(path and "unix:" .. path or "127.0.0.1:0"), a)
    if e ~= 0 then a.family, a.port = 1, 0 end
    local o = ffi.new("struct rp_listener_options", { backlog = 5, reuseport = true, unix_mode = 384 })
    for _ = 1, 2 do -- the second time a stale socket file lies there
        e = C.rp_listener_bind(a, o, fd, os_error)
        assert((e == 0) == (fd[0] >= 0), "bind: result and descriptor differ")
        if e ~= 0 then assert(os_error[0] ~= 0, "bind failed without a reason") end
        if fd[0] >= 0 then posix.C.close(fd[0]) end
    end
    if path then
        os.remove(path)
        os.remove((path:gsub("%.sock$", "")))
    end
end

-- A loop with names to resolve, without a proxy: also where c-ares cannot be opened.
local function names()
    local mem = ffi.new("struct rp_mem *[1]", C.rp_mem_new())
    local loop = ffi.new("struct rp_loop *[1]", C.rp_loop_new(mem[0]))
    local dns = ffi.new("struct rp_dns *[1]", C.rp_dns_new(loop[0]))
    local query = ffi.new("struct rp_dns_query *[1]")
    for _, name in ipairs { "localhost", "127.0.0.1", "no_such.invalid" } do
        local e = C.rp_dns_resolve(dns[0], c.str(name), nil, nil, query)
        assert(dns[0] ~= nil or e ~= 0, "resolved without a resolver")
        if e == 0 then C.rp_dns_cancel(query[0]) end
    end
    C.rp_dns_free(dns)
    C.rp_loop_free(loop)
    C.rp_mem_free(mem)
end

local function dup()
    local fd = C.rp_os_dup(2)
    if fd >= 0 then posix.C.close(fd) end
end

local ALL = { zone, sealed, file, channel, bind, names, dup }
local POINTS = { "memfd", "ftruncate", "mmap", "seal", "open", "read", "write", "dup", "socketpair",
    "sendmsg", "recvmsg", "bind", "listen", "socket", "dns_open", "dns_ask", "watch" }

--- One play; what is wrong, or nil.
function M.play(d, trace)
    local plan = ffi.new("struct rp_fault_plan")
    plan.seed, plan.trace = d:roll(), trace
    for _, name in ipairs(POINTS) do plan.chance[C["RP_FAULT_" .. name]] = d:pick { 0, 5000, 20000 } end
    local room, before = d:pick(ALL), sockets.fds()
    C.rp_fault_arm(plan)
    local ok, why = pcall(room, d)
    C.rp_fault_disarm()
    if not ok then return "rooms: " .. tostring(why) end
    if sockets.fds() ~= before then
        return ("rooms: %d descriptors left\n%s"):format(sockets.fds() - before, sockets.list_fds())
    end
end

return M
