-- SPDX-License-Identifier: MIT
--
-- Active health checks: each kind against a server, and what workers make of the outcome.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local protocol = require("spec.support.protocol")
local redis = require("spec.support.redis")

if protocol.name ~= "h1" then return end -- the checks are the agent's: not about requests

local FAST = [[every = "100ms", fast = "50ms", timeout = "2s"]]

describe("health checks", function()
    local rp

    after_each(function()
        e2e.stop(rp)
    end)

    -- ups: Lua text of upstreams; a route /NAME for each name.
    local function start(ups, names, opt)
        local routes = {}
        for i, name in ipairs(names) do
            routes[i] = ('rp.route { "/%s", upstream = "%s" }'):format(name, name)
        end
        local all = { site = ([[return rp.site { workers = %d,
            listeners = { rp.listen { "127.0.0.1:${port}" } }, upstreams = { %s },
            hosts = { rp.host { default = true, routes = { %s } } } } ]]):format(
                opt and opt.workers or 2, ups, table.concat(routes, ",\n")) }
        for key, value in pairs(opt or {}) do all[key] = value end
        rp = proc.rproxy(all)
    end

    local function state(upstream, port)
        local _, out = proc.run { process.BIN, "upstreams", "-p", rp.site_path, upstream }
        return out:match(":" .. port .. "%s+(%a+)")
    end

    local function wait_state(upstream, port, wanted)
        local last
        assert(posix.poll(function()
            last = state(upstream, port)
            return last == wanted
        end), ("%s:%s is %s, not %s"):format(upstream, port, last, wanted))
    end

    it("take a peer out that answers badly, in all workers, and in again", function()
        local a = origin.start { ["/up"] = { turns = { { status = 500 }, { status = 500 },
            { status = 500 }, { status = 200 } } }, ["*"] = { status = 200, body = "a" } }
        local b = origin.start { ["*"] = { status = 200, body = "b" } }
        start([[api = rp.upstream { peers = { "127.0.0.1:${a}", "127.0.0.1:${b}" },
            health = { path = "/up", fall = 3, rise = 2, ]] .. FAST .. "} }", { "api" },
            { vars = { a = a.port, b = b.port } })
        rp:wait_stderr('peer is down.*why="status 500"')
        rp:wait_stderr("peer is up")
        wait_state("api", a.port, "up")
        assert.equal(200, http.get(rp.port, "/api").status)
        local fields = a:requests()[1].fields
        assert.equal("rproxy-health", e2e.values(fields, "user-agent")[1])
    end)

    it("send nothing to a peer that is down, and to all when none is up", function()
        local a = origin.start { ["/up"] = { status = 503 }, ["*"] = { status = 200, body = "a" } }
        local b = origin.start { ["/up"] = { status = 200 }, ["*"] = { status = 200, body = "b" } }
        local c = origin.start { ["/up"] = { status = 503 }, ["*"] = { status = 200, body = "c" } }
        start([[two = rp.upstream { peers = { "127.0.0.1:${a}", "127.0.0.1:${b}" },
                health = { path = "/up", ]] .. FAST .. [[} },
            none = rp.upstream { peers = { "127.0.0.1:${a}", "127.0.0.1:${c}" },
                health = { path = "/up", ]] .. FAST .. [[} },
            strict = rp.upstream { panic = 0, peers = { "127.0.0.1:${a}", "127.0.0.1:${c}" },
                health = { path = "/up", ]] .. FAST .. "} }", { "two", "none", "strict" },
            { vars = { a = a.port, b = b.port, c = c.port } })
        wait_state("two", a.port, "down")
        for _ = 1, 8 do assert.equal("b", http.get(rp.port, "/two").body) end
        wait_state("none", a.port, "down")
        wait_state("none", c.port, "down")
        assert.equal(200, http.get(rp.port, "/none").status)
    end)

    it("ask over TCP, of Redis, MySQL, PostgreSQL and what a program or Lua says", function()
        local store = redis.start()
        local dead = posix.free_port()
        -- What the first bytes of those servers are; clients are answered one after the other.
        local function server(bytes)
            return origin.start { raw = { { send = bytes }, { hang = true } } }
        end
        start(([[
            tcp = rp.upstream { peers = { "127.0.0.1:${redis}", "127.0.0.1:${dead}" },
                health = { type = "tcp", FAST } },
            redis = rp.upstream { peers = { "127.0.0.1:${redis}", "127.0.0.1:${web}" },
                health = { type = "redis", FAST } },
            exec = rp.upstream { peers = { "127.0.0.1:${web}", "127.0.0.1:${dead}" },
                health = { type = "exec", argv = { "/bin/sh", "-c", "test {port} = ${web}" }, FAST } },
            lua = rp.upstream { peers = { "127.0.0.1:${web}", "127.0.0.1:${dead}" },
                health = { type = "lua", FAST, check = function(peer)
                    local sock, err = rp.tcp.connect { host = peer.host, port = peer.port,
                        timeout = 2, pool = false }
                    if not sock then return nil, "lua says " .. err end
                    sock:close()
                    return true
                end } },
            body = rp.upstream { peers = { "127.0.0.1:${web}" },
                health = { body = "ready", FAST } },
            odd = rp.upstream { peers = { "127.0.0.1:${web}" },
                health = { body = "not there", FAST } },
        ]]):gsub("FAST", FAST), { "tcp" }, { vars = { redis = store.port, dead = dead,
            web = origin.start { ["*"] = { status = 200, body = "all ready" } }.port } })
        wait_state("tcp", dead, "down")
        wait_state("redis", rp.vars.web, "down")
        wait_state("exec", dead, "down")
        wait_state("lua", dead, "down")
        wait_state("odd", rp.vars.web, "down")
        rp:wait_stderr('why="lua says refused"')
        rp:wait_stderr('why="its body does not match"')
        rp:wait_stderr('why="exit status 1"')
        for _, name in ipairs { "tcp", "redis" } do
            assert.equal("up", state(name, store.port), name)
        end
        for _, name in ipairs { "exec", "lua", "body" } do
            assert.equal("up", state(name, rp.vars.web), name)
        end
        store:stop()
        assert.is_function(server)
    end)

    it("know the greetings of MySQL and PostgreSQL", function()
        local my, pg, refuses = e2e.listen(), e2e.listen(), e2e.listen()
        start(([[my = rp.upstream { peers = { "127.0.0.1:${my}", "127.0.0.1:${refuses}" },
                health = { type = "mysql", FAST, fall = 1 } },
            pg = rp.upstream { peers = { "127.0.0.1:${pg}" },
                health = { type = "postgres", FAST, fall = 1, rise = 1 } }, ]]):gsub("FAST", FAST),
            { "my" }, { vars = { my = my.port, pg = pg.port, refuses = refuses.port },
                workers = 1 })
        -- Answer whoever came, until the peer is what it should be. (A slow machine may have let
        -- some of the checks go already.)
        local function play(listener, bytes, upstream, wanted)
            assert.truthy(posix.poll(function()
                local came, w = pcall(listener.accept, listener, 0.02)
                if came then pcall(w.send, w, bytes) end
                return state(upstream, listener.port) == wanted
            end), upstream .. " is not " .. wanted)
        end
        play(refuses, "\9\0\0\0\255\16\4", "my", "down")
        local w = pg:accept()
        assert.equal("\0\0\0\8\4\210\22\47", w:recv(8))
        play(pg, "E", "pg", "down")
        play(pg, "N", "pg", "up")
        play(my, "\74\0\0\0\10" .. "8.0.36\0", "my", "up")
        rp:wait_stderr('why="it refuses connections"')
    end)

    it("do not wait for a body that never ends", function()
        local slow = e2e.listen()
        start("slow = rp.upstream { peers = { '127.0.0.1:${slow}' }, health = { body = 'ready', "
            .. "fall = 1, every = '100ms', timeout = '300ms' } }", { "slow" },
            { vars = { slow = slow.port }, workers = 1 })
        local wires = {}
        assert.truthy(posix.poll(function() -- a byte now and then, to whoever asks
            local came, w = pcall(slow.accept, slow, 0.02)
            if came then
                wires[#wires + 1] = w
                pcall(w.send, w, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            end
            for _, one in ipairs(wires) do pcall(one.send, one, "x") end
            return state("slow", slow.port) == "down"
        end))
        rp:wait_stderr('why="its body does not match"')
    end)

    it("cost the memory of those who take part, not of those who could", function()
        local peers, dead = {}, posix.free_port()
        for i = 1, 100 do
            peers[i] = ('{ "127.0.0.%d:%d", max_conns = 9 }'):format(i, dead)
        end
        start("many = rp.upstream { balance = 'least_conn', peers = { "
            .. table.concat(peers, ", ") .. " }, health = { type = 'lua', every = '60s', "
            .. "check = function() return true end } }", { "many" }, { workers = 1 })
        for _ = 1, 3 do http.get(rp.port, "/many") end -- all are looked at
        process.must(rp, "metrics")
        local pid = process.must(rp, "status"):match("worker 0: serving, pid (%d+)")
        for _, who in ipairs { pid, rp.pid } do
            local kb = posix.read_file("/proc/" .. who .. "/status"):match("RssShmem:%s+(%d+)")
            assert.is_true(tonumber(kb) < 32 * 1024, kb)
        end
    end)

    it("ask gRPC servers by their own protocol", function()
        local server = proc.rproxy { site = [[
            local function answer(status)
                return function(req)
                    return req:exit(200, "\0\0\0\0\2\8" .. status,
                        { ["content-type"] = "application/grpc" })
                end
            end
            return rp.site { workers = 1, listeners = { rp.listen { "127.0.0.1:${port}" },
                rp.listen { "127.0.0.1:${other}" } },
                hosts = { rp.host { default = true, routes = {
                    rp.route { "POST /grpc.health.v1.Health/Check", content = function(req)
                        local body = req:body()
                        local frame = "\0\0\0\0\203\10\200\1" .. ("good"):rep(50)
                        local wanted = body == frame and "\1" or "\2"
                        return answer(wanted)(req)
                    end } } } } } ]], vars = { other = posix.free_port() } }
        start(([[good = rp.upstream { peers = { "127.0.0.1:${grpc}" },
                health = { type = "grpc", service = ("good"):rep(50), FAST } },
            bad = rp.upstream { peers = { "127.0.0.1:${grpc}" },
                health = { type = "grpc", service = "bad", FAST } }, ]]):gsub("FAST", FAST),
            { "good" }, { vars = { grpc = server.port } })
        wait_state("bad", server.port, "down")
        rp:wait_stderr("it says that it does not serve")
        assert.equal("up", state("good", server.port))
        server:stop()
    end)

    it("go on over reloads and an agent that dies, and stop where they are taken out", function()
        local a = origin.start { ["/up"] = { status = 503 }, ["*"] = { status = 200, body = "a" } }
        local b = origin.start { ["*"] = { status = 200, body = "b" } }
        start([[api = rp.upstream { peers = { "127.0.0.1:${a}", "127.0.0.1:${b}" },
            health = { path = "/up", ]] .. FAST .. "} }", { "api" },
            { vars = { a = a.port, b = b.port } })
        wait_state("api", a.port, "down")
        process.must(rp, "reload")
        assert.equal("down", state("api", a.port))
        local agent = tonumber(process.must(rp, "status"):match("agent: serving, pid (%d+)"))
        posix.kill(agent, 9)
        rp:wait_stderr("worker died agent")
        assert.equal("down", state("api", a.port))
        local before = #a:requests()
        assert.truthy(posix.poll(function() return #a:requests() > before + 2 end))
        local text = posix.read_file(rp.site_path):gsub("health = %b{}", "")
        posix.write_file(rp.site_path, text)
        process.must(rp, "reload")
        assert.equal("up", state("api", a.port))
        assert.truthy(posix.poll(function()
            return not process.must(rp, "status"):find("agent:", 1, true)
        end))
    end)
end)
