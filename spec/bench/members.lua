-- SPDX-License-Identifier: MIT
--
-- members: what large groups cost: memory, reloads, choices, and members that change. Figures on
-- stdout; run from the repository's root with RP_BIN and RP_TEST_LIB set. With --divergence it
-- measures instead how long the views of two workers and the agent differ after a change.

local ffi = require("ffi")
local inproc = require("spec.support.inproc")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")

local C, c = inproc.C, inproc.c

-- ---------------------------------------------------------------- how long views differ

-- Changes of all kinds by the operator, one after the other; after each, the two workers and the
-- agent are asked what they see until all three see it. A question goes to the master's socket.
local CHANGES, PEERS = 1000, 8

local function divergence()
    c.load { "process/control.h", "process/pidfile.h" }
    local list = {}
    for i = 1, PEERS do list[i] = ('"127.0.0.1:%d"'):format(20000 + i) end
    local rp = proc.rproxy { site = ([[return rp.site { workers = 2,
        log = { error = { level = "warn" } }, listeners = { rp.listen { "127.0.0.1:${port}" } },
        upstreams = { api = rp.upstream { peers = { %s }, panic = 0,
            health = { type = "tcp", every = "1h", jitter = 0 } } },
        hosts = { rp.host { default = true, routes = { rp.route { "/*", upstream = "api" } } } } }
        ]]):format(table.concat(list, ", ")) }
    local status, out = ffi.new("int[1]"), ffi.new("struct rp_buf")
    local place = ffi.new("struct rp_pidfile")
    assert(C.rp_pidfile_locate(place, rp.site_path, nil, false, out) == 0)
    local function ask(text)
        C.rp_buf_init(out, 65536)
        local e = C.rp_control_ask(place.sock, c.str(text), 10000, status, out)
        local answer = ffi.string(out.ptr, out.len)
        C.rp_buf_fini(out)
        return e == 0 and status[0] == 0 and answer or nil, e
    end
    local function view(who) return ask("ask " .. who .. " peers api") end
    assert(posix.poll(function() return view("0") and view("1") and view("agent") end),
        "the workers and the agent do not serve")
    local words = { "drain", "ready", "maint", "ready", "weight=%d", "remove", "add", "reset" }
    local worst, sum, n = 0, 0, 0
    math.randomseed(7)
    for i = 1, 10 * CHANGES do
        if n == CHANGES then break end
        local word = words[i % #words + 1]:format(i % 90 + 1)
        if ask(("peer api 127.0.0.1:%d %s"):format(20000 + math.random(PEERS), word)) then
            local began = posix.now()
            local same
            repeat
                local one = view("0")
                same = one == view("1") and one == view("agent")
            until same or posix.now() - began > 10
            assert(same, "the views differ for ten seconds")
            local took = posix.now() - began
            worst, sum, n = math.max(worst, took), sum + took, n + 1
        end
    end
    rp:stop()
    print(("%d changes, two workers and the agent: all views equal after %.1f ms at most, %.1f ms in "
        .. "the mean (with three questions each time)"):format(n, worst * 1000, sum / n * 1000))
end

if arg and arg[1] == "--divergence" then
    divergence()
    proc.cleanup()
    os.exit(0)
end

-- ---------------------------------------------------------------- choices

local function peers_of(n)
    local list = {}
    for i = 1, n do
        list[i] = ("127.%d.%d.%d:80"):format(1 + math.floor(i / 62500), math.floor(i / 250) % 250,
            i % 250 + 1)
    end
    return list
end

local POLICIES = { round_robin = 0, random = 2, least_conn = 3, p2c = 5 }

local function choices(n)
    local out = {}
    for name, number in pairs(POLICIES) do
        local p = inproc.open { peers = peers_of(n), up = { balance = number } }
        local group = C.rp_groups_at(C.rp_groups_find(p.raw, p.conf), 0)
        local k = ffi.new("struct rp_pick", { group = group })
        local function run(rounds)
            for _ = 1, rounds do
                assert(C.rp_upstream_pick(p.raw, k) == 0)
                C.rp_upstream_unpick(p.raw, k, 0)
            end
        end
        run(1000)
        local rounds, began = 200000, os.clock()
        run(rounds)
        out[#out + 1] = ("%s %.0f ns"):format(name, (os.clock() - began) / rounds * 1e9)
        p:close()
    end
    table.sort(out)
    print(("choices, chosen and let go, %d peers: %s"):format(n, table.concat(out, ", ")))
end

-- ---------------------------------------------------------------- memory and reloads

local function site(upstreams)
    return [[return rp.site { workers = 1, listeners = { rp.listen { "127.0.0.1:${port}" } },
        upstreams = { ]] .. upstreams .. [[ }, hosts = { rp.host { default = true, routes = {
        rp.route { "/*", upstream = "u1" } } } } }]]
end

local function worker_of(rp)
    return tonumber(process.must(rp, "status"):match("worker 0: serving, pid (%d+)"))
end

local function memory(pid)
    local text = posix.read_file(("/proc/%d/smaps_rollup"):format(pid))
    return tonumber(text:match("\nPss:%s+(%d+)")), tonumber(text:match("Private_Dirty:%s+(%d+)"))
end

local function running(what, upstreams)
    local rp = proc.rproxy { site = site(upstreams) }
    rp:wait_stderr("serving site")
    local pss, dirty = memory(worker_of(rp))
    local times = {}
    for i = 1, 5 do
        local began = posix.now()
        process.must(rp, "reload")
        times[i] = posix.now() - began
    end
    table.sort(times)
    local later = select(2, memory(worker_of(rp)))
    print(("%s: worker %.1f MB (private %.1f, after reloads %.1f), reload %.0f ms"):format(what,
        pss / 1024, dirty / 1024, later / 1024, times[3] * 1000))
    return rp
end

local function group(i, peers)
    local quoted = {}
    for k, peer in ipairs(peers) do quoted[k] = '"' .. peer .. '"' end
    return ("u%d = rp.upstream { peers = { %s } }"):format(i, table.concat(quoted, ", "))
end

running("1 group of 1 peer", group(1, peers_of(1))):stop()
running("1 group of 1,000 peers", group(1, peers_of(1000))):stop()
local many = {}
for i = 1, 1000 do many[i] = group(i, { ("127.0.0.1:%d"):format(i + 1000) }) end
running("1,000 groups of 1 peer", table.concat(many, ",\n")):stop()
for i = 1, 1000 do
    many[i] = group(i, { ("127.0.0.1:%d"):format(i + 1000), ("127.0.0.2:%d"):format(i + 1000),
        ("127.0.0.3:%d"):format(i + 1000) })
end
running("1,000 groups of 3 peers", table.concat(many, ",\n")):stop()

for _, n in ipairs { 1, 10, 1000 } do choices(n) end

-- ---------------------------------------------------------------- members that change

c.load { "shm/members.h", "shm/zone.h" }

local function changing(n)
    local p = inproc.open { peers = { "127.0.0.1:1" }, up = { live = 1 } }
    local zone, box = ffi.new("struct rp_zone *[1]"), ffi.new("struct rp_members *[1]")
    local bytes = 4 * 1024 * 1024
    assert(C.rp_zone_new(c.str("bench"), C.rp_members_bytes(16, bytes), zone) == 0)
    assert(C.rp_members_new(zone[0], c.str("members"), 16, bytes, p.raw.roster, box) == 0)
    C.rp_proxy_use_members(p.raw, box[0], nil)
    local g = C.rp_groups_at(C.rp_groups_find(p.raw, p.conf), 0)
    local name = g.conf.name
    local lines, all = {}, peers_of(n + 1)
    local function put(extra)
        for i = 1, n do lines[i] = all[i] .. "\t1\t0\t0\t\t\n" end
        lines[n + 1] = extra and all[n + 1] .. "\t1\t0\t0\t\t\n" or nil
        local text = c.str(table.concat(lines))
        local began = os.clock()
        assert(C.rp_members_put(box[0], name, text, nil) == 0)
        return os.clock() - began
    end
    put(false)
    C.rp_group_settle(g)
    local took, wrote = 0, 0
    for i = 1, 20 do
        wrote = wrote + put(i % 2 == 1)
        local began = os.clock()
        C.rp_group_settle(g)
        took = took + os.clock() - began
    end
    print(("one of %d members comes or goes: written in %.0f us, followed by a worker in %.0f us")
        :format(n, wrote / 20 * 1e6, took / 20 * 1e6))
    assert(g.peers_n == n + 1)
    C.rp_proxy_use_members(p.raw, nil, nil)
    p:close()
    C.rp_members_free(box)
    C.rp_zone_free(zone)
end

for _, n in ipairs { 10, 1000, 10000 } do changing(n) end
proc.cleanup()
