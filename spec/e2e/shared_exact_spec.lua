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

    -- One client: what it was given, the first and the last time it asked, as a line of a file.
    local function client(path, target)
        local conn, given, first, last = wire.connect(rp.port), 0, math.huge, 0
        local until_s = posix.now() + SECONDS
        repeat
            local res = http.request(conn, { target = target })
            if res:header("connection") == "close" then -- it had its share of requests
                conn:close()
                conn = wire.connect(rp.port)
            end
            local clock, allowed = res.body:match("^(%d+) (%a+)$")
            clock = tonumber(clock)
            first, last = math.min(first, clock), math.max(last, clock)
            if allowed == "true" then given = given + 1 end
        until posix.now() >= until_s
        local file = assert(io.open(path, "wb"))
        file:write(("%d %.0f %.0f"):format(given, first, last))
        file:close()
        return true
    end

    local function ask(target)
        local pids, given, first, last = {}, 0, math.huge, 0
        for i = 1, CLIENTS do
            pids[i] = posix.C.fork()
            if pids[i] == 0 then
                local ran, ok = pcall(client, folder .. "/" .. i, target)
                posix.C._exit((ran and ok) and 0 or 1)
            end
        end
        for i = 1, CLIENTS do
            assert.same({ exit = 0 }, posix.wait(pids[i], SECONDS + 60))
            local n, from, to = posix.read_file(folder .. "/" .. i):match("(%d+) (%d+) (%d+)")
            given, first = given + tonumber(n), math.min(first, tonumber(from))
            last = math.max(last, tonumber(to))
        end
        return given, (last - first) / 1e9
    end

    for _, target in ipairs { "/take", "/leak" } do
        it("gives as many as it should, to the one: " .. target, function()
            local given, seconds = ask(target)
            local should = BURST + RATE * seconds
            assert.is_true(math.abs(given - should) <= 1 + 1e-6,
                ("%d given, %.2f should be"):format(given, should))
        end)
    end

    it("gives exactly what a window has", function()
        assert.equal(100, (ask("/window")))
    end)
end)
