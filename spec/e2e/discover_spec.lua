-- SPDX-License-Identifier: MIT
--
-- Discovery: each provider against the server that it asks, or an exact fake of its API; and against
-- servers that do what they should not.

local e2e = require("spec.support.e2e")
local etcd = require("spec.support.etcd")
local fake = require("spec.support.fake")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local protocol = require("spec.support.protocol")
local redis = require("spec.support.redis")

if protocol.name ~= "h1" then return end -- providers are the agent's: not about requests

local LOST = "provider of members is lost"
local SOON = [[settle = "50ms", wait = 0]]

local rp

-- A folder that workers may read, with these files.
local function folder(files)
    local dir = proc.temp_dir()
    os.execute(("chmod 755 '%s'"):format(dir))
    for name, text in pairs(files) do posix.write_file(dir .. "/" .. name, text) end
    return dir
end

-- An upstream "api" whose members come from a provider (Lua text).
local function start(provider, vars, opt)
    local all = { site = (opt and opt.before or "") .. ([[ return rp.site { workers = 1,
        listeners = { rp.listen { "127.0.0.1:${port}" } },
        upstreams = { api = rp.upstream { discover = %s } },
        hosts = { rp.host { default = true, routes = { rp.route { "/*", upstream = "api" },
        } } } } ]]):format((provider:gsub("SOON", SOON))), vars = vars or {} }
    if opt and opt.files then all.vars.dir_of = folder(opt.files) end
    rp = proc.rproxy(all)
    rp.folder = all.vars.dir_of
end

-- Wait for the n-th line of the log that matches; returns it.
local function line(pattern, n)
    local found
    local ok = posix.poll(function()
        found = e2e.log_since(rp, 0, pattern)
        return #found >= (n or 1)
    end)
    if not ok then error(("no %q (%d) in:\n%s"):format(pattern, n or 1, rp:stderr()), 2) end
    return found[n or 1]
end

-- Wait for a change of the members; both are lists as the log shows them, nil: none.
local function changed(added, removed, n)
    local pattern = "members changed"
    if added then pattern = pattern .. ' added="?' .. added:gsub("%p", "%%%0") .. '"? ' end
    pattern = pattern .. ".*members=" .. (n or "%d+")
    if removed then pattern = pattern .. ' removed="?' .. removed:gsub("%p", "%%%0") end
    return line(pattern)
end

local function never_told(secret)
    assert.is_nil(rp:stderr():find(secret, 1, true))
    local _, shown = proc.run { os.getenv("RP_BIN") or "build/rproxy", "-T", "-p", rp.site_path }
    assert.is_nil(shown:find(secret, 1, true))
end

describe("discovery by", function()
    after_each(function()
        if rp then e2e.stop(rp) end
        rp = nil
    end)

    -- ---------------------------------------------------------------- file

    describe("file", function()
        it("reads lines and JSON, and takes what is moved over it", function()
            start('{ "file", path = "${dir_of}/m", every = "50ms", SOON }', nil,
                { files = { m = "127.0.0.1:1 weight=2 zone=a # one\n\n# none\n[::1]:2 backup\n" } })
            changed("127.0.0.1:1, [::1]:2", nil, 2)
            posix.write_file(rp.folder .. "/m.new",
                '{"members": ["127.0.0.1:3", {"host": "10.0.0.1", "port": 4, "meta": {"v": "2"}}]}')
            os.rename(rp.folder .. "/m.new", rp.folder .. "/m")
            changed("10.0.0.1:4, 127.0.0.1:3", "127.0.0.1:1, [::1]:2", 2)
        end)

        it("keeps what was good while the file is broken, gone or empty", function()
            start('{ "file", path = "${dir_of}/m", every = "50ms", SOON }', nil,
                { files = { m = "127.0.0.1:1\n127.0.0.1:2\n" } })
            changed("127.0.0.1:1, 127.0.0.1:2")
            local path = rp.folder .. "/m"
            for i, case in ipairs {
                { "127.0.0.1:1\n127.0.0.1:2 wieght=3\n", "line 2: unknown field wieght; did you mean" },
                { "[1, 2", "JSON: " }, { '{"a": 1}', "JSON: no list of members" },
                { '[{"host": "x"}]', "member 1: no port from 1 to 65535" },
                { "127.0.0.1:99999\n", "line 1: no port" }, { "a:1 b=c", "line 1: unknown field b" },
            } do
                posix.write_file(path, case[1])
                local told = line(LOST .. ".*" .. case[2]:gsub("%p", "%%%0"))
                assert.truthy(told:find("members=2", 1, true), told)
                posix.write_file(path, "127.0.0.1:1\n127.0.0.1:2\n")
                line("provider of members is back", i)
            end
            os.remove(path)
            line(LOST .. ".*not_found")
            posix.write_file(path, "# nobody\n")
            line("says that there are no members, the last ones are kept.*members=2")
            assert.equal(1, #e2e.log_since(rp, 0, "members changed"))
            posix.write_file(path, "127.0.0.1:3\n")
            changed("127.0.0.1:3", "127.0.0.1:1, 127.0.0.1:2")
        end)

        it("believes an empty file where the site says so", function()
            start('{ "file", path = "${dir_of}/m", every = "50ms", empty = "take", SOON }', nil,
                { files = { m = "127.0.0.1:1\n" } })
            changed("127.0.0.1:1")
            posix.write_file(rp.folder .. "/m", "")
            changed(nil, "127.0.0.1:1", 0)
        end)
    end)

    -- ---------------------------------------------------------------- DNS

    describe("dns", function()
        it("takes addresses, beside names that are not there", function()
            start([[{ { "dns", name = "localhost", type = "A", port = 81, SOON },
                { "dns", name = "no-such-name.invalid", port = 82, SOON } }]])
            changed("127.0.0.1:81")
        end)
    end)

    -- ---------------------------------------------------------------- Consul

    describe("consul", function()
        it("follows a service by blocking queries", function()
            local consul = fake.start("consul", { index = 7, token = "tok-secret-1", members = {
                { "10.0.0.1", 80, weight = 5, meta = { zone = "b" } },
                { "10.0.0.9", 81, node_address = "10.0.0.2" }, { "10.0.0.3", 80, status = "warning" },
                { "fd00::1", 80 } } })
            start([[{ "consul", service = "a b/c", url = "http://127.0.0.1:${fake}", tags = { "x", "y" },
                token = "tok-secret-1", datacenter = "dc2", SOON }]], { fake = consul.port })
            changed("10.0.0.1:80, 10.0.0.2:81, [fd00::1]:80", nil, 3)
            local head = consul:wait_request(
                "GET /v1/health/service/a%%20b%%2[Ff]c%?dc=dc2&passing=1&stale=&tag=x&tag=y HTTP.*")
            assert.truthy(head:lower():find("x-consul-token: tok-secret-1", 1, true))
            consul:wait_request("dc2&index=7&passing=1&stale=&tag=x&tag=y&wait=300000ms")
            consul:set { index = 9, members = { { "10.0.0.1", 80 } } }
            changed(nil, "10.0.0.2:81, [fd00::1]:80", 1)
            consul:wait_request("index=9")
            -- From a snapshot: the index goes back, and what is asked next is not waited for.
            consul:set { index = 3, members = { { "10.0.0.4", 80 } } }
            changed("10.0.0.4:80", "10.0.0.1:80")
            local all = consul:requests()
            local seen
            for i, req in ipairs(all) do
                if req:find("index=9", 1, true) then seen = i end
            end
            consul:wait_request("passing=1", seen)
            assert.is_nil(consul:requests()[seen + 1]:find("index=", 1, true))
            consul:wait_request("index=3")
            never_told("tok-secret-1")
        end)

        it("takes members with a warning when told to, with their weight", function()
            local consul = fake.start("consul", { index = 1, members = {
                { "10.0.0.1", 80 }, { "10.0.0.2", 80, status = "warning", warning = 3 },
                { "10.0.0.3", 80, status = "critical" },
                { "10.0.0.4", 80, weight = 0 }, { "10.0.0.5", 0 } } })
            start('{ "consul", service = "x", url = "http://127.0.0.1:${fake}", passing = false, SOON }',
                { fake = consul.port })
            changed("10.0.0.1:80, 10.0.0.2:80", nil, 2)
            line('a member is left out.*10.0.0.5:0: no port')
        end)

        it("keeps its members while Consul is gone, and takes new ones when it is back", function()
            local consul = fake.start("consul", { index = 1, members = { { "10.0.0.1", 80 } } })
            start('{ "consul", service = "x", url = "http://127.0.0.1:${fake}", SOON }',
                { fake = consul.port })
            changed("10.0.0.1:80")
            consul:stop()
            line(LOST .. ".*members=1.*upstream=api")
            consul:set { index = 1, members = { { "10.0.0.2", 80 } } }
            consul:start_again()
            line("provider of members is back")
            changed("10.0.0.2:80", "10.0.0.1:80")
        end)

        it("keeps its members whatever Consul answers", function()
            local consul = fake.start("consul", { index = 1, members = { { "10.0.0.1", 80 } },
                token = "sesame-open" })
            start([[{ "consul", service = "x", url = "http://127.0.0.1:${fake}", timeout = "60s",
                token = "sesame-open", wait_time = "1s", SOON }]], { fake = consul.port })
            changed("10.0.0.1:80")
            for i, case in ipairs { { "500", "status 500: internal error" }, { "deny", "status 403" },
                { "garbage", "no JSON object or list" }, { "text", "no JSON object or list" },
                { "cut", "" }, { "huge", "body_too_big" } } do
                consul:set { mode = case[1], index = i * 10 }
                local told = line(LOST, i)
                assert.truthy(told:find(case[2], 1, true), told)
                consul:set { index = i * 10 + 1 }
                line("provider of members is back", i)
            end
            consul:set { token = "another" } -- the answer repeats what was sent
            line("Permission denied: token %(secret%)")
            consul:set { token = "sesame-open", index = 900, members = { { "10.0.0.2", 80 } } }
            changed("10.0.0.2:80", "10.0.0.1:80")
            assert.equal(2, #e2e.log_since(rp, 0, "members changed"))
            never_told("sesame-open")
        end)

        it("does not wait for ever for an answer that never ends", function()
            local consul = fake.start("consul", { index = 1, members = { { "10.0.0.1", 80 } } })
            start([[{ "consul", service = "x", url = "http://127.0.0.1:${fake}", timeout = "500ms",
                wait_time = "1s", SOON }]], { fake = consul.port })
            changed("10.0.0.1:80")
            consul:set { mode = "slow", index = 2 }
            line(LOST .. ".*timeout")
            consul:set { mode = "hang", index = 3 }
            consul:set { index = 4, members = { { "10.0.0.2", 80 } } }
            changed("10.0.0.2:80", "10.0.0.1:80")
        end)

        it("asks with the token that is in a file now", function()
            local consul = fake.start("consul", { index = 1, token = "one-1", members = {
                { "10.0.0.1", 80 } } })
            start([[{ "consul", service = "x", url = "http://127.0.0.1:${fake}", token_file = "${dir_of}/t",
                wait_time = "1s", SOON }]], { fake = consul.port }, { files = { t = "one-1\n" } })
            changed("10.0.0.1:80")
            posix.write_file(rp.folder .. "/t", "two-2\n")
            consul:set { token = "two-2", index = 2, members = { { "10.0.0.2", 80 } } }
            changed("10.0.0.2:80", "10.0.0.1:80")
            os.remove(rp.folder .. "/t")
            line(LOST .. ".*token_file: not_found")
        end)
    end)

    -- ---------------------------------------------------------------- etcd

    describe("etcd", function()
        local SITE = [[{ "etcd", prefix = "/s/api/", endpoints = { "http://127.0.0.1:${etcd}" }, SOON %s }]]

        it("follows keys of a real server: changes, leases, compaction, a restart", function()
            if not etcd.is_installed() then return pending("etcd-server is not installed") end
            local e = etcd.start()
            e:ctl("put", "/s/api/1", "10.0.0.1:80 weight=3")
            e:ctl("put", "/s/api/2", '{"Addr": "10.0.0.2:80", "Metadata": {"v": "1"}}')
            e:ctl("put", "/s/api/10.0.0.3:80", "")
            e:ctl("put", "/s/apis/4", "10.0.0.4:80")
            e:ctl("put", "/s/api/x", "no member")
            start(SITE:format(""), { etcd = e.port })
            changed("10.0.0.1:80, 10.0.0.2:80, 10.0.0.3:80", nil, 3)
            line("a member is left out.*no member")
            e:ctl("put", "/s/api/5", '{"host": "10.0.0.5", "port": 80, "weight": "7"}')
            changed("10.0.0.5:80")
            local lease = e:ctl("lease", "grant", "2"):match("lease (%x+)")
            e:ctl("put", "--lease=" .. lease, "/s/api/6", "10.0.0.6:80")
            changed("10.0.0.6:80")
            changed(nil, "10.0.0.6:80") -- the lease ran out
            e:ctl("del", "/s/api/1")
            changed(nil, "10.0.0.1:80", 3)
            local _, status = pcall(e.ctl, e, "endpoint", "status", "-w", "json")
            e:ctl("compact", status:match('"revision":(%d+)'))
            e:stop()
            line(LOST)
            e:start_again()
            line("provider of members is back")
            e:ctl("put", "/s/api/7", "10.0.0.7:80")
            changed("10.0.0.7:80", nil, 4)
        end)

        it("logs in at a real server, again when its token is over", function()
            if not etcd.is_installed() then return pending("etcd-server is not installed") end
            local e = etcd.start()
            e:ctl("put", "/s/api/1", "10.0.0.1:80")
            e:ctl("user", "add", "root:pass-word-1")
            e:ctl("user", "grant-role", "root", "root")
            e:ctl("auth", "enable")
            e.login = { "--user", "root:pass-word-1" }
            start(SITE:format(', user = "root", password_file = "${dir_of}/pw", resync = "1s"'),
                { etcd = e.port },
                { files = { pw = "pass-word-1" } })
            changed("10.0.0.1:80")
            -- Tokens end after a second without use.
            e:ctl("put", "/s/api/2", "10.0.0.2:80")
            changed("10.0.0.2:80")
            never_told("pass-word-1")
        end)

        it("begins anew when its revision is compacted, and when its token is over", function()
            local e = fake.start("etcd", { revision = 5, token = "t1-secret", password = "pw-secret",
                keys = { ["/s/api/1"] = "10.0.0.1:80" } })
            start(SITE:format(', user = "u", password = "pw-secret"'), { etcd = e.port })
            changed("10.0.0.1:80")
            e:wait_request('"start_revision":"6"')
            e:set { revision = 90, compacted = 80, keys = { ["/s/api/2"] = "10.0.0.2:80" } }
            changed("10.0.0.2:80", "10.0.0.1:80")
            e:wait_request('"start_revision":"91"')
            e:set { token = "t2-secret", compacted = 100, revision = 200,
                keys = { ["/s/api/3"] = "10.0.0.3:80" } }
            changed("10.0.0.3:80", "10.0.0.2:80")
            e:wait_request("[Aa]uthorization: t2%-secret")
            assert.equal(0, #e2e.log_since(rp, 0, LOST))
            e:set { token = "t3-secret", password = "changed", compacted = 300, revision = 400 }
            line(LOST .. ".*authentication failed")
            for _, secret in ipairs { "t1-secret", "t2-secret", "t3-secret", "pw-secret" } do
                never_told(secret)
            end
        end)

        it("keeps its members whatever the stream holds", function()
            local e = fake.start("etcd", { revision = 5, keys = { ["/s/api/1"] = "10.0.0.1:80" } })
            start(SITE:format(', timeout = "60s"'), { etcd = e.port })
            changed("10.0.0.1:80")
            local events = {}
            for i, text in ipairs { "nonsense", '{"error":{"grpc_code":13,"message":"boom"}}',
                '{"result":{"canceled":true,"cancel_reason":"no"}}', ("x"):rep(5 * 2 ^ 20) } do
                e:wait_request('"start_revision":"' .. e.state.revision + 1 .. '"')
                events[1] = { e.state.revision + 1, text }
                e:set { revision = e.state.revision + 1, events = events }
                line(LOST, i)
            end
            e:set { events = {}, revision = 1000, keys = { ["/s/api/2"] = "10.0.0.2:80" } }
            changed("10.0.0.2:80", "10.0.0.1:80")
        end)

        it("goes to the next endpoint when one is gone", function()
            local e = fake.start("etcd", { revision = 5, keys = { ["/s/api/1"] = "10.0.0.1:80" } })
            start([[{ "etcd", prefix = "/s/api/", SOON, endpoints = { "http://127.0.0.1:${dead}",
                "http://127.0.0.1:${etcd}" } }]], { etcd = e.port, dead = fake.dead_port() })
            changed("10.0.0.1:80")
            line("provider of members is back")
        end)
    end)

    -- ---------------------------------------------------------------- Docker

    describe("docker", function()
        local function container(name, opt)
            return ([[{"Id":"%s","Names":["/%s"],"Image":"app:1","State":"%s","Status":"%s",
                "Labels":{"rproxy.upstream":"%s"%s},"Ports":%s,"HostConfig":{"NetworkMode":"%s"},
                "NetworkSettings":{"Networks":%s}}]]):format(("ab"):rep(32), name, opt.state or "running",
                opt.status or "Up 3 minutes", opt.of or "api", opt.labels or "",
                opt.ports or '[{"PrivatePort":8080,"Type":"tcp"}]', opt.mode or "default",
                opt.networks or ('{"bridge":{"IPAddress":"%s"}}'):format(opt.ip or ""))
        end

        it("takes containers with the label, and asks again when something happens", function()
            local path = proc.temp_dir() .. "/docker.sock"
            os.execute(("chmod 755 '%s'"):format(path:match("^(.*)/")))
            local docker = fake.start("docker", { events = {}, containers = "[" .. table.concat({
                container("one", { ip = "172.17.0.2", labels = ',"rproxy.weight":"3"' }),
                container("two", { of = "web, api", labels = ',"rproxy.port":"90"', networks =
                    '{"a":{"IPAddress":"10.1.0.2"},"front":{"IPAddress":"10.2.0.2"}}' }),
                container("three", { of = "web", ip = "172.17.0.4" }),
                container("four", { ip = "172.17.0.5", status = "Up 1 minute (unhealthy)" }),
                container("five", { ip = "172.17.0.6", ports = "null" }),
                container("six", { mode = "host", networks = '{"host":{"IPAddress":""}}' }),
                container("seven", { ip = "172.17.0.8", state = "exited" }),
                '{"Id":1,"Names":null,"Labels":null,"Ports":null}', '7', 'null',
            }, ",") .. "]" }, { unix = path })
            start([[{ "docker", socket = "${path}", network = "front", SOON }]], { path = path })
            changed("10.2.0.2:90, 127.0.0.1:8080", nil, 2)
            line("container one: it is not in network front")
            docker:wait_request("GET /containers/json%?filters=%%7B%%22label")
            docker:set { containers = "[" .. container("one", { networks =
                '{"front":{"IPAddress":"10.2.0.9"}}' }) .. "]" }
            docker:set { events = { '{"Type":"container","Action":"start","id":"x"}' } }
            changed("10.2.0.9:8080", "10.2.0.2:90, 127.0.0.1:8080")
        end)

        it("takes published ports, and keeps all when the Engine goes", function()
            local path = proc.temp_dir() .. "/docker.sock"
            os.execute(("chmod 755 '%s'"):format(path:match("^(.*)/")))
            local docker = fake.start("docker", { events = {}, containers = "[" .. table.concat({
                container("one", { ports = '[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":32768,'
                    .. '"Type":"tcp"},{"IP":"::","PrivatePort":80,"PublicPort":32768,"Type":"tcp"}]' }),
                container("two", { ports = '[{"IP":"192.168.7.7","PrivatePort":80,"PublicPort":7,'
                    .. '"Type":"tcp"}]' }), container("three", {}) }, ",") .. "]" }, { unix = path })
            start([[{ "docker", socket = "${path}", published = true, host = "10.9.9.9", SOON }]],
                { path = path })
            changed("10.9.9.9:32768, 192.168.7.7:7", nil, 2)
            line("container three: its port 8080 is not published")
            docker:stop()
            line(LOST .. ".*members=2")
            docker:set { containers = "[]" }
            docker:start_again()
            line("says that there are no members, the last ones are kept")
            assert.equal(1, #e2e.log_since(rp, 0, "members changed"))
        end)
    end)

    -- ---------------------------------------------------------------- Kubernetes

    describe("kubernetes", function()
        local function endpoint(ip, conditions, more)
            return ('{"addresses":["%s"],"conditions":%s%s}'):format(ip, conditions or '{"ready":true}',
                more or "")
        end

        local function slice(name, endpoints, opt)
            opt = opt or {}
            return ([[{"kind":"EndpointSlice","metadata":{"name":"%s","resourceVersion":"%d"},
                "addressType":"%s","ports":%s,"endpoints":[%s]}]]):format(name, opt.version or 1,
                opt.family or "IPv4", opt.ports or '[{"name":"http","port":8080,"protocol":"TCP"}]',
                table.concat(endpoints, ",")):gsub("\n%s*", "")
        end

        local function event(kind, text)
            return ('{"type":"%s","object":%s}'):format(kind, (text))
        end

        it("lists by pages and watches from there", function()
            local k8s = fake.start("kubernetes", { token = "bearer-1", version = 100, page = 1, slices = {
                (slice("a", { endpoint("10.0.0.1", nil, ',"zone":"z1","hints":{"forZones":[{"name":"z1"}]}'),
                    endpoint("10.0.0.2", '{"ready":false,"serving":true,"terminating":true}'),
                    endpoint("10.0.0.3", '{"ready":null}') })),
                (slice("b", { endpoint("10.0.0.4", "{}") })),
                (slice("c", { endpoint("fd00::1") }, { family = "IPv6" })) }, events = {} })
            start([[{ "kubernetes", url = "http://127.0.0.1:${k8s}", namespace = "shop", service = "api",
                token_file = "${dir_of}/t", SOON }]], { k8s = k8s.port }, { files = { t = "bearer-1" } })
            changed("10.0.0.1:8080, 10.0.0.3:8080, 10.0.0.4:8080", nil, 3)
            k8s:wait_request("labelSelector=kubernetes.io%%2[Ff]service%-name%%3[Dd]api")
            k8s:wait_request("allowWatchBookmarks=true&[^ ]*resourceVersion=100&[^ ]*watch=1")
            k8s:set { events = { { 101, event("MODIFIED", slice("b", { endpoint("10.0.0.5") },
                { version = 101 })) }, { 102, event("DELETED", slice("a", {}, { version = 102 })) } } }
            changed("10.0.0.5:8080", "10.0.0.1:8080, 10.0.0.3:8080, 10.0.0.4:8080")
            never_told("bearer-1")
        end)

        it("goes on where a watch ended, from bookmarks, and begins anew after 410", function()
            local k8s = fake.start("kubernetes", { version = 100, slices = {
                (slice("a", { endpoint("10.0.0.1") })) }, events = {}, bookmark = 150 })
            start([[{ "kubernetes", url = "http://127.0.0.1:${k8s}", service = "api", watch = "1s", SOON }]],
                { k8s = k8s.port })
            changed("10.0.0.1:8080")
            k8s:wait_request("resourceVersion=150")
            k8s:set { oldest = 200, version = 300, slices = { (slice("a", { endpoint("10.0.0.2") })) },
                bookmark = 0 }
            changed("10.0.0.2:8080", "10.0.0.1:8080")
            k8s:wait_request("resourceVersion=300")
            assert.equal(0, #e2e.log_since(rp, 0, LOST))
        end)

        it("takes those that end but serve when there is no other; ports by name; families", function()
            local ports = '[{"name":"http","port":80},{"name":"dns","port":53,"protocol":"UDP"},'
                .. '{"name":"admin","port":81,"protocol":"TCP"}]'
            local k8s = fake.start("kubernetes", { version = 1, events = {}, slices = {
                (slice("a", { endpoint("10.0.0.1", '{"ready":false,"serving":true,"terminating":true}'),
                    endpoint("10.0.0.2", '{"ready":false,"serving":false,"terminating":true}'),
                    endpoint("10.0.0.3", '{"ready":false}') }, { ports = ports })),
                (slice("b", { endpoint("fd00::1") }, { family = "IPv6", ports = ports })) } })
            start([[{ { "kubernetes", url = "http://127.0.0.1:${k8s}", service = "api", port = "admin",
                    family = "ipv4", SOON },
                { "kubernetes", url = "http://127.0.0.1:${k8s}", service = "api", port = 80,
                    family = "ipv6", SOON },
                { "kubernetes", url = "http://127.0.0.1:${k8s}", service = "api", SOON } }]],
                { k8s = k8s.port })
            line("added=.*10.0.0.1:81")
            line("added=.*fd00::1%]:80")
            line("a slice has several ports; say which: port")
            assert.is_nil(rp:stderr():find("10.0.0.[23]"))
        end)

        it("keeps its members whatever the API answers", function()
            local k8s = fake.start("kubernetes", { version = 1, slices = {
                (slice("a", { endpoint("10.0.0.1") })) }, events = {} })
            start([[{ "kubernetes", url = "http://127.0.0.1:${k8s}", service = "api", watch = "1s",
                timeout = "1s", SOON }]], { k8s = k8s.port })
            changed("10.0.0.1:8080")
            for i, mode in ipairs { "500", "deny", "garbage", "cut", "slow" } do
                k8s:set { mode = mode }
                line(LOST, i)
                k8s:set {}
                line("provider of members is back", i)
            end
            k8s:set { events = { { 5, event("ERROR", '{"code":500,"message":"etcd is ill"}') } } }
            line(LOST .. ".*etcd is ill")
            k8s:set { events = {}, version = 9, slices = { (slice("a", { endpoint("10.0.0.2") })) } }
            changed("10.0.0.2:8080", "10.0.0.1:8080")
        end)
    end)

    -- ---------------------------------------------------------------- HTTP

    describe("http", function()
        it("finds lists and fields, and does not ask for what it has", function()
            local doc = fake.start("http", { token = "bearer-9", etag = '"1"', doc = [[{"data": {"nodes": [
                {"net": {"ip": "10.0.0.1"}, "p": 80, "w": 4, "dc": "x"},
                {"net": {"ip": "10.0.0.2"}, "p": "81"},
                {"net": null, "p": 80}, 5, "10.0.0.3:80 weight=2"]}}]] })
            start([[{ "http", url = "http://127.0.0.1:${doc}/nodes?key=query-secret", path = "data.nodes",
                fields = { host = "net.ip", port = "p", weight = "w", zone = "dc" }, every = "100ms",
                headers = { ["x-key"] = "header-secret" }, token = "bearer-9", SOON }]], { doc = doc.port })
            changed("10.0.0.1:80, 10.0.0.2:81, 10.0.0.3:80", nil, 3)
            line("a member is left out")
            doc:wait_request('[Ii]f%-[Nn]one%-[Mm]atch: "1"')
            doc:set { etag = '"2"', doc = '{"data": {"nodes": ["10.0.0.1:80"]}}' }
            changed(nil, "10.0.0.2:81, 10.0.0.3:80", 1)
            doc:set { token = "other" }
            line(LOST .. ".*status 401\"")
            doc:set { token = "bearer-9" }
            line("provider of members is back")
            doc:set { etag = '"3"', doc = '{"data": {}}' }
            line(LOST .. ".*there is no list at .*data.nodes")
            doc:set { etag = '"4"', doc = '{"data": {"nodes": []}}' }
            line("says that there are no members")
            doc:set { etag = '"5"', doc = '{"data": {"nodes": ["x"]}}' }
            line("none of its 1 members can be used: x: no host:port")
            for _, secret in ipairs { "bearer-9", "header-secret", "query-secret" } do
                never_told(secret)
            end
        end)

        it("takes no more members than it may", function()
            local list = {}
            for i = 1, 10001 do list[i] = ('"10.%d.%d.%d:80"'):format(i / 65536, i / 256 % 256, i % 256) end
            local doc = fake.start("http", { doc = '["10.0.0.1:80"]' })
            start('{ "http", url = "http://127.0.0.1:${doc}/", every = "100ms", SOON }', { doc = doc.port })
            changed("10.0.0.1:80")
            doc:set { doc = "[" .. table.concat(list, ",") .. "]" }
            line("10001 members; at most 10000 are taken")
            doc:set { doc = "[" .. table.concat(list, ",", 1, 10000) .. "]" }
            line("members changed.*members=10000")
        end)
    end)

    -- ---------------------------------------------------------------- Lua, and several

    it("a function of the site, which is started again when it raises", function()
        start([[(function()
            local n = 0
            return function(publish, say, about)
                n = n + 1
                if about.upstream ~= "api" then error("about") end
                if n == 1 then error("not yet") end
                if n == 2 then return nil, "nor now" end
                publish { "10.0.0.1:80" }
                rp.sleep(0.2)
                say("all is well")
                publish(function() return { { host = "10.0.0.2", port = 80 } } end)
            end
        end)()]])
        line(LOST .. ".*not yet")
        changed("10.0.0.1:80")
        changed("10.0.0.2:80", "10.0.0.1:80")
        line("all is well")
        line("provider of members is back")
    end)

    it("a function that goes on by a timer of its own", function()
        start([[function(publish)
            local n = 0
            rp.every(0.05, function()
                n = n + 1
                publish { "10.0.0." .. math.min(n, 9) .. ":80" }
            end)
        end]])
        line("added=10.0.0.9:80")
        assert.equal(0, #e2e.log_since(rp, 0, LOST))
    end)

    -- What is compiled sees no debug hook: then the agent ends and there is another.
    it("functions that never end, without harm to others", function()
        start([[{ function(publish)
                publish { "10.0.0.1:80" }
                rp.sleep(0.1)
                local s = {}
                while true do s[#s % 9 + 1] = tostring(s):upper() end
            end, function(publish)
                publish { "10.0.0.2:80" }
                rp.sleep(0.1)
                publish(function()
                    while true do pcall(tostring, {}) end
                end)
                rp.sleep(1000)
            end, { "file", path = "${dir_of}/m", every = "50ms", SOON } }]], nil,
            { files = { m = "10.0.0.3:80\n" }, quiet_end = true })
        line("CPU")
        line("added=.*10.0.0.3:80")
        posix.write_file(rp.folder .. "/m", "10.0.0.4:80\n")
        changed("10.0.0.4:80", "10.0.0.3:80", 3)
    end)

    it("a provider of the site with a schema, next to others, each with what it said", function()
        start([[{ { { name = "mine", schema = { from = { "integer", required = true } },
                start = function(s, publish)
                    publish { "10.0.0." .. s.from .. ":80", "127.0.0.1:7 weight=9" }
                end }, from = 4 },
            { "file", path = "${dir_of}/m", every = "50ms", SOON } }]], nil,
            { files = { m = "127.0.0.1:7\n" } })
        line("added=.*10.0.0.4:80")
        line("added=.*127.0.0.1:7")
        posix.write_file(rp.folder .. "/m", "127.0.0.1:8\n")
        changed("127.0.0.1:8")
        assert.equal(0, #e2e.log_since(rp, 0, "removed"))
    end)

    it("a function that asks Redis, as the guide has it", function()
        if not redis.is_installed() then return pending("redis-server is not installed") end
        local r = redis.start()
        redis.cli(r.port, "sadd", "api:members", "10.0.0.1:80 weight=2", "10.0.0.2:80")
        local example = posix.read_file("docs/guide/discovery.md"):match(
            "\n(local store = rp.redis .-)\n```")
        local before, fn = example:match("^(.-)\n%-%- in upstreams:\napi = rp.upstream { discover = (.*) },$")
        start(fn:gsub("sleep%(2%)", "sleep(0.1)"), { redis = r.port },
            { before = before:gsub("6379", r.port) })
        changed("10.0.0.1:80, 10.0.0.2:80")
        redis.cli(r.port, "srem", "api:members", "10.0.0.2:80")
        changed(nil, "10.0.0.2:80")
        r:stop()
        line(LOST .. ".*provider=lua")
    end)

    it("nobody beyond the networks that are allowed", function()
        start([[{ "file", path = "${dir_of}/m", every = "50ms",
            allow = { "10.0.0.0/8", "fd00::/8" }, SOON }]], nil,
            { files = { m = "10.0.0.1:80\n[fd00::1]:80\n169.254.169.254:80\n[::1]:80\nexample.com:80\n"
                .. "unix:/run/x\n" } })
        changed("10.0.0.1:80, [fd00::1]:80", nil, 2)
        line("169.254.169.254:80: not in the networks of `allow`")
    end)
end)
