-- SPDX-License-Identifier: MIT
--
-- Coalescing: identical requests under way at the same moment share one upstream's answer, and what
-- keeps them from doing so. The upstream answers when the test lets it.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local metrics = require("spec.support.metrics")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local wire = require("spec.support.wire")
local protocol = require("spec.support.protocol")

describe("coalescing", function()
    local rp, up, played

    local function gated(gate, head, body)
        return { { gate = gate }, { send = "HTTP/1.1 " .. head .. "\r\nContent-Length: " .. #body
            .. "\r\n\r\n" .. body } }
    end

    setup(function()
        up = origin.start {
            ["/same"] = gated("same", "200 OK\r\nX-Own: yes", "together"),
            ["/head"] = gated("head", "200 OK", ""),
            ["/trickle"] = { { gate = "trickle" }, { send = "HTTP/1.1 200 OK\r\n"
                .. "Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n" }, { gate = "rest" },
                { send = "4\r\nlast\r\n0\r\n\r\n" } },
            ["/events"] = { { gate = "events" }, { send = "HTTP/1.1 200 OK\r\n"
                .. "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                .. "9\r\ndata: 1\n\n\r\n" }, { hang = true } },
            ["/head-length"] = { { gate = "head-length" },
                { send = "HTTP/1.1 200 OK\r\nContent-Length: 123\r\n\r\n" } },
            ["/chunked"] = { { gate = "chunked" }, { send = "HTTP/1.1 200 OK\r\n"
                .. "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n" } },
            ["/cookie"] = gated("cookie", "200 OK\r\nSet-Cookie: a=b", "mine"),
            ["/private"] = gated("private", "200 OK\r\nCache-Control: max-age=1, private", "mine"),
            ["/no-store"] = gated("no-store", "200 OK\r\nCache-Control: no-store", "mine"),
            ["/star"] = gated("star", "200 OK\r\nVary: *", "mine"),
            ["/starlate"] = gated("starlate", "200 OK\r\nVary: Accept\r\nVary: *", "mine"),
            ["/vary"] = gated("vary", "200 OK\r\nVary: Accept-Language", "in words"),
            ["/large"] = gated("large", "200 OK", ("x"):rep(5000)),
            ["/failing"] = { turns = { { { gate = "failing" }, { send = "HTTP/1.1 503 Busy\r\n"
                .. "Content-Length: 4\r\n\r\nbusy" } }, { status = 200, body = "well" } } },
            ["/broken"] = { { gate = "broken" }, { send = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n"
                .. "\r\nhalf" }, { reset = true } },
            ["/down"] = { { gate = "down" }, { send = "garbage\r\n\r\n" }, { close = true } },
            ["/hold"] = { { hang = true } },
            ["*"] = { { gate = "all" }, { send = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" } },
        }
        played = e2e.listen()
        rp = e2e.proxy { vars = { up = up.port, played = played.port },
            before = 'local seen = rp.metric.counter { "seen_total", labels = { "path" } }',
            site = [[
            log = { access = { to = "${dir}/access.log", format = "json", buffer = 0,
                fields = { "uri", "status", "reason", "coalesced" } } },
            upstreams = {
                o = rp.upstream { peers = { "127.0.0.1:${up}" }, tries = 1, retry = { on = {} } },
                played = rp.upstream { peers = { "127.0.0.1:${played}" }, tries = 1,
                    retry = { on = {} } },
            },
            hosts = { rp.host { default = true, use = { { access = function(req) seen:inc(req.path) end } },
              routes = {
                rp.route { "/played/*", upstream = "played", coalesce = true },
                rp.route { "/keyed/*", upstream = "o", strip_prefix = "/keyed",
                    coalesce = { key = { "Authorization", "X-Tenant" } } },
                rp.route { "/small/*", upstream = "o", strip_prefix = "/small",
                    coalesce = { max_body = 1000 } },
                rp.route { "/short/*", upstream = "o", strip_prefix = "/short",
                    coalesce = { max_wait = "50ms" } },
                rp.route { "/second/*", upstream = "o", strip_prefix = "/second",
                    coalesce = { max_wait = "1s" } },
                rp.route { "/consumer/*", upstream = "o", strip_prefix = "/consumer",
                    coalesce = true, use = { { access = function(req)
                        req.consumer = req:get("x-consumer") end } } },
                rp.route { "/made/*", upstream = "o", strip_prefix = "/made",
                    coalesce = true, use = { { access = function(req)
                        req.up:set("x-user", req:get("authorization"):match("%a$"))
                        req.up:del("authorization")
                    end } } },
                rp.route { "/hooks/*", upstream = "o", strip_prefix = "/hooks", coalesce = true,
                    use = { {
                        header_filter = function(req, res) res:set("x-for", req:get("x-me")) end,
                        body_filter = function(req, _, chunk) return chunk and chunk:upper() end,
                    } } },
                rp.route { "/*", upstream = "o", coalesce = true },
            } } } ]] }
    end)

    teardown(function() e2e.stop(rp) end)
    after_each(function() wire.close_all() end)

    local function ask(target, fields, method)
        local w = wire.connect(rp.port)
        w:send(http.format { target = target, fields = fields, method = method })
        return w
    end

    -- Requests of a gated target are recorded by the origin when they are complete, before the gate.
    local function asked(target) return up:count(target) end
    local function wait_asked(target, n)
        assert.truthy(posix.poll(function() return asked(target) >= n end), target)
    end

    -- n requests for that target have come in all: who does not ask waits.
    local function wait_seen(target, n)
        local sample = ('seen_total{path="%s"}'):format(target)
        assert.truthy(posix.poll(function() return metrics.value(rp, sample) == n end), target)
    end

    -- The access log has n lines about it.
    local function wait_lines(target, n)
        assert.truthy(posix.poll(function()
            local text = posix.read_file(rp.dir .. "/access.log") or ""
            return select(2, text:gsub('"uri":"' .. target .. '"', "")) == n
        end), target)
    end

    local sent = {}

    -- n requests for the same, of which the first leads.
    local function crowd(target, n, fields)
        local path = target:gsub("^/%a+/(%a)", "/%1")
        local before, list = asked(path), { ask(target, fields and fields(1)) }
        wait_asked(path, before + 1)
        for i = 2, n do list[i] = ask(target, fields and fields(i)) end
        sent[target] = (sent[target] or 0) + n
        wait_seen(target, sent[target])
        return list
    end

    it("lets one ask for all", function()
        local list = crowd("/same", 6)
        up:open_gate("same")
        for _, w in ipairs(list) do
            local res = http.read(w)
            assert.equal("together", res.body)
            assert.equal("yes", res:header("x-own"))
            assert.equal("8", res:header("content-length"))
        end
        assert.equal(1, asked("/same"))
    end)

    it("works for HEAD, apart from GET", function()
        local list = { ask("/head", nil, "HEAD") }
        wait_asked("/head", 1)
        list[2] = ask("/head", nil, "HEAD")
        wait_seen("/head", 2)
        local get = ask("/head")
        wait_asked("/head", 2)
        up:open_gate("head")
        for _, w in ipairs(list) do
            assert.equal(200, http.read(w, { method = "HEAD" }).status)
        end
        assert.equal(200, http.read(get).status)
        assert.equal(2, asked("/head"))
    end)

    it("tells the length of a body that HEAD does not get", function()
        local list = { ask("/head-length", nil, "HEAD") }
        wait_asked("/head-length", 1)
        list[2] = ask("/head-length", nil, "HEAD")
        wait_seen("/head-length", 2)
        up:open_gate("head-length")
        for _, w in ipairs(list) do
            assert.equal("123", http.read(w, { method = "HEAD" }):header("content-length"))
        end
        assert.equal(1, asked("/head-length"))
    end)

    it("gives a body of unknown length its length", function()
        local list = crowd("/chunked", 3)
        up:open_gate("chunked")
        for _, w in ipairs(list) do assert.equal("abcdef", http.read(w).body) end
        assert.equal(1, asked("/chunked"))
    end)

    it("runs the hooks of each on a copy of its own", function()
        local list = crowd("/hooks/hooked", 3, function(i) return { ["X-Me"] = "client " .. i } end)
        up:open_gate("all")
        for i, w in ipairs(list) do
            local res = http.read(w)
            assert.equal("client " .. i, res:header("x-for"))
            assert.equal("OK", res.body)
        end
        assert.equal(1, asked("/hooked"))
        up:close_gate("all")
    end)

    it("does not share what is meant for one client", function()
        for _, name in ipairs { "cookie", "private", "no-store", "star", "starlate" } do
            local list = crowd("/" .. name, 3)
            up:open_gate(name)
            for _, w in ipairs(list) do assert.equal("mine", http.read(w).body) end
            assert.equal(3, asked("/" .. name))
            -- That is remembered: the next ones do not wait for each other.
            up:close_gate(name)
            list = crowd("/" .. name, 2)
            wait_asked("/" .. name, 5)
            up:open_gate(name)
            for _, w in ipairs(list) do assert.equal("mine", http.read(w).body) end
        end
    end)

    it("does not wait with a request that says who it is of", function()
        local list = {}
        for _, fields in ipairs { { Authorization = "Basic YTpi" }, { Cookie = "a=b" },
            { ["X-Api-Key"] = "k" }, { Range = "bytes=0-1" }, { ["If-None-Match"] = '"a"' },
            { ["Cache-Control"] = "no-cache" } } do
            for _ = 1, 2 do list[#list + 1] = ask("/credentials", fields) end
            wait_asked("/credentials", #list)
        end
        up:open_gate("all")
        for _, w in ipairs(list) do assert.equal("ok", http.read(w).body) end
        up:close_gate("all")
    end)

    it("shares among those that are equal in the site's key", function()
        local function token(i) return { Authorization = "Bearer " .. (i % 2) } end
        local list = { ask("/keyed/tenants", token(0)) }
        wait_asked("/tenants", 1)
        list[2] = ask("/keyed/tenants", token(1))
        wait_asked("/tenants", 2)
        for i = 3, 6 do list[i] = ask("/keyed/tenants", token(i)) end
        wait_seen("/keyed/tenants", 6)
        up:open_gate("all")
        for _, w in ipairs(list) do assert.equal("ok", http.read(w).body) end
        assert.equal(2, asked("/tenants"))
        up:close_gate("all")
    end)

    it("keeps consumers apart", function()
        local list = { ask("/consumer/who", { ["X-Consumer"] = "a" }) }
        wait_asked("/who", 1)
        list[2] = ask("/consumer/who", { ["X-Consumer"] = "b" })
        wait_asked("/who", 2)
        list[3] = ask("/consumer/who", { ["X-Consumer"] = "a" })
        wait_seen("/consumer/who", 3)
        up:open_gate("all")
        for _, w in ipairs(list) do assert.equal("ok", http.read(w).body) end
        assert.equal(2, asked("/who"))
        up:close_gate("all")
    end)

    it("keeps apart what hooks say of clients whose credentials they took away", function()
        local function who(name, says)
            return { Authorization = "Basic " .. name, ["x-user"] = says }
        end
        local list = { ask("/made/whose", who("a")) }
        wait_asked("/whose", 1)
        list[2] = ask("/made/whose", who("b"))
        wait_asked("/whose", 2)
        list[3] = ask("/made/whose", who("b", "a"))
        list[4] = ask("/made/whose", who("b", "b"))
        list[5] = ask("/made/whose", who("a", "b"))
        wait_seen("/made/whose", 5)
        up:open_gate("all")
        for _, w in ipairs(list) do assert.equal("ok", http.read(w).body) end
        assert.equal(2, asked("/whose"))
        up:close_gate("all")
    end)

    it("does not hand over a try to one that asked in another way", function()
        protocol.only("h1 upstream", "who asks anew has a connection of its own")
        local function lang(l) return { ["Accept-Language"] = l } end
        local first = ask("/played/variants", lang("de"))
        local peer = played:accept()
        assert.matches("Language: de", e2e.head(peer))
        local second = ask("/played/variants", lang("en"))
        wait_seen("/played/variants", 2)
        first:close()
        wait_lines("/played/variants", 1)
        local other = played:accept()
        assert.matches("Language: en", e2e.head(other))
        other:send("HTTP/1.1 200 OK\r\nVary: Accept-Language\r\nContent-Length: 2\r\n\r\nen")
        assert.equal("en", http.read(second).body)
    end)

    it("keeps variants apart, and lets those of one wait for each other", function()
        local list = crowd("/vary", 6, function(i)
            return { ["Accept-Language"] = i % 2 == 0 and "de" or "en" }
        end)
        up:open_gate("vary")
        for _, w in ipairs(list) do assert.equal("in words", http.read(w).body) end
        assert.equal(2, asked("/vary"))
    end)

    it("does not share what is too large", function()
        local list = crowd("/small/large", 3)
        up:open_gate("large")
        for _, w in ipairs(list) do assert.equal(5000, #http.read(w).body) end
        assert.equal(3, asked("/large"))
    end)

    it("does not keep back what comes slowly", function()
        for _, target in ipairs { "/second/trickle", "/events" } do
            local list = crowd(target, 2)
            up:open_gate(target:match("%a+$"))
            for _, w in ipairs(list) do
                local part = w:recv_until(target == "/events" and "data: 1" or "first")
                assert.matches("200", part)
            end
            up:open_gate("rest")
        end
    end)

    it("waits for max_wait and no longer", function()
        local list = crowd("/short/late", 3)
        wait_asked("/late", 3)
        up:open_gate("all")
        for _, w in ipairs(list) do assert.equal("ok", http.read(w).body) end
        up:close_gate("all")
    end)

    it("has another one lead when the first was refused", function()
        local list = crowd("/failing", 4)
        up:open_gate("failing")
        assert.equal(503, http.read(list[1]).status)
        for i = 2, 4 do assert.equal("well", http.read(list[i]).body) end
        assert.equal(2, asked("/failing"))
    end)

    it("has a failure shared after three leaders", function()
        local list = crowd("/down", 12)
        up:open_gate("down")
        for _, w in ipairs(list) do assert.equal(502, http.read(w).status) end
        assert.is_true(asked("/down") <= 6) -- each once more on a fresh connection
    end)

    it("does not share half an answer", function()
        local list = crowd("/broken", 5)
        up:open_gate("broken")
        for _, w in ipairs(list) do assert.equal(502, http.read(w).status) end
        assert.equal(3, asked("/broken"))
    end)

    it("outlives the client that came first", function()
        local first = ask("/played/a")
        local peer = played:accept()
        e2e.head(peer)
        local list = { ask("/played/a") }
        wait_seen("/played/a", 2)
        list[2] = ask("/played/a")
        wait_seen("/played/a", 3)
        first:close()
        wait_lines("/played/a", 1) -- one took its place
        peer:send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhand")
        list[1]:close() -- while its body is read, or about to be
        wait_lines("/played/a", 2)
        peer:send("ed")
        assert.equal("handed", http.read(list[2]).body)
    end)

    it("does not make others wait for a slow client", function()
        local slow = wire.connect(rp.port, nil, { rcvbuf = 4096 })
        slow:send(http.format { target = "/played/slow" })
        local peer = played:accept()
        e2e.head(peer)
        local w = ask("/played/slow")
        wait_seen("/played/slow", 2)
        local body = ("0123456789abcdef"):rep(50 * 1024)
        peer:send("HTTP/1.1 200 OK\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body)
        assert.equal(body, http.read(w).body)
        assert.equal(body, http.read(slow).body)
    end)

    it("lets followers go at any time", function()
        local list = crowd("/gone", 4)
        list[2]:close()
        list[4]:close()
        wait_lines("/gone", 2)
        up:open_gate("all")
        assert.equal("ok", http.read(list[1]).body)
        assert.equal("ok", http.read(list[3]).body)
        assert.equal(1, asked("/gone"))
        up:close_gate("all")
    end)

    it("is told in the log and counted", function()
        assert.truthy(posix.poll(function()
            return metrics.value(rp, "rproxy_coalesced_total") > 10
        end))
        local text = posix.read_file(rp.dir .. "/access.log")
        assert.equal(1, select(2, text:gsub('"uri":"/same","status":200,"reason":"",'
            .. '"coalesced":false', "")))
        assert.equal(5, select(2, text:gsub('"uri":"/same","status":200,"reason":"",'
            .. '"coalesced":true', "")))
    end)

    it("keeps generations apart", function()
        local w = ask("/reload")
        wait_asked("/reload", 1)
        rp:signal("HUP")
        rp:wait_stderr("generation=2")
        local other = ask("/reload")
        wait_asked("/reload", 2)
        up:open_gate("all")
        assert.equal("ok", http.read(w).body)
        assert.equal("ok", http.read(other).body)
    end)
end)
