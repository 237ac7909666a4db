-- SPDX-License-Identifier: MIT
--
-- Retries: what is sent to another peer, what is not, and what counts against a peer.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")

local function answer(status, body, fields)
    return { status = status, body = body, fields = fields }
end

local HALF = "HTTP/1.1 200 OK\r\nContent-Le"

describe("retries", function()
    local rp, good, bad, worse, slow

    setup(function()
        good = origin.start { ["*"] = answer(200, "good") }
        bad = origin.start {
            ["/reset"] = { { body = true }, { reset = true } },
            ["/half"] = { { send = HALF }, { reset = true } },
            ["/late"] = { { wait = 30 }, { send = HALF } },
            ["/503"] = answer(503, "bad", { ["Retry-After"] = "7", ["X-Own"] = "yes" }),
            ["/404"] = answer(404, "nowhere"),
            ["/500"] = answer(500, "broken"),
            ["/turns"] = { turns = { answer(500, "1"), answer(500, "2"), answer(200, "3"),
                answer(500, "4"), answer(500, "5"), answer(500, "6") } },
            ["*"] = answer(200, "bad"),
        }
        worse = origin.start { ["*"] = answer(503, "worse") }
        slow = origin.start { ["*"] = { { wait = 0.1 },
            { send = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow" } } }
        rp = e2e.proxy {
            vars = { good = good.port, bad = bad.port, worse = worse.port,
                slow = slow.port },
            before = [[
                -- The bad peer always comes first.
                local function up(t)
                    t.balance = "first"
                    t.max_fails = t.max_fails or 0
                    t.peers = t.peers or { "127.0.0.1:${bad}", "127.0.0.1:${good}" }
                    return rp.upstream(t)
                end
                local function at(path, upstream, more)
                    local route = more or {}
                    route[1], route.upstream, route.strip_prefix = path .. "/*", upstream, path
                    return rp.route(route)
                end
            ]],
            site = [[
                upstreams = {
                    plain = up { },
                    strict = up { retry = { on = { "connect" } } },
                    picky = up { retry = { on = { "connect", "reset", "timeout", 503 },
                        per_try = "2s", backoff = 0 } },
                    brave = up { retry = { on = { "5xx", "reset" }, non_idempotent = true } },
                    both = up { retry = { on = { "502-504" } }, peers = { "127.0.0.1:${bad}",
                        "127.0.0.1:${worse}" } },
                    alone = up { retry = { on = { 503 } }, peers = { "127.0.0.1:${bad}" } },
                    judged = up { fail_on = { "connect", "5xx" }, max_fails = 3, fail_rest = 60 },
                    named = rp.upstream { peers = { "127.0.0.1:${worse}" },
                        retry = { per_try = "20s" },
                        balance = function(_, up) up:peer("127.0.0.1", ${slow}) end },
                    forgiven = up { fail_on = { 500 }, max_fails = 3, fail_rest = 60 },
                },
                hosts = { rp.host { default = true, routes = {
                    at("/plain", "plain"), at("/strict", "strict"), at("/picky", "picky"),
                    at("/brave", "brave"), at("/both", "both"), at("/alone", "alone"),
                    at("/kept", "picky", { buffer = { request = true } }),
                    at("/judged", "judged"), at("/forgiven", "forgiven"), at("/named", "named"),
                } } } ]],
        }
    end)

    teardown(function() e2e.stop(rp) end)

    local function get(target) return http.get(rp.port, target) end
    local function post(target, body)
        return http.get(rp.port, { method = "POST", target = target, body = body or "payload" })
    end
    it("send to another peer what broke before an answer", function()
        assert.equal("good", get("/plain/reset").body)
        assert.equal(502, get("/strict/reset").status)
    end)

    it("send nothing twice of which an answer had begun", function()
        local before = good:count("/half")
        assert.equal(502, get("/plain/half").status)
        assert.equal(before, good:count("/half"))
    end)

    it("send no POST twice, unless told", function()
        local before = good:count("/reset")
        assert.equal(502, post("/plain/reset").status)
        assert.equal(502, post("/kept/reset").status)
        assert.equal(before, good:count("/reset"))
        assert.equal(502, post("/brave/reset").status) -- its body is used up
        assert.equal("good", http.get(rp.port, { method = "POST", target = "/brave/reset" }).body)
    end)

    it("send a buffered body again, whole", function()
        local body = ("0123456789"):rep(20000)
        local res = http.get(rp.port, { method = "PUT", target = "/kept/503", body = body })
        assert.equal("good", res.body)
        assert.equal(body, e2e.last(good).body)
    end)

    it("take another peer for one that is late", function()
        assert.equal("good", get("/picky/late").body)
    end)

    it("give an address that a hook named as much time as a peer", function()
        assert.equal("slow", get("/named/x").body)
    end)

    it("take another peer for a status that is listed, and pass on what is not", function()
        assert.equal("good", get("/picky/503").body)
        assert.equal("bad", get("/plain/503").body)
        assert.equal("nowhere", get("/picky/404").body)
        assert.equal("good", post("/brave/500", "").body)
    end)

    it("pass on the peer's own answer when it may not be repeated", function()
        local res = post("/picky/503")
        assert.same({ 503, "bad", { "7" }, { "yes" } }, { res.status, res.body,
            e2e.values(res.fields, "retry-after"), e2e.values(res.fields, "x-own") })
        assert.equal("bad", get("/alone/503").body)
    end)

    it("pass on the last peer's answer when all gave one that is listed", function()
        local res = get("/both/503")
        assert.same({ 503, "worse" }, { res.status, res.body })
        assert.equal(1, worse:count("/503"))
    end)

    it("say why in the error log, and count", function()
        get("/picky/503")
        local lines = e2e.log_since(rp, 0, "repeated elsewhere")
        assert.is_true(#lines >= 1)
        assert.matches("upstream=picky", lines[#lines])
        assert.matches("upstream_status", lines[#lines])
    end)

    it("let a peer rest after answers that count against it", function()
        for _ = 1, 3 do assert.equal(500, get("/judged/500").status) end
        for _ = 1, 4 do assert.equal("good", get("/judged/500").body) end
    end)

    it("begin a row of failures anew with a good answer, not with a connection", function()
        for _ = 1, 6 do get("/forgiven/turns") end -- 500 500 200 500 500 500
        assert.equal("good", get("/forgiven/turns").body)
        assert.equal(6, bad:count("/turns"))
    end)
end)
