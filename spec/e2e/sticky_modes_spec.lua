-- SPDX-License-Identifier: MIT
--
-- Sticky clients by the application's own cookie, prefixed or learnt, and by header fields.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local origin = require("spec.support.origin")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")

describe("sticky clients of an application", function()
    local site, origins

    local function answer(name)
        return {
            ["/login"] = { status = 200, body = name, fields = {
                { "Set-Cookie", "theme=dark; Path=/" },
                { "Set-Cookie", "SID=" .. name .. "-42; Path=/; HttpOnly" },
                { "X-Session", name .. "-43" } } },
            ["/quoted"] = { status = 200, body = name, fields = {
                { "Set-Cookie", 'SID="' .. name .. '-44"; Path=/' } } },
            ["/logout"] = { status = 200, body = name, fields = { { "Set-Cookie", "SID=; Max-Age=0" } } },
            ["*"] = { status = 200, body = name },
        }
    end

    setup(function()
        origins = {}
        for _, name in ipairs { "a", "b", "c" } do origins[name] = origin.start(answer(name)) end
    end)

    teardown(function() origin.cleanup() end)

    after_each(function() site:stop() end)

    local function start(sticky)
        local vars = { a = origins.a.port, b = origins.b.port, c = origins.c.port }
        site = proc.rproxy { vars = vars, site = [[
            return rp.site { workers = 2, listeners = { rp.listen { "127.0.0.1:${port}" } },
                upstreams = { o = rp.upstream { balance = "random",
                    peers = { "127.0.0.1:${a}", "127.0.0.1:${b}", "127.0.0.1:${c}" },
                    sticky = { ]] .. sticky .. [[ } } },
                hosts = { rp.host { default = true, routes = {
                    rp.route { "/*", upstream = "o" } } } } } ]] }
    end

    local function get(target, fields)
        local res = http.get(site.port, target, fields)
        assert.equal(200, res.status)
        return res
    end

    local function login()
        local res = get("/login")
        local cookies = e2e.values(res.fields, "set-cookie")
        assert.equal(2, #cookies)
        assert.equal("theme=dark; Path=/", cookies[1])
        return res.body, cookies[2], res:header("x-session")
    end

    local function stays(name, fields)
        for _ = 1, 12 do
            if get("/x", fields).body ~= name then return false end
        end
        return true
    end

    local function order(name, word)
        assert.equal(0, (proc.run { process.BIN, "peer", "-p", site.site_path, "o",
            "127.0.0.1:" .. origins[name].port, word }).exit)
    end

    local function last_cookie(name)
        return e2e.field(e2e.last(origins[name]), "cookie")
    end

    describe("whose cookie is prefixed", function()
        it("come back, and the application sees its own value", function()
            start 'cookie = "SID", mode = "prefix"'
            for _ = 1, 4 do
                local name, line = login()
                local value = line:match("^SID=(%x+~" .. name .. "%-42); Path=/; HttpOnly$")
                assert.is_string(value, line)
                assert.is_true(stays(name, { Cookie = "a=b; SID=" .. value .. "; c=d" }))
                assert.equal("a=b; SID=" .. name .. "-42; c=d", last_cookie(name))
            end
        end)

        it("get no cookie that the application did not set", function()
            start 'cookie = "SID", mode = "prefix"'
            assert.same({}, e2e.values(get("/x").fields, "set-cookie"))
            assert.same({ "SID=; Max-Age=0" }, e2e.values(get("/logout").fields, "set-cookie"))
        end)

        it("may bring several of that name, and what looks like our words behind them", function()
            start 'cookie = "SID", mode = "prefix"'
            local name, line = login()
            local token = line:match("^SID=(%x+)~")
            local theirs = ("a"):rep(32) .. "~own"
            assert.is_true(stays(name, { Cookie = ("SID=%s~1; b=c; SID=%s~%s"):format(token, token,
                theirs) }))
            assert.equal("SID=1; b=c; SID=" .. theirs, last_cookie(name))
            get("/x", { Cookie = ("SID=plain; SID=%s~SID=%s~2"):format(token, token) })
            local seen = {}
            for _, o in pairs(origins) do
                local req = e2e.last(o)
                seen[req and e2e.field(req, "cookie") or ""] = true
            end
            assert.is_true(seen["SID=plain; SID=SID=" .. token .. "~2"])
        end)

        it("may have their value in quotation marks", function()
            start 'cookie = "SID", mode = "prefix"'
            local res = get("/quoted")
            local value = res:header("set-cookie"):match('^SID=("%x+~' .. res.body .. '%-44"); Path=/$')
            assert.is_true(stays(res.body, { Cookie = "SID=" .. value .. "; a=b" }))
            assert.equal('SID="' .. res.body .. '-44"; a=b', last_cookie(res.body))
        end)

        it("lose our words once, however many tries there are", function()
            local dead = posix.free_port()
            local inner = ("b"):rep(32) .. "~own"
            site = proc.rproxy { vars = { a = origins.a.port, dead = dead }, site = [[
                return rp.site { workers = 1, listeners = { rp.listen { "127.0.0.1:${port}" } },
                    upstreams = { o = rp.upstream {
                        peers = { { "127.0.0.1:${dead}", weight = 1000 },
                            { "127.0.0.1:${a}", backup = true } },
                        sticky = { cookie = "SID", mode = "prefix" } } },
                    hosts = { rp.host { default = true, routes = {
                        rp.route { "/*", upstream = "o" } } } } } ]] }
            assert.equal("a", get("/x", { Cookie = "SID=" .. ("0"):rep(32) .. "~" .. inner }).body)
            assert.equal("SID=" .. inner, last_cookie("a"))
        end)

        it("without our words, or with words of others, go anywhere, and nothing breaks", function()
            start 'cookie = "SID", mode = "prefix"'
            for _, bad in ipairs { "SID=", "SID=~x", "SID=" .. ("0"):rep(32), "SID=" .. ("g"):rep(32)
                .. "~x", "SID" } do
                local name = get("/x", { Cookie = bad }).body
                assert.equal(bad, last_cookie(name))
            end
            local name = get("/x", { Cookie = "SID=" .. ("0"):rep(32) .. "~x~y" }).body
            assert.equal("SID=x~y", last_cookie(name)) -- of a peer that is not there any more
        end)
    end)

    describe("whose cookie is learnt", function()
        it("come back, in all workers and after a reload; nobody's bytes change", function()
            start 'cookie = "SID", mode = "learn", ttl = "1h"'
            local name, line = login()
            assert.equal("SID=" .. name .. "-42; Path=/; HttpOnly", line)
            local mine = { Cookie = "x=y; SID=" .. name .. "-42" }
            assert.is_true(stays(name, mine))
            assert.equal("x=y; SID=" .. name .. "-42", last_cookie(name))
            process.must(site, "reload")
            assert.is_true(stays(name, mine))
            order(name, "drain")
            assert.is_true(stays(name, mine))
        end)

        it("come back with quotation marks, too", function()
            start 'cookie = "SID", mode = "learn"'
            local name = get("/quoted").body
            assert.is_true(stays(name, { Cookie = 'SID="' .. name .. '-44"' }))
        end)

        it("are not taught by what clients say", function()
            start 'cookie = "SID", mode = "learn"'
            local seen, n = {}, 0
            for _ = 1, 60 do seen[get("/x", { Cookie = "SID=made-up" }).body] = true end
            for _ in pairs(seen) do n = n + 1 end
            assert.equal(3, n)
        end)

        it("stay with the peer that took them when theirs was gone", function()
            start 'cookie = "SID", mode = "learn"'
            local name = login()
            local mine = { Cookie = "SID=" .. name .. "-42" }
            order(name, "maint")
            local other = get("/x", mine).body
            assert.are_not.equal(name, other)
            assert.is_true(stays(other, mine))
            order(name, "ready")
            assert.is_true(stays(other, mine))
        end)

        it("are forgotten when they were not seen for long", function()
            start 'cookie = "SID", mode = "learn", ttl = "1s"'
            local name = login()
            local mine = { Cookie = "SID=" .. name .. "-42" }
            assert.truthy(posix.poll(function()
                posix.sleep(1.2)
                return not stays(name, mine)
            end, 60))
        end)
    end)

    describe("by a header field", function()
        it("come back by ours", function()
            start 'header = "X-Peer"'
            local res = get("/x")
            local token = res:header("x-peer")
            assert.equal(32, #token)
            assert.is_true(stays(res.body, { ["X-Peer"] = token }))
            assert.is_nil(get("/x", { ["X-Peer"] = token }):header("x-peer"))
            assert.same({}, e2e.values(res.fields, "set-cookie"))
        end)

        it("come back by the application's, learnt or prefixed", function()
            start 'header = "x-session", mode = "learn"'
            local name, _, session = login()
            assert.equal(name .. "-43", session)
            assert.is_true(stays(name, { ["X-Session"] = session }))
            site:stop()
            start 'header = "x-session", mode = "prefix"'
            name, _, session = login()
            assert.matches("^%x+~" .. name .. "%-43$", session)
            assert.is_true(stays(name, { ["X-Session"] = session }))
            assert.equal(name .. "-43", e2e.field(e2e.last(origins[name]), "x-session"))
        end)
    end)
end)
