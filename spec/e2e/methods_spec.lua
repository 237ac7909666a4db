-- SPDX-License-Identifier: MIT
--
-- CONNECT, TRACE and OPTIONS: methods that speak of the way and not of the resource.

local cjson = require("cjson")
local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local protocol = require("spec.support.protocol")
local wire = require("spec.support.wire")

describe("methods of the way", function()
    local up, rp

    setup(function()
        up = origin.start { ["*"] = { status = 200, body = "ok" } }
        rp = e2e.proxy { vars = { origin = up.port }, site = [[
            log = { access = { to = "${dir}/access.log", format = "json", buffer = 0,
                fields = { "method", "status", "reason", "path" } } },
            upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
            hosts = { rp.host { default = true, routes = {
                rp.route { "/answer", respond = { 200, "here" } },
                rp.route { "/content", content = function(req)
                    return req:exit(200, req.method .. " " .. (req:get("cookie") or ""))
                end },
                rp.route { "GET,TRACE /traced", upstream = "o" },
                rp.route { "TRACE /traced-here", content = function(req)
                    return req:exit(200, "mine")
                end },
                rp.route { "*", upstream = "o" },
                rp.route { "/*", upstream = "o" } } } } ]] }
    end)

    teardown(function() e2e.stop(rp) end)
    after_each(wire.close_all)

    local function send(method, target, fields)
        local before = #up:requests()
        local res = http.get(rp.port, { method = method, target = target, host = "a",
            fields = fields })
        local after = up:requests()
        return res, #after > before and after[#after] or nil
    end

    -- The access log's word for the last answer to a method and path.
    local function reason(method, path)
        return posix.poll(function()
            local found
            for line in (posix.read_file(rp.dir .. "/access.log") or ""):gmatch("[^\n]+") do
                local entry = cjson.decode(line)
                if entry.method == method and entry.path == path then found = entry.reason end
            end
            return found
        end)
    end

    local function allowed(res)
        local names = {}
        for name in (res:header("allow") or "-"):gmatch("[^, ]+") do names[#names + 1] = name end
        table.sort(names)
        return table.concat(names, " ")
    end

    local COMMON = "DELETE GET HEAD OPTIONS PATCH POST PUT"

    describe("TRACE", function()
        it("is refused unless a route names it, whatever the route does", function()
            for target, methods in pairs { ["/x"] = COMMON, ["/answer"] = COMMON,
                ["/content"] = COMMON } do
                local res, got = send("TRACE", target, { Cookie = "secret" })
                assert.equal(405, res.status)
                assert.equal(methods, allowed(res))
                assert.is_nil(got)
                assert.is_nil(res.body:find("secret", 1, true))
                assert.equal("method_not_allowed", reason("TRACE", target))
            end
        end)

        it("passes where a route names it, hops counted", function()
            local res, got = send("TRACE", "/traced")
            assert.equal(200, res.status)
            assert.equal("TRACE", got.method)
            assert.is_nil(e2e.field(got, "Max-Forwards"))
            got = select(2, send("TRACE", "/traced", { ["Max-Forwards"] = "3" }))
            assert.equal("2", e2e.field(got, "Max-Forwards"))
            got = select(2, send("TRACE", "/traced", { ["Max-Forwards"] = "1" }))
            assert.equal("0", e2e.field(got, "Max-Forwards"))
            assert.equal("mine", send("TRACE", "/traced-here").body)
        end)

        it("ends here when no hop is left, and shows nothing", function()
            local res, got = send("TRACE", "/traced", { ["Max-Forwards"] = "0", Cookie = "secret" })
            assert.equal(405, res.status)
            assert.equal("GET HEAD", allowed(res))
            assert.is_nil(got)
            assert.is_nil(res.body:find("secret", 1, true))
        end)
    end)

    describe("OPTIONS", function()
        it("passes, hops counted, and is left alone by what is no number", function()
            for given, sent in pairs { ["10"] = "9", ["1"] = "0", ["x"] = "x", ["-1"] = "-1",
                ["1, 2"] = "1, 2" } do
                local _, got = send("OPTIONS", "/x", { ["Max-Forwards"] = given })
                assert.equal(sent, e2e.field(got, "Max-Forwards"))
            end
            assert.is_nil(e2e.field(select(2, send("OPTIONS", "/x")), "Max-Forwards"))
        end)

        it("is answered here when no hop is left", function()
            for target, methods in pairs { ["/x"] = COMMON, ["*"] = COMMON } do
                local res, got = send("OPTIONS", target, { ["Max-Forwards"] = "0" })
                assert.equal(204, res.status)
                assert.equal(methods, allowed(res))
                assert.is_nil(got)
            end
        end)

        it("counts hops of no other method", function()
            local _, got = send("GET", "/x", { ["Max-Forwards"] = "0" })
            assert.equal("0", e2e.field(got, "Max-Forwards"))
        end)
    end)

    describe("CONNECT", function()
        it("is refused with 405 and a reason, and stays here", function()
            protocol.only("h1 client", "CONNECT with a request line")
            local w, before = wire.connect(rp.port), #up:requests()
            w:send("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
            local res = http.read(w, { method = "GET" })
            assert.equal(405, res.status)
            assert.equal(COMMON, allowed(res))
            assert.equal(before, #up:requests())
            local found = posix.poll(function()
                return (posix.read_file(rp.dir .. "/access.log") or ""):match(
                    '"method":"CONNECT","status":405,"reason":"([^"]*)"')
            end)
            assert.equal("method_not_allowed", found)
        end)
    end)
end)
