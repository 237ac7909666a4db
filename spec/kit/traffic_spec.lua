-- SPDX-License-Identifier: MIT
--
-- What hooks say about a request's place in a queue, copies of its bodies, and its end without an
-- answer.

local rp = require("rproxy")
local t = require("rproxy.test")

describe("req.priority", function()
    local function site_of(upstream)
        return t.site {
            upstreams = { o = t.upstream(upstream, { queue = { max = 10, timeout = 60 } }) },
            hosts = { rp.host { default = true, routes = { rp.route { "/*", upstream = "o",
                use = { { access = function(req)
                    local p = req:get("x-priority")
                    if p then req.priority = tonumber(p) or p end
                    req.ctx.seen = req.priority
                end, header_filter = function(req, res)
                    res:set("x-seen", req.ctx.seen)
                end } } } } } },
        }
    end

    it("has higher ones leave the queue first, and equals in their order", function()
        local order = {}
        local site = t.site {
            upstreams = { o = rp.upstream { peers = { { "10.0.0.1:80", max_conns = 1 } },
                queue = { max = 10, timeout = 60 } } },
            hosts = { rp.host { default = true, routes = { rp.route { "/*", upstream = "o",
                use = { { access = function(req)
                    req.priority = tonumber(req:get("x-priority"))
                end } } } } } },
        }
        t.serve("10.0.0.1:80", function(req)
            order[#order + 1] = req.path
            return t.delay(1, 200, "ok")
        end)
        t.clock:hold()
        for i, p in ipairs { 0, -5, 3, 0, 7, 3 } do
            site:begin("/" .. i, { headers = { ["x-priority"] = tostring(p) } })
            site:settle()
        end
        t.clock:advance(7)
        assert.same({ "/1", "/5", "/3", "/6", "/4", "/2" }, order)
    end)

    it("is 0 unless set, and takes whole numbers within its bounds", function()
        local site = site_of(function() return 200, "ok" end)
        local function ask(p)
            local res = site:get("/", { headers = { ["x-priority"] = p } })
            return res.status == 200 and res.headers["x-seen"] or res.status
        end
        assert.equal("0", ask(nil))
        assert.equal("1000", ask("1000"))
        assert.equal("-1000", ask("-1000"))
        for _, bad in ipairs { "1001", "-1001", "0.5", "high", "1e300" } do
            assert.equal(500, ask(bad), bad)
        end
    end)

    it("cannot be changed when the request was sent on", function()
        local site = t.site { use = { { log = function(req)
            local ok, err = pcall(function() req.priority = 1 end)
            rp.log.warn("late", { ok = ok, err = tostring(err) })
        end } } }
        site:get("/")
        assert.matches("can be assigned in early, access and rewrite", site:log())
    end)
end)

describe("req:tap", function()
    local function site_of(most, upstream, more)
        local given = { upstream = upstream or function(req) return 200, "got " .. req.body end,
            use = { {
                access = function(req) req:tap(most) end,
                log = function(req)
                    local a, a_err = req:tapped("request")
                    local b, b_err = req:tapped("response")
                    rp.log.warn("tapped", { a = (a or a_err):sub(1, 20), b = (b or b_err):sub(1, 20),
                        an = a and #a or -1, bn = b and #b or -1 })
                end,
            } } }
        for key, value in pairs(more or {}) do given[key] = value end
        return t.site(given)
    end

    local function told(site)
        local log = site:log()
        return log:match("tapped a=(.-) an="), log:match(" b=(.-) bn="),
            tonumber(log:match(" an=(%-?%d+)")), tonumber(log:match(" bn=(%-?%d+)"))
    end

    it("keeps both bodies, and changes no framing", function()
        local site = site_of { request = 100, response = 100 }
        local res = site:post("/", { body = "hello" })
        assert.equal("5", res.upstream.headers["content-length"])
        assert.equal("9", res.headers["content-length"])
        assert.same({ "hello", '"got hello"', 5, 9 }, { told(site) })
    end)

    it("keeps nothing of a body that is too large, and says so", function()
        local site = site_of { request = 4, response = 100 }
        assert.equal("got hello", site:post("/", { body = "hello" }).body)
        local a, _, _, bn = told(site)
        assert.equal('"too large"', a)
        assert.equal(9, bn)
    end)

    it("keeps bodies in chunks, empty ones, and those of large answers", function()
        local big = ("0123456789abcdef"):rep(40000)
        local site = site_of({ request = 100, response = 2 ^ 20 }, function() return 200, big end)
        assert.equal(big, site:post("/", { body = { "a", "b", "c" } }).body)
        local _, _, an, bn = told(site)
        assert.same({ 3, #big }, { an, bn })
    end)

    it("keeps what the last attempt was sent", function()
        local n = 0
        local site = site_of({ request = 100, response = 10 }, nil, {
            upstreams = { o = t.upstream({ function() n = n + 1 return t.reset end,
                function(req) n = n + 1 return 200, req.body end }, { retry = {
                on = { "connect", "reset" }, backoff = 0, non_idempotent = true }, fail_on = {} }) },
            hosts = { rp.host { default = true, routes = { rp.route { "/*", upstream = "o",
                buffer = { request = true } } } } } })
        for _ = 1, 2 do assert.equal("body", site:request { method = "PUT", url = "/",
            body = "body" }.body) end
        assert.equal("body", (told(site)))
    end)

    it("has nothing of a response that broke off, or that no upstream gave", function()
        local site = site_of({ request = 10, response = 100 }, function()
            return t.truncate(2, 200, "broken")
        end)
        site:get("/")
        assert.equal("none", select(2, told(site)))
    end)

    it("refuses what cannot be", function()
        assert.equal(500, site_of({ request = 2 ^ 20 + 1 }):get("/").status)
        assert.equal(500, site_of({ request = -1 }):get("/").status)
        assert.equal(500, site_of({ what = 1 }):get("/").status)
    end)
end)

describe("req:drop", function()
    it("ends the connection without an answer, in access and in header_filter", function()
        for _, phase in ipairs { "access", "header_filter" } do
            local site = t.site { use = { { [phase] = function(req) req:drop() end } } }
            local res = site:get("/")
            assert.is_nil(res.status)
            assert.truthy(res.ended)
        end
    end)
end)
