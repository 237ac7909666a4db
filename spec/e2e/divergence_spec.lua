-- SPDX-License-Identifier: MIT
--
-- All workers and the agent see one truth: after a thousand changes of all kinds their balancers
-- agree. (How long they differ is measured by spec/bench/members.lua --divergence.)

local e2e = require("spec.support.e2e")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local protocol = require("spec.support.protocol")

if protocol.name ~= "h1" then return end -- not about requests

local CHANGES, SITE_PEERS, LIVE_PEERS = 1000, 8, 12

describe("the balancers of all workers", function()
    local rp

    after_each(function() e2e.stop(rp) end)

    local function view(worker)
        local how, out, err = proc.run { process.BIN, "upstreams", "-p", rp.site_path, "--worker",
            tostring(worker), "api" }
        assert.equal(0, how.exit, err)
        return out
    end

    -- Orders as the tool sends them, one connection each, without a process for each.
    local function order(text)
        local how, _, err = proc.run { process.BIN, "peer", "-p", rp.site_path, "api",
            unpack(text) }
        return how.exit == 0, err
    end

    it("agree after a thousand changes by checks, a provider and the operator", function()
        local checked = origin.start { ["/up"] = { turns = { { status = 200 }, { status = 500 },
            { status = 200 }, { status = 500 } } } }
        local peers = { ('"127.0.0.1:%d"'):format(checked.port) }
        for i = 2, SITE_PEERS do peers[i] = ('"127.0.0.1:%d"'):format(20000 + i) end
        rp = proc.rproxy { site = ([[
            return rp.site { workers = 2, listeners = { rp.listen { "127.0.0.1:${port}" } },
                log = { error = { level = "warn" } },
                upstreams = { api = rp.upstream { peers = { %s }, panic = 0,
                    health = { path = "/up", every = "50ms", fast = "50ms", rise = 1, fall = 1,
                        jitter = 0, timeout = "1s" },
                    discover = function(publish)
                        local round = 0
                        while round < %d do
                            round = round + 1
                            local list = {}
                            for i = 1, %d do
                                if (i * round) %% 3 ~= 0 then
                                    list[#list + 1] = { address = "127.0.0.1:" .. 21000 + i,
                                        weight = (i * round) %% 50 + 1 }
                                end
                            end
                            publish(list)
                            rp.sleep(0.01)
                        end
                        rp.sleep(86400)
                    end } },
                hosts = { rp.host { default = true, routes = {
                    rp.route { "/*", upstream = "api" } } } } } ]]):format(
                        table.concat(peers, ", "), CHANGES, LIVE_PEERS) }
        assert(posix.poll(function() return pcall(view, 0) and pcall(view, 1) end),
            "the workers do not serve")
        math.randomseed(11)
        local words = { { "drain" }, { "ready" }, { "maint" }, { "weight=7" }, { "weight=auto" },
            { "remove" }, { "add" }, { "add", "weight=9" }, { "reset" } }
        local done = 0
        for _ = 1, 120 do
            local name = math.random(3) == 1 and 20000 + math.random(2, SITE_PEERS)
                or 22000 + math.random(6)
            local word = words[math.random(#words)]
            if order { "127.0.0.1:" .. name, unpack(word) } then done = done + 1 end
            if math.random(4) == 1 then view(math.random(0, 1)) end
        end
        assert.is_true(done > 20, done)
        local function brought(text)
            local names = {}
            for name, weight in text:gmatch("127%.0%.0%.1:(21%d+)\t(%d+)") do
                names[#names + 1] = name .. "=" .. weight
            end
            return table.concat(names, " ")
        end
        local wanted = {}
        for i = 1, LIVE_PEERS do
            if (i * CHANGES) % 3 ~= 0 then
                wanted[#wanted + 1] = ("%d=%d"):format(21000 + i, (i * CHANGES) % 50 + 1)
            end
        end
        wanted = table.concat(wanted, " ")
        assert(posix.poll(function() return brought(view(0)) == wanted end, 90),
            "the provider's last list is not there")
        assert.equal(wanted, brought(view(1))) -- the other has it, too, without a moment's wait
        local one, other, agent
        assert(posix.poll(function() -- but for checks that say something between the questions
            one, other, agent = view(0), view(1), view("agent")
            return one == other and one == agent
        end), ("the views differ:\n%s\n%s\n%s"):format(tostring(one), tostring(other),
            tostring(agent)))
    end)
end)
