-- SPDX-License-Identifier: MIT
--
-- machine: what the measurements run on: processors and who works on them, programs and their
-- versions, the folder for what is written.

local posix = require("spec.support.posix")
local ffi = require("ffi")

ffi.cdef [[ int setrlimit(int resource, const unsigned long limit[2]);
    int getrlimit(int resource, unsigned long limit[2]); ]]

local M = { OUT = os.getenv("BENCH_DIR") or "build/bench" }

local cwd
local NOFILE = 7
local NOFILE_MOST = 1048576

function M.say(fmt, ...)
    io.stdout:write(select("#", ...) > 0 and fmt:format(...) or fmt, "\n")
    io.stdout:flush()
end

--- What a command writes, to both.
function M.run(command)
    local pipe = assert(io.popen(command .. " 2>&1"))
    local text = pipe:read("*a")
    pipe:close()
    return text
end

--- Put values in the places of %(name).
function M.fill(text, vars)
    return (text:gsub("%%%(([%w_]+)%)", function(name)
        local value = vars[name]
        if value == nil then error("no value for " .. name, 0) end
        return tostring(value)
    end))
end

--- The whole path of a program; nil when there is none.
function M.find_program(name)
    return (M.run("PATH=$PATH:/usr/sbin:/sbin command -v " .. name):match("^(/%S+)"))
end

--- The whole path of one that begins in the repository.
function M.whole(path)
    cwd = cwd or M.run("pwd"):match("[^\n]+")
    return path:sub(1, 1) == "/" and path or cwd .. "/" .. path
end

--- The folder of what is written, as a whole path.
function M.dir()
    return M.whole(M.OUT)
end

--- As many descriptors as this process may have: servers that it starts have as many.
function M.raise_descriptors()
    local limit = ffi.new("unsigned long[2]")
    posix.C.getrlimit(NOFILE, limit)
    limit[0] = limit[1]
    posix.C.setrlimit(NOFILE, limit)
    return math.min(tonumber(limit[0]), NOFILE_MOST)
end

-- ---------------------------------------------------------------- processors

--- Proxies have one, and origin and load the other; where there are four, two workers have two.
function M.cores()
    if not M.cores_known then
        local n = tonumber(M.run("nproc"))
        if n < 2 then error("two cores are needed", 0) end
        local last = n < 4 and "1" or "2-" .. n - 1
        M.cores_known = { n = n, proxy = "0", proxy_pair = n < 4 and "0" or "0,1", load = last }
    end
    return M.cores_known
end

--- The beginning of a command that runs on these cores. With M.realtime it goes before all programs of
--- the usual class (slow.lua does so, too): for figures on a machine that others work on.
function M.pin(cores)
    local realtime = M.realtime and { "chrt", "-f", "1" } or {}
    local argv = { "taskset", "-c", cores }
    for _, word in ipairs(realtime) do argv[#argv + 1] = word end
    return argv
end

--- This process, and what it starts without a word about processors, keeps away from the proxy's.
function M.step_aside()
    M.run(("taskset -cp %s %d"):format(M.cores().load, posix.C.getpid()))
end

--- Nanoseconds on a processor so far, of all threads of a process tree.
function M.cpu_ns(pid)
    local ns = 0
    for _, p in ipairs(posix.tree(pid)) do
        for word in M.run("cat /proc/" .. p .. "/task/*/schedstat"):gmatch("(%d+) %d+ %d+\n") do
            ns = ns + tonumber(word)
        end
    end
    return ns
end

--- Time of cores ("0" or "0,1") so far, by /proc/stat: all of it, that of processes and of interrupts,
--- and that which the host took away. In ticks.
function M.core_ticks(cores)
    local stat = posix.read_file("/proc/stat")
    local all, busy, stolen = 0, 0, 0
    for core in cores:gmatch("%d+") do
        local n = {}
        for word in stat:match("cpu" .. core .. "( [%d ]+)"):gmatch("%d+") do
            n[#n + 1] = tonumber(word)
        end
        for i = 1, 8 do all = all + n[i] end
        stolen = stolen + n[8]
        busy = busy + n[1] + n[2] + n[3] + n[6] + n[7]
    end
    return { all = all, busy = busy, stolen = stolen }
end

local TICK_NS = 1e7
local TICKS_UNSURE = 3 -- the kernel looks who runs, some hundred times a second: chance

--- The share of the cores' time between two readings that was neither idle nor of the process
--- measured (`ns` on a processor): stolen by the host or taken by other programs.
function M.disturbed(before, after, ns)
    local all = after.all - before.all
    if all <= 0 then return 0 end
    local others = math.max(0, after.busy - before.busy - ns / TICK_NS - TICKS_UNSURE)
    return (others + after.stolen - before.stolen) / all
end

-- ---------------------------------------------------------------- who is who

local VERSIONS = {
    nginx = { "nginx -v", "nginx/([%w.+-]+)" },
    haproxy = { "haproxy -v", "version ([%w.+-]+)" },
    caddy = { "caddy version", "v?([%d.]+)" },
    varnish = { "varnishd -V", "varnish%-([%w.]+)" },
    wrk = { "wrk -v", "wrk %a*/?([%d.]+)" },
    h2load = { "h2load --version", "nghttp2/([%w.]+)" },
    OpenSSL = { "openssl version", "OpenSSL ([%w.]+)" },
}

--- name -> version of what is installed; rproxy by its binary.
function M.versions(bin)
    local out = {}
    for name, how in pairs(VERSIONS) do
        local text = M.run("PATH=$PATH:/usr/sbin:/sbin " .. how[1])
        out[name] = text:match(how[2])
    end
    out.rproxy = M.run(bin .. " --version"):match("(%d+%.%d+%.%d+)")
    local module = M.run("ls " .. M.OUT .. "/openresty-root/debs"):match("http%-lua_[^_]-([%d.]+)[+-]")
    if module then out.openresty = "nginx " .. (out.nginx or "?") .. " with Lua module " .. module end
    return out
end

--- What one needs to know of the machine to read the figures.
function M.describe()
    local info = posix.read_file("/proc/cpuinfo")
    local memory = posix.read_file("/proc/meminfo"):match("MemTotal:%s+(%d+)")
    return { cpu = info:match("model name%s*:%s*([^\n]+)") or M.run("uname -m"):match("%S+"),
        cores = M.cores().n, kernel = M.run("uname -r"):match("%S+"),
        memory_gb = math.floor(tonumber(memory) / 2 ^ 20 + 0.5),
        virtual = info:find("hypervisor") ~= nil,
        load = tonumber(posix.read_file("/proc/loadavg"):match("%S+")) }
end

return M
