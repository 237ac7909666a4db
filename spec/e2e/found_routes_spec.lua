-- SPDX-License-Identifier: MIT
--
-- Routes from labels of containers, and from a file: what a label may do, what it may not, what a
-- reload is needed for, and what is left when the provider, the agent or the program goes. Docker is
-- an imitation of the Engine's API (spec/support/fake.lua).

local e2e = require("spec.support.e2e")
local fake = require("spec.support.fake")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")

local SOON = [[settle = "20ms", gather = "50ms", pause = 0, wait = "2s"]]

local rp, docker

-- A container as the Engine lists it. port: of an origin on this machine.
local function container(name, port, labels, created)
    local list = { '"rproxy.enable":"true"' }
    for key, value in pairs(labels or {}) do list[#list + 1] = ("%q:%q"):format(key, value) end
    return ([[{"Id":"%s0000000000","Names":["/%s"],"State":"running","Status":"Up","Created":%d,
        "Labels":{%s},"Ports":[{"PrivatePort":%d,"Type":"tcp"}],"Image":"img",
        "NetworkSettings":{"Networks":{"front":{"IPAddress":"127.0.0.1"}}}}]]):format(name, name,
        created or 1, table.concat(list, ","), port)
end

local events = 0

-- These run now; the Engine says so.
local function run(list)
    events = events + 1
    docker.state.events = docker.state.events or {}
    local all = docker.state.events
    all[#all + 1] = ('{"Type":"container","Action":"start","id":"%d"}'):format(events)
    docker:set { containers = "[" .. table.concat(list, ",") .. "]", events = all }
end

local function site(more, hosts)
    return ([[ local rp = require("rproxy")
        return rp.site { workers = 2, listeners = { rp.listen { "127.0.0.1:${port}" } },
        upstreams = { own = rp.upstream { peers = { "127.0.0.1:1" } } },
        hosts = { rp.host { default = true, routes = { rp.route { "/*", respond = { 421, "none" } } } },
            rp.host { "site.test", routes = { rp.route { "/*", respond = { 200, "the site" } } } }, %s },
        discover = { "docker", socket = "${path}", hosts = { "*.apps.test", "shop.test", "site.test" },
            chains = { login = { { access = function(req)
                if not req:get("x-key") then return req:exit(401, "key") end end } } },
            host = { use = { { header_filter = function(_, res) res:set("x-found", "yes") end } } },
            %s, %s } } ]]):format(hosts or "", SOON, more or "")
end

local function start(list, more, opt)
    local path = proc.temp_dir() .. "/docker.sock"
    os.execute(("chmod 755 '%s'"):format(path:match("^(.*)/")))
    docker = fake.start("docker", { events = {}, containers = "[" .. table.concat(list, ",") .. "]" },
        { unix = path })
    os.execute(("chmod 666 '%s'"):format(path))
    local all = { site = site(more), vars = { path = path } }
    for key, value in pairs(opt or {}) do all[key] = value end
    rp = proc.rproxy(all)
    rp:wait_stderr("serving site=")
end

local function lines(pattern)
    return e2e.log_since(rp, 0, pattern)
end

local function wait_line(pattern, n)
    local ok = posix.poll(function() return #lines(pattern) >= (n or 1) end, 30)
    if not ok then error(("no %q (%d) in:\n%s"):format(pattern, n or 1, rp:stderr()), 2) end
    return lines(pattern)[n or 1]
end

local function get(host, path, fields)
    local all = { Host = host }
    for key, value in pairs(fields or {}) do all[key] = value end
    return http.get(rp.port, path or "/", all)
end

-- Wait until that host answers so.
local function answers(host, path, status, fields)
    local last
    local ok = posix.poll(function()
        last = get(host, path, fields)
        return last and last.status == status
    end, 30)
    if not ok then
        error(("%s%s answers %s, not %d:\n%s"):format(host, path, last and last.status or "nothing",
            status, rp:stderr()), 2)
    end
    return last
end

describe("routes from labels", function()
    local app, other

    before_each(function()
        app = origin.start { ["*"] = { status = 200, body = "app" } }
        other = origin.start { ["*"] = { status = 200, body = "other" } }
    end)
    after_each(function()
        if rp then e2e.stop(rp) end
        rp, docker = nil, nil
    end)

    it("become hosts, routes and upstreams made of what the site says", function()
        start { container("one", app.port, { ["rproxy.host"] = "one.apps.test, Shop.test",
            ["rproxy.route.api.path"] = "/api/*", ["rproxy.route.api.strip_prefix"] = "/api",
            ["rproxy.route.api.use"] = "login" }) }
        local res = answers("one.apps.test", "/x", 200)
        assert.equal("app", res.body)
        assert.equal("yes", res:header("x-found"))
        assert.equal("app", answers("shop.test", "/x", 200).body)
        assert.equal(401, get("one.apps.test", "/api/deep/er").status)
        assert.equal(200, get("one.apps.test", "/api/deep/er", { ["X-Key"] = "1" }).status)
        local seen = app:requests()
        assert.equal("/deep/er", seen[#seen].target)
        assert.equal(421, get("two.apps.test").status)
        assert.equal("the site", get("site.test").body)

        local shown = process.must(rp, "-T")
        for _, text in ipairs { "docker:one", "docker:one/api", "found by docker (container one)",
            "hosts *.apps.test, shop.test, site.test", "chains login", "4 routes now" } do
            assert.truthy(shown:find(text, 1, true), text .. " is not in " .. shown)
        end
        local how, out, err = process.run(rp, "explain", "http://shop.test/api/1")
        assert.truthy(out:find("found by docker (container one)", 1, true), out .. err)
        assert.truthy(out:find("401", 1, true), out)
        assert.equal(1, how.exit) -- the site refuses it
        local draft = proc.temp_dir() .. "/draft.lua"
        local text = posix.read_file(rp.site_path)
        posix.write_file(draft, text)
        how, out, err = proc.run { process.BIN, "diff", rp.site_path, draft }
        assert.equal(0, how.exit, out .. err) -- the draft has the same routes
        posix.write_file(draft, (text:gsub('"%*%.apps%.test", ', "")))
        how, out = proc.run { process.BIN, "diff", rp.site_path, draft }
        assert.equal(1, how.exit)
        assert.truthy(out:find("one.apps.test", 1, true), out)
    end)

    it("may have TLS, a check, and any plain path", function()
        start({ container("odd", app.port, { ["rproxy.host"] = "odd.apps.test",
            ["rproxy.path"] = "/a!$&'()+,;=:@~-_.x/*", ["rproxy.health"] = "/up;x" }),
            container("safe", other.port, { ["rproxy.host"] = "safe.apps.test", ["rproxy.tls"] = "true" }) },
            'upstream = { health = { every = "100ms" }, timeouts = { connect = "300ms" }, tries = 1 }')
        assert.equal("app", answers("odd.apps.test", "/a!$&'()+,;=:@~-_.x/y", 200).body)
        assert.equal(404, get("odd.apps.test", "/").status)
        app:wait_requests(2)
        assert.truthy(app:count("/up;x") > 0)
        answers("safe.apps.test", "/", 504) -- the origin takes the handshake for a slow request
    end)

    it("need a reload when routes change, and none when members do", function()
        local a = { ["rproxy.host"] = "a.apps.test", ["rproxy.service"] = "a" }
        local heavy = { ["rproxy.weight"] = "7" }
        for key, value in pairs(a) do heavy[key] = value end
        start { container("a1", app.port, a) }
        answers("a.apps.test", "/", 200)
        wait_line("reloaded generation=2")
        run { container("a1", app.port, heavy), container("a2", other.port, a, 2) }
        wait_line("members changed.*members=2")
        run { container("a2", other.port, a, 2) } -- who said it first is gone
        wait_line("members changed.*members=1", 2)
        assert.equal("other", answers("a.apps.test", "/", 200).body)
        run { container("a2", other.port, a, 2),
            container("b", app.port, { ["rproxy.host"] = "b.apps.test" }) }
        answers("b.apps.test", "/", 200)
        run { container("b", app.port, { ["rproxy.host"] = "b.apps.test" }) }
        answers("a.apps.test", "/", 421)
        assert.equal("app", get("b.apps.test").body)
        wait_line("reloaded generation=4")
        assert.equal(3, #lines("reloaded generation"))
    end)

    it("take no more than the site gives, and a broken set of labels hurts itself alone", function()
        local bad = {
            { "h1", { ["rproxy.host"] = "site.test" }, "host: site.test: the site has it" },
            { "h2", { ["rproxy.host"] = "evil.example" }, "evil.example: the site allows no such" },
            { "h3", { ["rproxy.host"] = "apps.test" }, "apps.test: the site allows no such" },
            { "h4", { ["rproxy.host"] = "*.apps.test" }, "is no name of a host" },
            { "h5", { ["rproxy.host"] = "x.apps.test", ["rproxy.use"] = "root" }, "offers no chain" },
            { "h6", { ["rproxy.host"] = "x.apps.test", ["rproxy.ues"] = "login" },
                "label rproxy.ues: there is no such label; did you mean" },
            { "h7", { ["rproxy.host"] = "x.apps.test", ["rproxy.path"] = "/{a*}" }, "rproxy.path: " },
            { "h8", { ["rproxy.host"] = "x.apps.test", ["rproxy.path"] = "~.*" }, "rproxy.path: " },
            { "h9", { ["rproxy.host"] = "x.apps.test", ["rproxy.path"] = "/a/../b" }, "rproxy.path: " },
            { "h10", { ["rproxy.host"] = "x.apps.test", ["rproxy.port"] = "http" },
                "rproxy.port is no number" },
            { "h11", { ["rproxy.host"] = "x.apps.test", ["rproxy.weight"] = "-1" }, "weight is" },
            { "h12", { ["rproxy.host"] = "x.apps.test", ["rproxy.service"] = "a b!" }, "is no name" },
            { "h13", { ["rproxy.host"] = "good.apps.test" }, "container good has /%* already" },
            { "h14", { ["rproxy.host"] = ("x"):rep(70) .. ".apps.test" }, "is no name of a host" },
            { "h15", { ["rproxy.path"] = "/x" }, "host: missing" },
            { "h16", { ["rproxy.host"] = "x.apps.test", ["rproxy.tls"] = "no verify" },
                "tls: true or false" },
            { "h17", { ["rproxy.host"] = "x.apps.test", ["rproxy.health"] = "/a b" }, "health: " },
        }
        local list = { container("good", app.port, { ["rproxy.host"] = "good.apps.test" }, 5) }
        for _, one in ipairs(bad) do list[#list + 1] = container(one[1], other.port, one[2], 9) end
        start(list)
        assert.equal("app", answers("good.apps.test", "/", 200).body)
        for _, one in ipairs(bad) do
            local told = wait_line("does not hold.*container " .. one[1] .. '".*')
            assert.truthy(told:find(one[3]), told)
        end
        assert.equal("the site", get("site.test").body)
        assert.equal(421, get("x.apps.test").status)
        assert.equal(421, get("evil.example").status)
        assert.equal("app", get("good.apps.test").body)
        -- What was older goes: who waited has it.
        table.remove(list, 1)
        run(list)
        assert.truthy(posix.poll(function() return get("good.apps.test").body == "other" end, 30))
        assert.equal(#bad, #lines("does not hold")) -- each was told once
    end)

    it("may name as many segments as routes have, and names of the site as they are written", function()
        start({ container("deep", app.port, { ["rproxy.host"] = "deep.apps.test",
                ["rproxy.path"] = ("/a"):rep(64) }),
            container("deeper", app.port, { ["rproxy.host"] = "deeper.apps.test",
                ["rproxy.path"] = ("/a"):rep(65) }),
            container("own", app.port, { ["rproxy.host"] = "own.apps.test" }) }, nil, { site =
            site(nil, [[rp.host { "Own.apps.test.", routes = {
                rp.route { "/*", respond = { 200, "the site" } } } }]]) })
        assert.equal("app", answers("deep.apps.test", ("/a"):rep(64), 200).body)
        assert.equal("the site", get("own.apps.test").body)
        wait_line('does not hold.*container deeper".*rproxy.path: ')
        wait_line('does not hold.*container own".*own.apps.test: the site has it')
        assert.equal(0, #lines("not reloaded"))
    end)

    it("run an instance once, in however many chains it is", function()
        local parts = [[ local function count(name)
            local plugin = require("rproxy").plugin { name = name, version = "1" }
            function plugin.setup() return { header_filter = function(_, res)
                res:set("x-" .. name, (res:get("x-" .. name) or "") .. "1") end } end
            return plugin { } end
            local one, two, all = count("one"), count("two"), count("all") ]]
        start({ container("c", app.port, { ["rproxy.host"] = "c.apps.test",
            ["rproxy.use"] = "login,admin" }) }, nil, { site = parts .. site():gsub("chains = {.-end } } },",
            "chains = { login = { one }, admin = { two, one, all } }, route = { use = { two } }, ")
            :gsub("host = { use = {.-end } } },", "host = { use = { all } },") })
        local res = answers("c.apps.test", "/", 200)
        assert.equal("1 1 1", table.concat({ res:header("x-one"), res:header("x-two"),
            res:header("x-all") }, " "))
    end)

    it("that fail a check are left out, and the site can be changed all the same", function()
        -- What the routes' template skips, and a chain asks for: nothing but the check knows of that.
        local text = [[ local plugin = require("rproxy").plugin { name = "key", version = "1" }
            function plugin.setup() return { access = function() end } end
            local key = plugin { } ]]
            .. site():gsub("chains = {.-end } } },", "chains = { login = { key } }, ")
            :gsub("host = { use = {.-end } } },", "host = { use = { key } }, route = { skip = { 'key' } },")
        local good = container("good", app.port, { ["rproxy.host"] = "good.apps.test" })
        start({ good }, nil, { site = text })
        answers("good.apps.test", "/", 200)
        wait_line("reloaded generation=2")
        run { good, container("bad", app.port, { ["rproxy.host"] = "bad.apps.test",
            ["rproxy.use"] = "login" }) }
        wait_line("not reloaded: .*the same instance of key twice")
        rp:write_site((text:gsub('"the site"', '"another"')))
        process.must(rp, "reload")
        wait_line("error .*routes that were found last are left out.*the same instance of key twice")
        assert.equal("another", get("site.test").body)
        assert.equal("app", get("good.apps.test").body)
        assert.equal(421, get("bad.apps.test").status)
        local out, err = process.must(rp, "-t")
        assert.truthy(((out or "") .. (err or "")):find("ok", 1, true))
        process.must(rp, "upgrade")
        assert.equal("another", get("site.test").body)
        assert.equal("app", get("good.apps.test").body)
        rp:write_site((text:gsub('"the site"', 'nonsense("the site")')))
        local how, _, told = process.run(rp, "reload")
        assert.are_not.equal(0, how.exit)
        assert.truthy(told:find("nonsense", 1, true), told)
        assert.equal("app", get("good.apps.test").body)
    end)

    it("leave no series of metrics behind", function()
        start({ container("c", app.port, { ["rproxy.host"] = "c.apps.test" }) }, nil, { site =
            site(nil, [[rp.host { "m.test", routes = { rp.route { "/*", content = function(req)
                req:exit(200, rp.metric.text()) end } } }]]) })
        answers("c.apps.test", "/", 200)
        run {}
        answers("c.apps.test", "/", 421)
        local text = e2e.body(rp, "/", { Host = "m.test" })
        assert.truthy(text:find('rproxy_discover_members{upstream="(routes)"', 1, true), text)
        assert.is_nil(text:find('upstream="docker:', 1, true))
    end)

    it("outlive their provider, the agent, reloads and an upgrade", function()
        start { container("a", app.port, { ["rproxy.host"] = "a.apps.test" }) }
        answers("a.apps.test", "/", 200)
        wait_line("reloaded generation=2")
        docker:stop()
        wait_line("provider of routes is lost, the last routes are kept")
        assert.equal(200, get("a.apps.test").status)
        process.must(rp, "reload")
        assert.equal(200, get("a.apps.test").status)
        for _, pid in ipairs(posix.tree(rp.pid)) do
            if posix.read_file("/proc/" .. pid .. "/comm") == "rproxy-agent\n" then
                posix.kill(pid, "KILL")
            end
        end
        wait_line("agent.*signal")
        assert.equal(200, get("a.apps.test").status)
        process.must(rp, "upgrade")
        assert.equal(200, get("a.apps.test").status)
        process.must(rp, "reload")
        assert.equal(200, get("a.apps.test").status)
        -- A site that gives less takes them away.
        rp:write_site((site():gsub('hosts = { "%*%.apps%.test", ', "hosts = { ")))
        process.must(rp, "reload")
        assert.equal(421, get("a.apps.test").status)
        local _, _, err = process.run(rp, "-t")
        assert.truthy(err:find("a route that was found is left out: container a", 1, true), err)
    end)

    it("of 500 containers come with one reload", function()
        local list = {}
        for i = 1, 500 do
            list[i] = container("c" .. i, app.port, { ["rproxy.host"] = ("c%d.apps.test"):format(i) })
        end
        start({}, nil, { site = (site():gsub('gather = "50ms"', 'gather = "2s"')) })
        for i = 100, 500, 100 do
            local some = {}
            for n = 1, i do some[n] = list[n] end
            run(some)
        end
        answers("c500.apps.test", "/", 200)
        assert.equal(200, get("c1.apps.test").status)
        assert.equal(1, #lines("reloaded generation"), rp:stderr():gsub("members changed[^\n]*\n", ""))
    end)

    it("come and go under load, and nobody else's request fails", function()
        local labels = { ["rproxy.host"] = "busy.apps.test" }
        start { container("busy", app.port, labels) }
        answers("busy.apps.test", "/", 200)
        local stop = proc.temp_dir() .. "/stop"
        local load = proc.spawn({ "luajit", "-e", ([[
            package.path = "./?.lua;" .. package.path
            local http = require("spec.support.http")
            local n, failed = 0, 0
            while not io.open(%q) do
                local ran, res = pcall(http.get, %d, "/", { Host = "busy.apps.test" })
                n = n + 1
                if not ran or res.status ~= 200 then failed = failed + 1 end
            end
            print(n, failed)]]):format(stop, rp.port) }, { env = { LD_PRELOAD = false } })
        for i = 1, 4 do
            run { container("busy", app.port, labels),
                container("x" .. i, other.port, { ["rproxy.host"] = ("x%d.apps.test"):format(i) }) }
            answers(("x%d.apps.test"):format(i), "/", 200)
        end
        run { container("busy", app.port, labels) }
        answers("x4.apps.test", "/", 421)
        posix.write_file(stop, "")
        load:wait(30)
        local n, failed = load:stdout():match("(%d+)%s+(%d+)")
        assert.equal("0", failed, rp:stderr())
        assert.truthy(tonumber(n) > 20)
        assert.truthy(#lines("reloaded generation") >= 5)
    end)

    it("of a provider in Lua may be anything, and each that is wrong is told", function()
        rp = proc.rproxy { vars = { app = app.port }, site = [[ local rp = require("rproxy")
            return rp.site { workers = 1, listeners = { rp.listen { "127.0.0.1:${port}" } },
            hosts = { rp.host { default = true, routes = { rp.route { "/*", respond = { 421 } } } } },
            discover = { { { name = "fn", start = function(_, publish)
                publish { { from = {}, host = "x y" }, { bad = true }, { bad = {}, from = 5 }, 7,
                    { host = "fn.apps.test", members = { "127.0.0.1:${app}" } } }
            end }, ]] .. SOON .. [[, hosts = { "*.apps.test" } } } } ]] }
        assert.equal("app", answers("fn.apps.test", "/", 200).body)
        for _, place in ipairs { "host: x", "route 2", "route 3", "route 4" } do
            wait_line('does not hold.*' .. place)
        end
        assert.equal(0, #lines("background task failed"))
    end)

    it("may come from a file as well", function()
        local dir = proc.temp_dir()
        os.execute(("chmod 755 '%s'"):format(dir))
        local function write(text)
            posix.write_file(dir .. "/new", text)
            os.rename(dir .. "/new", dir .. "/routes.json")
        end
        write(('{"routes": [{"host": "f.apps.test", "members": ["127.0.0.1:%d"]}]}'):format(app.port))
        rp = proc.rproxy { vars = { dir_of = dir }, site = [[ local rp = require("rproxy")
            return rp.site { workers = 1, listeners = { rp.listen { "127.0.0.1:${port}" } },
            hosts = { rp.host { default = true, routes = { rp.route { "/*", respond = { 421 } } } } },
            discover = { { "file", path = "${dir_of}/routes.json", every = "50ms", ]] .. SOON .. [[,
                hosts = { "*.apps.test" } } } } ]] }
        answers("f.apps.test", "/", 200)
        local socket = fake.start("docker", { events = {}, containers = "[]" }, { unix = dir .. "/s" })
        os.execute(("chmod 666 '%s/s'"):format(dir))
        write(('{"routes": [{"host": "u.apps.test", "members": ["unix:%s/s"]}]}'):format(dir))
        assert.equal("[]", answers("u.apps.test", "/containers/json", 200).body)
        socket:stop()
        write(('{"routes": [{"host": "f.apps.test", "members": ["127.0.0.1:%d"]}]}'):format(app.port))
        answers("f.apps.test", "/", 200)
        write('{"routes": [{"host": "f.apps.test", "paht": "/x"}]}')
        wait_line("provider of routes is lost.*route 1: unknown field .*did you mean")
        assert.equal(200, get("f.apps.test").status)
        write(('{"routes": [{"host": "g.apps.test", "path": "/g", "members": ["127.0.0.1:%d"]}]}')
            :format(app.port))
        answers("g.apps.test", "/g", 200)
        assert.equal(404, get("g.apps.test", "/").status)
        assert.equal(421, get("f.apps.test").status)
    end)
end)
