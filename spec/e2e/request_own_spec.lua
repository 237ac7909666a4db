-- SPDX-License-Identifier: MIT
--
-- What hooks say of one request alone: req:timeout, req:log, and what up tells of its attempts.

local cjson = require("cjson")
local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local posix = require("spec.support.posix")
local wire = require("spec.support.wire")

local ROUTES = {
    ["/hangs"] = { { hang = true } },
    ["/stops"] = { { send = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf" }, { hang = true } },
    ["*"] = { status = 200, body = "ok" },
}

local SITE = [[
    log = { access = { to = "${log}", flush = "10ms", format = "${format}", ${fields} } },
    upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } },
        twice = rp.upstream { peers = { "127.0.0.1:${dead}", "127.0.0.1:${origin}" }, tries = 2,
            balance = function(req, up)
                req.ctx.errors = (req.ctx.errors or "") .. tostring(up.last_error) .. ";"
                if up.attempt == 1 then up:peer("127.0.0.1:${dead}") end
            end } },
    hosts = { rp.host { default = true, routes = {
        rp.route { "/hangs", upstream = "o", use = { { access = function(req)
            req:timeout { first_byte = 0.1 } end } } },
        rp.route { "/stops", upstream = "o", use = { { access = function(req)
            req:timeout { idle = 0.1, connect = 5 } end } } },
        rp.route { "/bad", upstream = "o", use = { { access = function(req)
            local _, a = pcall(req.timeout, req, { frist_byte = 1 })
            local _, b = pcall(req.timeout, req, { idle = -1 })
            local _, c = pcall(req.log, req, { ["a b"] = 1 })
            local _, d = pcall(req.log, req, { a = {} })
            local _, e = pcall(function() for i = 1, 33 do req:log { ["n" .. i] = i } end end)
            return req:exit(200, table.concat({ a, b, c, d, e }, "|"))
        end } } },
        rp.route { "/log", upstream = "o", use = { {
            access = function(req) req:log { tenant = 'a"b\n', n = 1, on = true } end,
            log = function(req) req:log { n = 2.5, late = "yes", inf = math.huge,
                long = ("x"):rep(5000) } end } } },
        rp.route { "/twice", upstream = "twice", use = { { header_filter = function(req, res)
            res:set("x-errors", req.ctx.errors) end } } },
        rp.route { "/*", upstream = "o" },
    } } },
]]

for _, format in ipairs { "json", "combined" } do
    describe("one request's own, with a log in " .. format .. ":", function()
        local rp, log

        setup(function()
            log = os.tmpname()
            rp = e2e.pair(ROUTES, { site = SITE, vars = { dead = posix.free_port(), log = log,
                format = format,
                fields = format == "json" and 'fields = { "path", "status", "reason" },' or "" } })
            os.execute("chmod 666 " .. log)
        end)
        teardown(function()
            e2e.stop(rp)
            os.remove(log)
        end)
        after_each(wire.close_all)

        local function line_of(path)
            return posix.poll(function()
                for line in (posix.read_file(log) or ""):gmatch("[^\n]+") do
                    if line:find(path, 1, true) then return line end
                end
            end)
        end

        it("timeouts", function()
            assert.equal(504, http.get(rp.port, "/hangs").status)
            local w = wire.connect(rp.port)
            w:send(http.format { target = "/stops" })
            local text, why = w:recv_all()
            assert.not_equal("timeout", why)
            assert.is_nil(text:find("half.+half"))
        end)

        it("mistakes", function()
            local body = http.get(rp.port, "/bad").body
            assert.matches('has no option "frist_byte"', body)
            assert.matches("idle is a number of seconds above 0", body)
            assert.matches('"a b" is no name of a field', body)
            assert.matches("a is no string, number or boolean", body)
            assert.matches("too many fields", body)
        end)

        it("fields of the log", function()
            assert.equal(200, http.get(rp.port, "/log").status)
            local line = assert(line_of("/log"))
            if format == "combined" then
                assert.matches(' tenant="a\\x22b\\x0A"', line, 1, true)
                assert.matches(' n="2.5"', line, 1, true)
                assert.matches(' late="yes"', line, 1, true)
                return
            end
            local seen = cjson.decode(line)
            assert.equal(200, seen.status)
            assert.equal('a"b\n', seen.log.tenant)
            assert.equal(2.5, seen.log.n)
            assert.is_true(seen.log.on)
            assert.equal("inf", seen.log.inf)
            assert.equal(1024, #seen.log.long)
        end)

        it("lines without are as ever", function()
            http.get(rp.port, "/plain")
            local line = assert(line_of("/plain"))
            if format == "json" then assert.is_nil(cjson.decode(line).log)
            else assert.matches('"[^"]*"$', line) end
        end)

        it("how attempts failed", function()
            assert.equal("nil;upstream_connect;", http.get(rp.port, "/twice"):header("x-errors"))
        end)
    end)
end
