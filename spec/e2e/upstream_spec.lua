-- SPDX-License-Identifier: MIT
--
-- Upstreams: which peer a request goes to, and what happens when a peer does not answer.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local wire = require("spec.support.wire")

local function answer(name)
    return { ["*"] = { status = 200, fields = { ["X-Peer"] = name }, body = name } }
end

describe("upstreams", function()
    local a, b, c, d, e, rp, late_port, unix
    local dead, dead2, dead3, dead4

    setup(function()
        a, b, c = origin.start(answer("a")), origin.start(answer("b")), origin.start(answer("c"))
        d, e = origin.start(answer("d")), origin.start(answer("e"))
        dead, dead2, dead3 = posix.free_port(), posix.free_port(), posix.free_port()
        dead4 = posix.free_port()
        late_port = posix.free_port()
        local dir = proc.temp_dir()
        unix = e2e.listen(dir .. "/up.sock")
        rp = e2e.proxy {
            vars = { a = a.port, b = b.port, c = c.port, dead = dead, dead2 = dead2, dead3 = dead3,
                dead4 = dead4, d = d.port, e = e.port,
                late = late_port, unix = dir .. "/up.sock", gone = dir .. "/gone.sock" },
            before = [[
                local function by_header(req, up)
                    up:peer("127.0.0.1:" .. (req:get("x-port") or "${a}"))
                end
                local function patient(req, up)
                    rp.sleep(0.01)
                    up:peer("127.0.0.1:${b}")
                end
                local function by_address(req, up)
                    up:peer("127.0.0.1", tonumber(req:get("x-port")))
                end
                local function next_one(req, up)
                    up:peer(up.attempt == 1 and "127.0.0.1:${dead}" or "127.0.0.1:${c}")
                end
                local function without(req, up)
                    up:exclude("127.0.0.1:${a}")
                end
                local ABC = { "127.0.0.1:${a}", "127.0.0.1:${b}", "127.0.0.1:${c}" }
            ]],
            site = [[
                log = { access = { to = "${dir}/access.log", format = "json",
                    fields = { "path", "status", "reason", "tries", "upstream" }, buffer = 0 } },
                upstreams = {
                    one = rp.upstream { peers = { "127.0.0.1:${a}" } },
                    even = rp.upstream { peers = ABC },
                    weighted = rp.upstream { peers = { "127.0.0.1:${a} weight=3",
                        { "127.0.0.1:${b}", weight = 1 } } },
                    failing = rp.upstream { peers = { "127.0.0.1:${dead}", "127.0.0.1:${a}" } },
                    resting = rp.upstream { peers = { "127.0.0.1:${dead4}", "127.0.0.1:${a}" } },
                    never_resting = rp.upstream { max_fails = 0,
                        peers = { "127.0.0.1:${dead3}", "127.0.0.1:${a}" } },
                    coming_back = rp.upstream { fail_rest = 0.1,
                        peers = { "127.0.0.1:${late}", "127.0.0.1:${a}" } },
                    down = rp.upstream { peers = { "127.0.0.1:${dead}", "127.0.0.1:${dead2}" } },
                    two_tries = rp.upstream { tries = 2, peers = { "127.0.0.1:${dead}",
                        "127.0.0.1:${dead2}", "127.0.0.1:${a} backup" } },
                    three_tries = rp.upstream { tries = 3, peers = { "127.0.0.1:${dead}",
                        "127.0.0.1:${dead2}", "127.0.0.1:${a} backup" } },
                    unix = rp.upstream { peers = { "unix:${unix}" } },
                    gone = rp.upstream { peers = { "unix:${gone}", "127.0.0.1:${a}" } },
                    name = rp.upstream { peers = { "localhost:${a}" } },
                    nowhere = rp.upstream { peers = { "does-not-exist.invalid:80" } },
                    backup = rp.upstream { peers = { "127.0.0.1:${a}", "127.0.0.1:${b} backup" } },
                    spare = rp.upstream { peers = { "127.0.0.1:${dead}",
                        "127.0.0.1:${b} backup" } },
                    header = rp.upstream { peers = ABC, balance = by_header },
                    patient = rp.upstream { peers = ABC, balance = patient },
                    address = rp.upstream { balance = by_address },
                    next_one = rp.upstream { peers = { "127.0.0.1:${dead}", "127.0.0.1:${c}" },
                        balance = next_one },
                    without = rp.upstream { peers = ABC, balance = without },
                    host = rp.upstream { peers = { "127.0.0.1:${a}" }, host = "inner.example" },
                    single_use = rp.upstream { peers = { "127.0.0.1:${a}" },
                        keepalive = { max = 0 } },
                    twice = rp.upstream { peers = { "127.0.0.1:${d}" },
                        keepalive = { requests = 2 } },
                    short_rest = rp.upstream { peers = { "127.0.0.1:${e}" },
                        keepalive = { idle = 0.1 } },
                },
                hosts = { rp.host { default = true, routes = (function()
                    local routes = {}
                    for _, name in ipairs { "one", "even", "weighted", "failing", "resting",
                        "never_resting", "coming_back", "down", "two_tries", "three_tries", "unix",
                        "gone", "name", "nowhere", "backup", "spare", "header", "patient",
                        "address", "next_one", "without", "host", "single_use", "twice",
                        "short_rest" } do
                        routes[#routes + 1] = rp.route { "/" .. name, upstream = name }
                    end
                    return routes
                end)() } },
            ]] }
    end)

    teardown(function()
        unix:close()
        e2e.stop(rp)
    end)
    after_each(wire.close_all)

    local function get(target, fields)
        return http.get(rp.port, target, fields)
    end

    --- Bodies of n requests, counted.
    local function spread(target, n, fields)
        local seen = {}
        for _ = 1, n do
            local res = get(target, fields)
            local key = res.status == 200 and res.body or res.status
            seen[key] = (seen[key] or 0) + 1
        end
        return seen
    end

    local function log_of(path)
        local text = posix.read_file(rp.dir .. "/access.log") or ""
        local found
        for line in text:gmatch("[^\n]+") do
            if line:find(('"path":"%s"'):format(path), 1, true) then found = line end
        end
        return found or ""
    end

    local function wait_log(path, pattern)
        local found = posix.poll(function() return log_of(path):match(pattern) end)
        assert.truthy(found, log_of(path))
        return found
    end

    local function failures_of(port)
        local _, n = rp:stderr():gsub(("upstream connect failed[^\n]*peer=127%%.0%%.0%%.1:%d ")
            :format(port), "")
        return n
    end

    -- ------------------------------------------------------------ shares

    it("peers of equal weight take turns", function()
        assert.same({ a = 3, b = 3, c = 3 }, spread("/even", 9))
    end)

    it("peers get requests by weight", function()
        assert.same({ a = 6, b = 2 }, spread("/weighted", 8))
    end)

    it("peers of a smaller weight do not wait for the end of a round", function()
        local order = {}
        for i = 1, 4 do order[i] = get("/weighted").body end
        local text = table.concat(order)
        assert.truthy(text == "aaba" or text == "abaa", text)
    end)

    -- ------------------------------------------------------------ failures

    it("the next peer takes a request whose connection failed", function()
        assert.same({ a = 4 }, spread("/failing", 4))
    end)

    it("a body reaches the next peer whole", function()
        local body = ("payload "):rep(4000)
        local res = http.get(rp.port, { method = "POST", target = "/three_tries", body = body })
        assert.equal("a", res.body)
        assert.equal(body, e2e.last(a).body)
    end)

    it("a peer that failed rests", function()
        assert.same({ a = 6 }, spread("/resting", 6))
        assert.equal(1, failures_of(dead4))
    end)

    it("a peer does not rest with max_fails = 0", function()
        assert.same({ a = 6 }, spread("/never_resting", 6))
        assert.is_true(failures_of(dead3) >= 3)
    end)

    it("a peer that came back gets requests after its rest", function()
        assert.same({ a = 2 }, spread("/coming_back", 2))
        local late = origin.start(answer("late"), { port = late_port })
        assert.truthy(posix.poll(function() return get("/coming_back").body == "late" end))
        late:stop()
    end)

    it("all down is 502", function()
        assert.equal(502, get("/down").status)
        wait_log("/down", '"status":502,"reason":"upstream_connect","tries":2')
    end)

    it("resting peers are tried when there is no other", function()
        assert.same({ [502] = 2 }, spread("/down", 2))
        wait_log("/down", '"tries":2')
    end)

    it("tries bounds the attempts", function()
        assert.equal(502, get("/two_tries").status)
        wait_log("/two_tries", '"tries":2')
        assert.equal("a", get("/three_tries").body)
    end)

    it("a name that does not resolve is 502", function()
        assert.equal(502, get("/nowhere").status)
        wait_log("/nowhere", '"reason":"upstream_resolve"')
    end)

    -- ------------------------------------------------------------ kinds of peers

    it("a peer may be a unix socket", function()
        local w = wire.connect(rp.port)
        w:send(http.format { target = "/unix" })
        local up = unix:accept()
        assert.truthy(e2e.head(up):find("^GET /unix HTTP/1.1\r\n"))
        up:send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix")
        assert.equal("unix", http.read(w).body)
    end)

    it("a unix socket that is not there fails like any peer", function()
        assert.same({ a = 2 }, spread("/gone", 2))
    end)

    it("a peer may be a name", function()
        assert.same({ a = 4 }, spread("/name", 4))
    end)

    it("a backup gets nothing while another peer lives", function()
        assert.same({ a = 4 }, spread("/backup", 4))
    end)

    it("a backup takes over when no other peer lives", function()
        assert.same({ b = 3 }, spread("/spare", 3))
    end)

    -- ------------------------------------------------------------ balance hooks

    it("a balance function chooses by the request", function()
        for _, o in ipairs { a, b, c } do
            assert.equal(get("/one", { ["X-Any"] = "1" }).status, 200)
            local res = get("/header", { ["X-Port"] = tostring(o.port) })
            assert.equal(o == a and "a" or o == b and "b" or "c", res.body)
        end
    end)

    it("a balance function may wait", function()
        assert.same({ b = 2 }, spread("/patient", 2))
    end)

    it("a balance function may give an address", function()
        assert.equal("c", get("/address", { ["X-Port"] = tostring(c.port) }).body)
    end)

    it("a balance function is asked again after a failure", function()
        assert.equal("c", get("/next_one").body)
        wait_log("/next_one", '"tries":2')
    end)

    it("a balance function may exclude a peer", function()
        assert.same({ b = 3, c = 3 }, spread("/without", 6))
    end)

    it("a balance function that names an unknown peer is 500", function()
        assert.equal(500, get("/header", { ["X-Port"] = "1" }).status)
    end)

    -- ------------------------------------------------------------ what a peer gets

    it("Host is the client's", function()
        get("/one", { Host = "outer.example:8080" })
        assert.same({ "outer.example:8080" }, e2e.values(e2e.last(a).fields, "host"))
    end)

    it("Host is the upstream's where it says so", function()
        get("/host", { Host = "outer.example" })
        assert.same({ "inner.example" }, e2e.values(e2e.last(a).fields, "host"))
    end)

    it("keepalive.max = 0 takes a new connection each time", function()
        get("/single_use")
        local first = e2e.last(a).conn
        get("/single_use")
        assert.not_equal(first, e2e.last(a).conn)
        a:wait_connections(function(list) return list[first].closed end)
    end)

    it("a kept connection is its upstream's own, also where another has the same address", function()
        get("/one")
        local kept = e2e.last(a).conn
        get("/single_use")
        assert.not_equal(kept, e2e.last(a).conn)
        get("/host")
        assert.not_equal(kept, e2e.last(a).conn)
        get("/one")
        assert.equal(kept, e2e.last(a).conn)
    end)

    it("keepalive.requests bounds the requests of a connection", function()
        for _ = 1, 4 do get("/twice") end
        local got = d:requests()
        assert.same({ 1, 2, 1, 2 }, { got[1].n, got[2].n, got[3].n, got[4].n })
    end)

    it("keepalive.idle closes a connection at rest", function()
        get("/short_rest")
        local conn = e2e.last(e).conn
        e:wait_connections(function(list) return list[conn].closed end)
    end)
end)
