-- SPDX-License-Identifier: MIT
--
-- rp.http: bodies of requests that a function gives piece by piece.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local wire = require("spec.support.wire")

local BIG = ("The quick brown fox. "):rep(50000) -- 1 MB

local ROUTES = {
    ["/early"] = { early = true, { send = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig" },
        { hang = true } },
    ["/dies"] = { early = true, { wait = 0.05 }, { reset = true } },
    ["*"] = { status = 200, body = "ok" },
}

local SITE = [[
    limits = { body = math.huge },
    hosts = { rp.host { default = true, routes = {
        rp.route { "/count/{n}", content = function(req)
            return told(req, pieces(tonumber(req.params.n), "piece.")) end },
        rp.route { "/waits", content = function(req)
            return told(req, pieces(3, "piece.", 0.001)) end },
        rp.route { "/length", content = function(req)
            return told(req, pieces(3, "piece."), { length = 18 }) end },
        rp.route { "/long", content = function(req)
            return told(req, pieces(3, "piece."), { length = 17 }) end },
        rp.route { "/short", content = function(req)
            return told(req, pieces(3, "piece."), { length = 19 }) end },
        rp.route { "/much", content = function(req)
            return told(req, pieces(1600, ("x"):rep(65536))) end },
        rp.route { "/pass", content = function(req)
            local reader = req:body_reader()
            return told(req, function() return reader:read() end) end },
        rp.route { "/early", content = function(req)
            return told(req, pieces(1e9, ("x"):rep(65536), 0.001)) end },
        rp.route { "/dies", content = function(req)
            return told(req, pieces(1e9, ("x"):rep(65536), 0.001)) end },
        rp.route { "/raises", content = function(req)
            local ok, why = pcall(told, req, function() error("oops", 0) end)
            return req:exit(200, tostring(why)) end },
        rp.route { "/bad", content = function(req)
            local ok, why = pcall(told, req, function() return 7 end)
            return req:exit(200, tostring(why)) end },
        rp.route { "/gives-up", content = function(req)
            return told(req, function() return nil, "no more" end) end },
        rp.route { "/empty", content = function(req)
            return told(req, function() end) end },
        rp.route { "/timeout", content = function(req)
            return told(req, pieces(1e9, "x", 0.01), { timeout = 0.2 }) end },
    } } } ]]

for _, version in ipairs { "1.1", "2" } do
    describe("bodies of rp.http by pieces, HTTP/" .. version .. ":", function()
        local rp, up

        setup(function()
            local routes = ROUTES
            local protocol = require("spec.support.protocol")
            local saved = protocol.has_h2_upstream
            protocol.has_h2_upstream = version == "2"
            rp, up = e2e.pair(routes, { site = SITE, vars = { version = version }, before = [[
                local client = rp.http.client { base = "http://127.0.0.1:${origin}",
                    http = "${version}", timeout = 120 }
                local function pieces(n, piece, wait)
                    return function()
                        if wait then rp.sleep(wait) end
                        n = n - 1
                        if n >= 0 then return piece end
                    end
                end
                local function told(req, body, opts)
                    opts = opts or {}
                    opts.method, opts.url, opts.body = "POST", req.path, body
                    local res, err, detail = client:request(opts)
                    return req:exit(200, res and (res.status .. " " .. res.body)
                        or ("%s: %s"):format(err, tostring(detail)))
                end ]] })
            protocol.has_h2_upstream = saved
        end)
        teardown(function() e2e.stop(rp) end)
        after_each(wire.close_all)

        local function ask(target, body) -- 100 MB take the origin a second of processor time
            local w = wire.connect(rp.port, nil, { timeout = 120 })
            return http.request(w, { method = "POST", target = target, body = body or "x" }).body
        end

        local function last(target)
            local found
            for _, got in ipairs(up:requests()) do
                if got.target == target then found = got end
            end
            return found
        end

        it("go as they are given", function()
            assert.equal("200 ok", ask("/count/3"))
            local got = last("/count/3")
            assert.equal("piece.piece.piece.", got.body)
            assert.equal("chunked", got.framing)
            assert.equal("200 ok", ask("/waits"))
            assert.equal("piece.piece.piece.", last("/waits").body)
            assert.equal("200 ok", ask("/empty"))
            assert.equal(0, last("/empty").body_len)
            assert.equal("200 ok", ask("/count/3")) -- and the connection is fit for more
        end)

        it("have a length when it is said", function()
            assert.equal("200 ok", ask("/length"))
            assert.same({ "18" }, e2e.values(last("/length").fields, "content-length"))
            assert.matches("^[%l_]+: ", ask("/long"))
            assert.matches("^[%l_]+: ", ask("/short"))
        end)

        it("are as large as one likes, in bounded memory", function()
            local before = e2e.rss(rp)
            assert.equal("200 ok", ask("/much"))
            assert.equal(1600 * 65536, last("/much").body_len)
            if not e2e.is_debug then assert.is_true(e2e.rss(rp) - before < 40000) end
        end)

        it("may be what the client sends", function()
            assert.equal("200 ok", ask("/pass", BIG))
            assert.equal(origin.sum(BIG), last("/pass").body_sum)
        end)

        it("end with a response that comes before", function()
            assert.equal("413 big", ask("/early"))
        end)

        it("end with the connection", function()
            assert.matches("^[%l_]+: ", ask("/dies"))
        end)

        it("end with what the function says", function()
            assert.matches("oops", ask("/raises"))
            assert.matches("returned a number", ask("/bad"))
            assert.equal("body: no more", ask("/gives-up"))
        end)

        it("end with the timeout", function()
            assert.matches("^timeout: ", ask("/timeout"))
        end)
    end)
end
