-- SPDX-License-Identifier: MIT
--
-- redis: real Redis servers on loopback, for specs: alone, with TLS, under sentinels, as a cluster.
--
--   local redis = require("spec.support.redis")
--   if not redis.is_installed() then pending("..") end
--   local r = redis.start { requirepass = "secret" }      -- r.port, r.dir
--   redis.cli(r.port, "set", "k", "v")                     -- its output, without the end of line
--   redis.stop(r)                                          -- or proc.cleanup

local posix = require("spec.support.posix")
local proc = require("spec.support.proc")

local M = {}

function M.is_installed()
    return posix.exists("/usr/bin/redis-server") and posix.exists("/usr/bin/redis-cli")
end

--- A site (for process.start) whose hook runs Lua by path; `r` is the client. What a function returns is
--- the answer, as text.
function M.site(client, functions, more)
    return { workers = 1, more = ([[
        use = { (function()
            local r = rp.redis { %s }
            local paths = { %s }
            local function text(...)
                local out = {}
                for i = 1, select("#", ...) do
                    local v = select(i, ...)
                    out[i] = type(v) == "table" and rp.json.encode(v, { sort = true }) or tostring(v)
                end
                return table.concat(out, " ")
            end
            return { name = "redis", access = function(req)
                return req:exit(200, text(paths[req.path](req)))
            end }
        end)() }, %s
    ]]):format(client, functions, more or "") }
end

--- Run redis-cli; raises when it fails.
function M.cli(port, ...)
    local how, out, err = proc.run { "redis-cli", "-p", tostring(port), "--no-auth-warning", ... }
    if how.exit ~= 0 then error(("redis-cli %s: %s%s"):format((...), out, err), 2) end
    return (out:gsub("\n$", ""))
end

-- An option table as a configuration file.
local function config(options)
    local lines = {}
    for name, value in pairs(options) do
        for _, one in ipairs(type(value) == "table" and value or { value }) do
            lines[#lines + 1] = name .. " " .. tostring(one)
        end
    end
    return table.concat(lines, "\n") .. "\n"
end

local function spawn(options, args)
    local dir = proc.temp_dir()
    local all = { bind = "127.0.0.1", save = '""', appendonly = "no", dir = dir,
        ["enable-debug-command"] = "yes", ["shutdown-timeout"] = 0 }
    if args then all = { bind = "127.0.0.1", dir = dir } end
    for name, value in pairs(options) do all[name] = value end
    posix.write_file(dir .. "/redis.conf", config(all))
    local argv = { "redis-server", dir .. "/redis.conf" }
    for _, arg in ipairs(args or {}) do argv[#argv + 1] = arg end
    local p = proc.spawn(argv, { dir = dir, quiet_end = true })
    p.dir = dir
    return p
end

local function wait_listening(p, port)
    local up = posix.poll(function()
        if not p:is_running() then error("redis-server ended: " .. p:stdout(), 0) end
        return posix.is_listening(port)
    end, 30)
    if not up then error("redis-server does not listen: " .. p:stdout(), 0) end
end

--- Start a server; options are those of its configuration file, port among them.
function M.start(options)
    options = options or {}
    local port = options.port or posix.free_port()
    local all = { port = port }
    for name, value in pairs(options) do all[name] = value end
    local p = spawn(all)
    p.port = port
    wait_listening(p, all["tls-port"] or port)
    return p
end

function M.stop(p)
    if p:is_running() then p:signal("KILL") end
    p:wait(10)
end

--- A server whose replica follows it, and three sentinels that watch it under the name "mymaster".
--- @return table master, table replica, table sentinels
function M.start_sentinels()
    local master = M.start()
    local replica = M.start { replicaof = "127.0.0.1 " .. master.port }
    local synced = posix.poll(function()
        return M.cli(replica.port, "info", "replication"):find("master_link_status:up", 1, true)
    end, 60)
    assert(synced, "the replica does not follow")
    local sentinels = {}
    for i = 1, 3 do
        local port = posix.free_port()
        local p = spawn({ port = port, sentinel = {
            ("monitor mymaster 127.0.0.1 %d 2"):format(master.port),
            "down-after-milliseconds mymaster 500", "failover-timeout mymaster 3000" } },
            { "--sentinel" })
        p.port = port
        wait_listening(p, port)
        sentinels[i] = p
    end
    local agreed = posix.poll(function()
        for _, s in ipairs(sentinels) do
            local text = M.cli(s.port, "info", "sentinel")
            if not text:find("slaves=1,sentinels=3", 1, true) then return false end
        end
        return true
    end, 60)
    assert(agreed, "the sentinels do not find each other")
    return master, replica, sentinels
end

-- A node of a cluster needs a second port, 10000 above; who else takes that is luck.
local function start_node()
    local err
    for _ = 1, 20 do
        local port = posix.free_port()
        if port < 55000 and not posix.is_listening(port + 10000) then
            local ok, node = pcall(M.start, { port = port, ["cluster-enabled"] = "yes",
                ["cluster-config-file"] = "nodes.conf", ["cluster-node-timeout"] = 5000 })
            if ok then return node end
            err = node
        end
    end
    error(err or "no pair of ports is free", 0)
end

--- A cluster of three masters.
--- @return table nodes
function M.start_cluster()
    local nodes, argv = {}, { "redis-cli", "--cluster", "create" }
    for i = 1, 3 do
        nodes[i] = start_node()
        argv[#argv + 1] = "127.0.0.1:" .. nodes[i].port
    end
    argv[#argv + 1] = "--cluster-yes"
    local how, out, err = proc.run(argv)
    assert(how.exit == 0, out .. err)
    local ready = posix.poll(function()
        for _, one in ipairs(nodes) do
            local text = M.cli(one.port, "cluster", "info")
            if not text:find("cluster_state:ok", 1, true) then return false end
        end
        return true
    end, 60)
    assert(ready, "the cluster is not ready")
    return nodes
end

return M
