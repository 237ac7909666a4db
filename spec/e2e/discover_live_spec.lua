-- SPDX-License-Identifier: MIT
--
-- Discovery under traffic: members come and go while requests run, and nobody notices: not when the
-- provider is lost, not when the agent is killed, not over reloads.

local e2e = require("spec.support.e2e")
local fake = require("spec.support.fake")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local protocol = require("spec.support.protocol")
local tls = require("spec.support.tls")

if protocol.name ~= "h1" then return end -- who the peers are has nothing to do with the protocol

local LOST = "provider of members is lost"

describe("discovered members", function()
    local rp, a, b

    before_each(function()
        a = origin.start { ["*"] = { status = 200, body = "a" } }
        b = origin.start { ["*"] = { status = 200, body = "b" } }
    end)

    after_each(function()
        if rp then e2e.stop(rp) end
        rp = nil
    end)

    local function member(o)
        return { "127.0.0.1", o.port }
    end

    local function site(upstream, more)
        return ([[return rp.site { workers = 2, listeners = { rp.listen { "127.0.0.1:${port}" } },
            upstreams = { api = rp.upstream { %s } }, %s
            hosts = { rp.host { default = true, routes = {
                rp.route { "/metrics", content = function(req)
                    return req:exit(200, rp.metric.text())
                end },
                rp.route { "/*", upstream = "api" } } } } }]]):format(upstream, more or "")
    end

    local CONSUL = [[discover = { "consul", service = "api", url = "http://127.0.0.1:${consul}",
        settle = "20ms" }]]

    local function start(upstream, vars, more)
        rp = proc.rproxy { site = site(upstream, more), vars = vars }
    end

    -- Who answers the next n requests: a set; raises when one fails.
    local function who(n)
        local seen = {}
        for _ = 1, n do seen[e2e.body(rp, "/")] = true end
        return seen
    end

    -- Requests, each on its own connection, none of which may fail, until those who answer are these.
    local function wait_for(names)
        assert(posix.poll(function()
            local seen, all = who(12), true
            for name in names:gmatch("%a") do
                all = all and seen[name]
                seen[name] = nil
            end
            return all and next(seen) == nil
        end), "not those that should answer: " .. names .. "\n" .. rp:stderr())
    end

    local function agent()
        return tonumber(process.must(rp, "status"):match("agent: serving, pid (%d+)"))
    end

    it("are there for the first request of all, without any peer in the site", function()
        local consul = fake.start("consul", { index = 1, members = { member(a) } })
        start(CONSUL, { consul = consul.port })
        assert.equal("a", e2e.body(rp, "/"))
    end)

    it("change under traffic without a failed request", function()
        local consul = fake.start("consul", { index = 1, members = { member(a) } })
        start(CONSUL, { consul = consul.port })
        for i = 1, 3 do
            consul:set { index = i * 10, members = { member(a), member(b) } }
            wait_for("a b")
            consul:set { index = i * 10 + 1, members = { member(b) } }
            wait_for("b")
            consul:set { index = i * 10 + 2, members = { member(a) } }
            wait_for("a")
        end
    end)

    it("stay while the provider is dead, and change again when it is back", function()
        local consul = fake.start("consul", { index = 1, members = { member(a), member(b) } })
        start(CONSUL, { consul = consul.port })
        wait_for("a b")
        consul:stop()
        rp:wait_stderr(LOST)
        wait_for("a b")
        consul:set { index = 1, members = { member(b) } }
        consul:start_again()
        wait_for("b")
    end)

    it("stay when the agent is killed, while it is away and behind that", function()
        local consul = fake.start("consul", { index = 1, members = { member(a) } })
        start(CONSUL, { consul = consul.port })
        wait_for("a")
        consul:stop()
        rp:wait_stderr(LOST)
        posix.kill(agent(), 9)
        rp:wait_stderr("worker died agent")
        wait_for("a")
        assert(posix.poll(function() return #e2e.log_since(rp, 0, LOST) >= 2 end))
        assert.equal(1, #e2e.log_since(rp, 0, "members changed"))
        wait_for("a")
        consul:set { index = 2, members = { member(b) } }
        consul:start_again()
        wait_for("b")
    end)

    it("stay over reloads, also of a site that asks somebody who is not there", function()
        local consul = fake.start("consul", { index = 1, members = { member(a) } })
        start(CONSUL, { consul = consul.port })
        wait_for("a")
        process.must(rp, "reload")
        wait_for("a")
        consul:stop()
        process.must(rp, "reload")
        wait_for("a")
        rp:write_site(site([[discover = { "http", url = "http://127.0.0.1:${dead}/", wait = 0 }]]),
            { dead = fake.dead_port() })
        process.must(rp, "reload")
        wait_for("a")
        rp:wait_stderr(LOST .. ".*provider=http")
    end)

    it("are those of the new site from its first request on", function()
        local one = fake.start("consul", { index = 1, members = { member(a) } })
        local two = fake.start("consul", { index = 1, members = { member(b) } })
        start(CONSUL, { consul = one.port })
        wait_for("a")
        rp:write_site((site([[discover = { "http", url = "http://127.0.0.1:1/", wait = 0 }]])
            :gsub("upstreams = {", "upstreams = { new = rp.upstream { "
                .. CONSUL:gsub("consul}", "two}") .. " },", 1)
            :gsub('rp.route { "/%*"', 'rp.route { "/new", upstream = "new" }, %0')), { two = two.port })
        process.must(rp, "reload")
        assert.equal("b", e2e.body(rp, "/new"))
        assert.equal("a", e2e.body(rp, "/"))
    end)

    it("are not touched by a reload that fails", function()
        local one = fake.start("consul", { index = 1, members = { member(a) } })
        local two = fake.start("consul", { index = 1, members = { member(b) } })
        start(CONSUL, { consul = one.port })
        wait_for("a")
        local dir = proc.temp_dir()
        os.execute(("chmod 755 '%s'"):format(dir)) -- workers of root's are somebody else
        rp:write_site(site(CONSUL:gsub("consul}", "two}"), [[use = { { name = "no", start = function()
            while not rp.fs.stat("${go}") do rp.sleep(0.01) end
            error("this start fails")
        end } }, ]]), { two = two.port, go = dir .. "/go" })
        local reload = proc.spawn { process.BIN, "reload", "-p", rp.site_path }
        two:wait_request("GET") -- the new generation's agent asks already
        posix.write_file(dir .. "/go", "")
        assert.same({ exit = 1 }, reload:wait())
        assert.match("this start fails", reload:stderr() .. rp:stderr())
        wait_for("a")
        assert.equal(1, #e2e.log_since(rp, 0, "members changed"))
    end)

    it("go when the site asks nobody any more", function()
        local consul = fake.start("consul", { index = 1, members = { member(a) } })
        start(CONSUL, { consul = consul.port })
        wait_for("a")
        rp:write_site(site([[peers = { "127.0.0.1:${b}" }]]), { b = b.port })
        process.must(rp, "reload")
        wait_for("b")
    end)

    it("stand beside the peers of the site, with their weights", function()
        local consul = fake.start("consul", { index = 1, members = {
            { "127.0.0.1", b.port, weight = 3 } } })
        start([[peers = { "127.0.0.1:${a}" }, ]] .. CONSUL, { consul = consul.port, a = a.port })
        wait_for("a b")
        local n = { a = 0, b = 0 }
        -- Two workers, each with its own turn.
        for _ = 1, 200 do
            local name = e2e.body(rp, "/")
            n[name] = n[name] + 1
        end
        assert.is_true(n.b > 2 * n.a, n.a .. " " .. n.b)
        consul:set { index = 2, members = {} }
        rp:wait_stderr("says that there are no members, the last ones are kept")
        wait_for("a b")
    end)

    it("may be nobody where the site believes that: 503", function()
        local consul = fake.start("consul", { index = 1, members = { member(a) } })
        start(CONSUL:gsub("settle", 'empty = "take", settle'), { consul = consul.port })
        wait_for("a")
        consul:set { index = 2, members = {} }
        rp:wait_stderr("members changed.*members=0")
        assert(posix.poll(function() return http.get(rp.port, "/").status == 503 end))
        consul:set { index = 3, members = { member(b) } }
        assert(posix.poll(function() return http.get(rp.port, "/").body == "b" end))
    end)

    it("are checked, and taken out when they are ill", function()
        local ill = origin.start { ["/up"] = { status = 500 }, ["*"] = { status = 200, body = "i" } }
        local consul = fake.start("consul", { index = 1, members = { member(a), member(ill) } })
        start(CONSUL .. [[, health = { path = "/up", every = "50ms", fall = 1 }]],
            { consul = consul.port })
        wait_for("a")
        consul:set { index = 2, members = { member(b), member(ill) } }
        wait_for("b")
    end)

    it("are peers of streams, too", function()
        local consul = fake.start("consul", { index = 1, members = { member(a) } })
        local port = posix.free_port()
        start(CONSUL, { consul = consul.port, stream = port },
            [[streams = { rp.stream { "127.0.0.1:${stream}", upstream = "api" } }, ]])
        assert.equal("a", http.get(port, "/").body)
        consul:set { index = 2, members = { member(b) } }
        assert(posix.poll(function() return http.get(port, "/").body == "b" end))
    end)

    it("are counted", function()
        local consul = fake.start("consul", { index = 1, members = { member(a), member(b),
            { "127.0.0.1", 0 } } })
        start(CONSUL, { consul = consul.port })
        wait_for("a b")
        local function metric(name)
            local text = e2e.body(rp, "/metrics")
            return tonumber(text:match("rproxy_discover_" .. name
                .. '{upstream="api",provider="consul"} ([%d.e+-]+)'))
        end
        assert(posix.poll(function()
            return metric("members") == 2 and metric("updates_total") == 1
                and metric("errors_total") == 1 and metric("lost") == 0
        end), e2e.body(rp, "/metrics"))
        consul:stop()
        assert(posix.poll(function()
            return metric("members") == 2 and metric("lost") == 1 and metric("errors_total") > 1
                and metric("age_seconds") > 0.5
        end))
        -- A site without it does not go on showing it.
        rp:write_site(site([[peers = { "127.0.0.1:${b}" }, discover = { "file", path = "none",
            wait = 0 }]]), { b = b.port })
        process.must(rp, "reload")
        assert(posix.poll(function() return metric("lost") == 0 and metric("members") == 0 end))
    end)

    it("are asked for over TLS, of a server that is who it should be", function()
        local consul = fake.start("consul", { index = 1, members = { member(a) } })
        local dir = proc.temp_dir()
        tls.ca(dir, "ca")
        tls.cert(dir, "door", { ca = "ca", names = { "consul.test" } })
        local door = proc.rproxy { site = [[return rp.site { workers = 1,
            tls = { certs = { { cert = "${tls_of}/door.pem", key = "${tls_of}/door.key" } } },
            listeners = { rp.listen { "127.0.0.1:${port}", tls = true } },
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${consul}" } } },
            hosts = { rp.host { default = true, routes = { rp.route { "/*", upstream = "o" } } } } } ]],
            vars = { consul = consul.port, tls_of = dir } }
        start([[discover = { { "consul", service = "api", url = "https://127.0.0.1:${door}", tls = {
                ca = "${tls_of}/ca.pem", name = "consul.test", sni = "consul.test" } },
            { "consul", service = "untrusted", url = "https://127.0.0.1:${door}", wait = "2s" } }]],
            { door = door.port, tls_of = dir })
        wait_for("a")
        rp:wait_stderr(LOST .. ".*provider=consul#2")
        assert.is_nil(table.concat(consul:requests()):find("untrusted", 1, true))
        door:stop()
    end)
end)
