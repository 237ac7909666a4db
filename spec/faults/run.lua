-- SPDX-License-Identifier: MIT
--
-- run: seeded schedules of failing system calls, breaking peers and skipped time against a whole
-- proxy in this process. Run by tools/faults.sh, which prepares the environment.
--
--   luajit spec/faults/run.lua FIRST LAST [-v]
--
-- A schedule: some clients with a few exchanges each (plays.lua), a plan of faults, and then steps
-- until all clients have ended; afterwards nothing may be left. A world serves WORLD schedules, each
-- of them also alone: the same seed makes the same site and the same plays.

local ffi = require("ffi")
local dice = require("spec.faults.dice")
local plays = require("spec.faults.plays")
local rooms = require("spec.faults.rooms")
local world = require("spec.faults.world")

local C = world.C
local WORLD = 20          -- schedules that share a proxy
local LIFE_MS = 4 * 3600 * 1000 -- of the proxy's time: longer than all its timeouts together

local first, last = tonumber(arg[1]), tonumber(arg[2])
local verbose = os.getenv("RP_FAULT_TRACE") ~= nil
local log_path = os.tmpname()

local function log(...)
    if verbose then io.stderr:write(select(1, ...):format(select(2, ...)), "\n") end
end

-- What shall fail. One in eight schedules is calm: then all must go well.
local SOCKET_POINTS = { "recv", "peek", "send", "splice_in", "splice_out", "pipe2", "socket",
    "dgram_recv", "dgram_send", "connect", "connect_cut", "so_error", "shutdown", "accept", "watch",
    "dns_ask", "wall", "write", "tls_ulp", "tls_tx" }

local function plan_of(d)
    local plan = ffi.new("struct rp_fault_plan")
    plan.seed = d:roll()
    plan.trace = verbose
    local how = d:range(1, 4)
    for _, name in ipairs(SOCKET_POINTS) do
        local point = C["RP_FAULT_" .. name]
        if how == 1 then
            plan.chance[point] = d:pick { 0, 300, 3000, 6000 }
        elseif how == 2 and d:one_in(3) then
            plan.chance[point] = d:pick { 2000, 10000, 30000 }
        elseif how == 3 and d:one_in(4) then
            plan.nth[point] = d:range(1, 12)
        end
    end
    if how == 4 then plan.nth[C["RP_FAULT_" .. d:pick(SOCKET_POINTS)]] = d:range(1, 30) end
    if how == 2 then plan.most_n = d:range(1, 60) end
    return plan
end

local function report(w)
    local lines = {}
    for _, client in ipairs(w.clients) do lines[#lines + 1] = client:describe() end
    for _, peer in ipairs(w.origin.peers) do
        lines[#lines + 1] = ("  origin %s body=%s buf=%d out=%d ending=%s"):format(peer.protocol,
            peer.request and peer.request.body.n or "-", #peer.buf, #peer.out, tostring(peer.ending))
    end
    local out = ffi.new("struct rp_buf")
    C.rp_buf_init(out, 65536)
    C.rp_proxy_dump(w.proxy, out)
    lines[#lines + 1] = ffi.string(C.rp_buf_str(out).ptr or "", C.rp_buf_str(out).len)
    C.rp_buf_fini(out)
    return table.concat(lines, "\n")
end

-- One schedule; what is wrong, or nil.
local function schedule(w, seed)
    local d = dice.new(seed)
    w.dice, w.origin.dice = d, d
    local calm = d:one_in(8)
    w.on_skip = verbose and function(ms) log("skip %d ms\n%s", ms, report(w)) end
    if calm then w:forget() end
    local clients, breaks = plays.make(w, d, seed, calm)
    w.clients = clients
    if not calm then C.rp_fault_arm(plan_of(d)) end
    local steps = 0
    local ended, steps_n = w:run(function()
        steps = steps + 1
        local act = breaks[steps]
        if act then act(w) end
        if w:wrong() then return true end
        for _, client in ipairs(w.clients) do
            if not client.done then return false end
        end
        return true
    end, LIFE_MS)
    C.rp_fault_disarm()
    plays.count(w.clients)
    local wrong = w:wrong() or (calm and plays.all_well(w.clients, w.options))
    if not wrong and not ended then
        wrong = ("no end after %d steps"):format(steps_n)
    end
    if wrong then return wrong .. "\n" .. report(w) end
    local left = w:settle()
    if left then return ("left: %s\n%s"):format(left, report(w)) end
    log("seed %d: %d clients, %d steps%s", seed, #clients, steps, calm and ", calm" or "")
end

local function fail(seed, wrong)
    C.rp_fault_disarm()
    io.stderr:write(("FAIL seed %d: %s\n"):format(seed, wrong))
    io.stderr:write(("again: make faults SEED=%d\n"):format(seed))
    io.stderr:flush()
    os.remove(log_path)
    ffi.C._exit(1) -- at once: what the world still holds is no leak
end

local function guarded(seed, fn, ...)
    local ok, wrong = xpcall(fn, debug.traceback, ...)
    if not ok or wrong then fail(seed, tostring(wrong)) end
end

-- Schedules [from, to] in the world of their group.
local function group(from, to)
    local d = dice.new(-1 - math.floor(from / WORLD))
    local w
    guarded(from, function() w = world.new(d, log_path) end)
    for seed = from, to do
        guarded(seed, schedule, w, seed)
        guarded(seed, rooms.play, dice.new(seed), verbose)
    end
    guarded(to, plays.last, w, dice.new(to + 1))
    guarded(to, w.close, w)
end

-- As in a worker: nothing is spliced where a broken pipe kills.
ffi.cdef "void *signal(int number, void *handler);"
ffi.C.signal(13, ffi.cast("void *", 1)) -- SIGPIPE, SIG_IGN

-- What libuv opens once for the whole process is there before anything is counted.
local mem = ffi.new("struct rp_mem *[1]", C.rp_mem_new())
C.rp_loop_free(ffi.new("struct rp_loop *[1]", C.rp_loop_new(mem[0])))
C.rp_mem_free(mem)

local seed = first
while seed <= last do
    local to = math.min(last, seed - seed % WORLD + WORLD - 1)
    group(seed, to)
    seed = to + 1
end

-- ---------------------------------------------------------------- what came how often

-- For tools/faults.sh, which adds up the processes' counts.
for point = 0, C.RP_FAULT_POINTS - 1 do
    local name = ffi.string(C.rp_fault_name(point))
    print(("count %s calls %d"):format(name, tonumber(C.rp_fault_calls(point))))
    for i = 0, 15 do
        local outcome = C.rp_fault_outcome(point, i)
        if outcome == nil then break end
        print(("count %s %s %d"):format(name, ffi.string(outcome), tonumber(C.rp_fault_fired(point, i))))
    end
end
for name, n in pairs(world.tls) do print(("count tls %s %d"):format(name, n)) end
for status, n in pairs(plays.statuses) do print(("count answers %s %d"):format(status, n)) end
print(("%d schedules"):format(last - first + 1))
