-- SPDX-License-Identifier: MIT
--
-- cpu_affinity: which processors workers, and the threads in them, may use.

local posix = require("spec.support.posix")
local process = require("spec.support.process")

-- "0-1" of a thread; nil: it is gone.
local function cpus_of(pid, thread)
    local text = posix.read_file(("/proc/%d/task/%d/status"):format(pid, thread or pid))
    return text and text:match("Cpus_allowed_list:%s*(%S+)")
end

local function numbers(list)
    local out = {}
    for from, to in list:gmatch("(%d+)%-?(%d*)") do
        for cpu = tonumber(from), tonumber(to ~= "" and to or from) do out[#out + 1] = cpu end
    end
    return out
end

local function threads_of(pid)
    local pipe, out = io.popen(("ls /proc/%d/task"):format(pid)), {}
    for line in pipe:lines() do
        if tonumber(line) ~= pid then out[#out + 1] = tonumber(line) end
    end
    pipe:close()
    return out
end

-- Each worker's, in no order.
local function cpus_of_workers(rp, n)
    local out = {}
    for i, pid in ipairs(process.wait_workers(rp, n)) do out[i] = cpus_of(pid) end
    table.sort(out)
    return out
end

describe("cpu_affinity", function()
    local rp
    local all = cpus_of(posix.C.getpid())
    local mine = numbers(all)

    after_each(function()
        local old = rp
        rp = nil
        process.stop_if_running(old)
    end)

    it("leaves workers alone unless it is given", function()
        rp = process.start {}
        assert.same({ all, all }, cpus_of_workers(rp, 2))
    end)

    it("keeps each worker on one of the master's, and no other thread", function()
        rp = process.start { more = 'cpu_affinity = "auto",' }
        local want = { tostring(mine[1]), tostring(mine[2] or mine[1]) }
        table.sort(want)
        assert.same(want, cpus_of_workers(rp, 2))
        assert.equal(all, cpus_of(rp.pid))
        for _, pid in ipairs(process.wait_workers(rp, 2)) do
            local threads = threads_of(pid)
            assert.is_true(#threads > 0) -- the pool's
            for _, thread in ipairs(threads) do assert.equal(all, cpus_of(pid, thread)) end
        end
    end)

    it("follows a reload, there and back", function()
        rp = process.start { more = ("cpu_affinity = { %d },"):format(mine[#mine]) }
        local last = tostring(mine[#mine])
        assert.same({ last, last }, cpus_of_workers(rp, 2))
        process.change(rp, { more = ("cpu_affinity = { %d },"):format(mine[1]) })
        process.must(rp, "reload")
        assert.same({ tostring(mine[1]), tostring(mine[1]) }, cpus_of_workers(rp, 2))
        process.change(rp, {})
        process.must(rp, "reload")
        assert.same({ all, all }, cpus_of_workers(rp, 2))
    end)

    it("says so when there is no such processor, and serves", function()
        rp = process.start { more = "cpu_affinity = { 1023 }," }
        assert.same({ all, all }, cpus_of_workers(rp, 2))
        rp:wait_stderr("this worker is bound to no processor of cpu_affinity worker=0")
        rp:wait_stderr("this worker is bound to no processor of cpu_affinity worker=1")
    end)

    it("takes auto and lists of processors alone", function()
        rp = process.start {}
        for _, bad in ipairs { "{}", "true", "{ -1 }", "{ 1.5 }", '{ "0" }', "{ 1024 }", "{ a = 1 }",
            '"all"', "{ 0, a = 1 }" } do
            process.change(rp, { more = ("cpu_affinity = %s,"):format(bad) })
            local how, _, err = process.run(rp, "reload")
            assert.equal(1, how.exit)
            assert.matches('cpu_affinity: expected "auto", false, or a list of numbers', err)
        end
    end)
end)
