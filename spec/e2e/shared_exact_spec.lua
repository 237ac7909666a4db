-- SPDX-License-Identifier: MIT
--
-- Limiters are exact: 16 clients over 2 workers, all of whom ask as fast as they can, get what one
-- bucket allows, give or take one. RP_EXACT_SECONDS: how long they ask (1).

local http = require("spec.support.http")
local posix = require("spec.support.posix")
local process = require("spec.support.process")
local wire = require("spec.support.wire")

local SECONDS = tonumber(os.getenv("RP_EXACT_SECONDS") or 1)
local CLIENTS, RATE, BURST = 16, 100, 200

describe("limiters of rp.shared", function()
    local rp, folder

    setup(function()
        folder = os.tmpname()
        os.remove(folder)
        os.execute("mkdir " .. folder)
        rp = process.start { more = ([[
            shared = { limits = rp.shm.buckets { size = "1m" } },
            use = { { name = "exact", access = function(req)
                local clock, allowed = rp.clock(), nil
                if req.path == "/take" then
                    allowed = rp.shared.limits:spend("k", 1, %d, %d)
                elseif req.path == "/leak" then
                    allowed = rp.shared.limits:leak("k", 1, %d, %d)
                else
                    allowed = rp.shared.limits:window("k", 1, 100, 1000)
                end
                return req:exit(200, ("%%.0f %%s"):format(clock, tostring(allowed)))
            end } },]]):format(RATE, BURST, RATE, BURST - 1) }
        process.wait_workers(rp, 2)
    end)

    teardown(function()
        process.stop(rp)
        os.execute("rm -rf " .. folder)
    end)

    -- One client: when it asked each time and what it was told, as lines of a file.
    local function client(path, target)
        local conn, lines = wire.connect(rp.port), {}
        local until_s = posix.now() + SECONDS
        repeat
            local res = http.request(conn, { target = target })
            if res:header("connection") == "close" then -- it had its share of requests
                conn:close()
                conn = wire.connect(rp.port)
            end
            lines[#lines + 1] = res.body .. "\n"
        until posix.now() >= until_s
        posix.write_file(path, table.concat(lines))
        return true
    end

    -- How many were given, and when all asked (seconds), in order.
    local function ask(target)
        local pids, given, times = {}, 0, {}
        for i = 1, CLIENTS do
            pids[i] = posix.C.fork()
            if pids[i] == 0 then
                local ran, ok = pcall(client, folder .. "/" .. i, target)
                posix.C._exit((ran and ok) and 0 or 1)
            end
        end
        for i = 1, CLIENTS do
            assert.same({ exit = 0 }, posix.wait(pids[i], SECONDS + 60))
            for clock, allowed in posix.read_file(folder .. "/" .. i):gmatch("(%d+) (%a+)\n") do
                times[#times + 1] = tonumber(clock) / 1e9
                if allowed == "true" then given = given + 1 end
            end
        end
        table.sort(times)
        return given, times
    end

    -- What one bucket gives to those who ask at these times. While it is full, as it is until the
    -- clients get going, nothing flows in.
    local function bucket(times)
        local given, level, last = 0, BURST, times[1]
        for _, now in ipairs(times) do
            level, last = math.min(BURST, level + RATE * (now - last)), now
            if level >= 1 then given, level = given + 1, level - 1 end
        end
        return given
    end

    for _, target in ipairs { "/take", "/leak" } do
        it("gives as many as it should, to the one: " .. target, function()
            local given, times = ask(target)
            local should = bucket(times)
            assert.is_true(math.abs(given - should) <= 1, ("%d given, %d should be"):format(given, should))
            assert.is_true(should >= BURST)
        end)
    end

    it("gives exactly what a window has", function()
        assert.equal(100, (ask("/window")))
    end)
end)
