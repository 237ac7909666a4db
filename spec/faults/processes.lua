-- SPDX-License-Identifier: MIT
--
-- processes: whole processes (master, checker, workers) whose system calls fail by RP_FAULT in their
-- environment: start, traffic, reload, a worker killed, stop. The master may refuse to start, with a
-- word; once it serves it never dies by itself, serves again after each blow, ends when told to, and
-- leaves nobody behind.
--
--   RP_BIN=build/debug/rproxy luajit spec/faults/processes.lua FIRST LAST

local dice = require("spec.faults.dice")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local sockets = require("spec.faults.sockets")

local POINTS = { "fork", "socketpair", "sendmsg", "recvmsg", "poll", "waitpid", "open", "read", "write",
    "dup", "memfd", "ftruncate", "mmap", "seal", "bind", "listen", "socket", "accept", "watch", "work",
    "dns_open", "recv", "send", "connect" }
local PATIENCE = 20 -- seconds until it must serve (again)
local RELOAD_AGAIN = 3 -- seconds after which a reload that brought nothing is asked for again

local SITE = [=[
local rp = require("rproxy")
return rp.site {
    workers = ${workers},
    log = { access = { to = "${dir}/access.log" }, error = { to = "${dir}/error.log" } },
    timeouts = { drain = 2 },
    listeners = { rp.listen { "127.0.0.1:${port}" }, rp.listen { "127.0.0.1:${back}" } },
    upstreams = { back = rp.upstream { peers = { "localhost:${back}" }, max_fails = 0 } },
    hosts = {
        rp.host { "back.test", routes = { rp.route { "/*", content = function(req)
            return req:exit(200, "generation ${generation}")
        end } } },
        rp.host { default = true, routes = { rp.route { "/*", upstream = "back",
            use = { { rewrite = function(req) req.up.host = "back.test" end } } } } },
    },
}
]=]

local function fail(seed, p, text)
    local log = posix.read_file(p.dir .. "/error.log") or ""
    io.stderr:write(("FAIL processes seed %d: %s (RP_FAULT=%s)\nstderr:\n%s\nerror log:\n%s\n")
        :format(seed, text, p.fault, p:stderr():sub(-3000), log:sub(-3000)))
    os.exit(1)
end

-- One request; the answer's body, or nil.
local function ask(port)
    local fd = sockets.connect(port)
    local got, sent, until_s = "", false, posix.now() + 3
    while posix.now() < until_s do
        if not sent then
            local n = sockets.write(fd, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            sent = n == nil or n > 0
        end
        local bytes, why = sockets.read(fd)
        if bytes then got = got .. bytes
        elseif why ~= "again" then break
        else sockets.rest(2) end
    end
    sockets.close(fd)
    return got:match("^HTTP/1.1 200.*\r\n\r\n.-(generation %d+)")
end

local function complaint(p)
    local text = p:stderr() .. (posix.read_file(p.dir .. "/error.log") or "")
    return text:match("[^\n]*Sanitizer[^\n]*") or text:match("[^\n]*runtime error:[^\n]*")
        or text:match("[^\n]*check failed[^\n]*") or text:match("[^\n]*PANIC[^\n]*")
end

local function serves(p, seed, generation)
    local body
    posix.poll(function()
        body = ask(p.port)
        return (body and (not generation or body == "generation " .. generation)) or not p:is_running()
    end, PATIENCE)
    if not p:is_running() then fail(seed, p, "the master died") end
    if not body then fail(seed, p, "it does not serve") end
    return body
end

local function write_site(p, vars)
    local text = SITE:gsub("%${(%w+)}", function(name)
        return tostring(assert(vars[name], name))
    end)
    posix.write_file_whole(p .. "/site.lua", text)
end

local function start(d, seed)
    local dir = proc.temp_dir()
    local vars = { dir = dir, port = posix.free_port(), back = posix.free_port(), generation = 1,
        workers = d:range(1, 3) }
    write_site(dir, vars)
    local points = {}
    for _, name in ipairs(POINTS) do
        if d:one_in(4) then points[#points + 1] = name end
    end
    if #points == 0 then points = { d:pick(POINTS) } end
    local fault = ("seed=%d,chance=%d,skip=%d,most=%d,points=%s,trace=1"):format(seed,
        d:pick { 1000, 5000, 20000 }, d:pick { 0, 20, 60, 200 }, d:range(1, 12), table.concat(points, "+"))
    local p = proc.spawn({ os.getenv("RP_BIN"), "-p", dir .. "/site.lua" }, { dir = dir, quiet_end = true,
        env = { RP_FAULT = fault, LD_PRELOAD = false } })
    p.port, p.vars, p.fault = vars.port, vars, fault
    return p
end

-- "serves"; "partly": it answers, and a worker is not heard of (its word was lost), which ends the
-- start later, with a word; "refused", having said why.
local function started(p, seed)
    posix.poll(function() return not p:is_running() or ask(p.port) end, PATIENCE)
    local begun = posix.poll(function()
        local log = posix.read_file(p.dir .. "/error.log") or ""
        local unwritten = p:stderr():find(" write call ", 1, true) -- the line, too, may be
        return not p:is_running() or log:find("serving site=", 1, true) or unwritten
    end, PATIENCE)
    if p:is_running() then return begun and "serves" or "partly" end
    local said = p:stderr():gsub("fault: [^\n]*\n", "")
    if p.ended.exit == 0 or p.ended.signal then fail(seed, p, "it ended without failing") end
    local gagged = p:stderr():find(" write call ", 1, true)
    if not said:find("%a") and not gagged then
        fail(seed, p, ("it ended at its start without a word: %s"):format(p.ended.exit))
    end
    return "refused"
end

local function reload(p, seed)
    p.vars.generation = p.vars.generation + 1
    write_site(p.dir, p.vars)
    p:signal("HUP")
    -- A reload may fail, whole: then the old generation serves on, and the next one brings the new.
    serves(p, seed)
    local again_s = posix.now() + RELOAD_AGAIN
    local done = posix.poll(function()
        if ask(p.port) == "generation " .. p.vars.generation then return true end
        if not p:is_running() or posix.now() < again_s then return false end
        p:signal("HUP")
        again_s = posix.now() + RELOAD_AGAIN
    end, 3 * PATIENCE)
    if not done then fail(seed, p, "no reload comes through") end
end

local function kill_worker(p, seed)
    local children = posix.tree(p.pid)
    if children[2] then posix.kill(children[#children], "KILL") end
    serves(p, seed)
end

local function stop(p, seed, begun)
    local tree = posix.tree(p.pid)
    p:signal("TERM")
    local how = p:wait(PATIENCE)
    if not how then fail(seed, p, "it does not stop") end
    if begun and how.exit ~= 0 then
        fail(seed, p, ("stopped with %s %s"):format(how.exit or "signal", how.signal or ""))
    end
    for i = 2, #tree do
        local gone = posix.poll(function() return not posix.alive(tree[i]) end, 5)
        if not gone then fail(seed, p, "child " .. tree[i] .. " outlived it") end
    end
end

local counts = {} -- "point OUTCOME" -> how often

local function note_faults(p)
    for point, outcome in p:stderr():gmatch("fault: pid %d+ (%S+) call %d+: (%S+)") do
        local key = point .. " " .. outcome
        counts[key] = (counts[key] or 0) + 1
    end
end

local function play(seed)
    local d = dice.new(seed)
    local p = start(d, seed)
    local state = started(p, seed)
    if state == "partly" then
        stop(p, seed, false)
    elseif state == "serves" then
        serves(p, seed)
        for _ = 1, d:range(1, 2) do
            if d:one_in(2) then reload(p, seed) else kill_worker(p, seed) end
        end
        stop(p, seed, true)
    end
    note_faults(p)
    if complaint(p) then fail(seed, p, complaint(p)) end
    proc.cleanup()
    return state == "refused"
end

local first, last, refused_n = tonumber(arg[1]), tonumber(arg[2]), 0
for seed = first, last do
    if play(seed) then refused_n = refused_n + 1 end
end
for key, n in pairs(counts) do print(("count %s %d"):format(key, n)) end
print(("%d runs of whole processes, %d refused to start"):format(last - first + 1, refused_n))
