-- SPDX-License-Identifier: MIT

local support = require("spec.unit.script.support")

local site

local function run(code, before)
    site = support.site(([[ rp.route { "/*", content = function(req) %s end } ]]):format(code),
        { before = before or "local _" })
    return site:get("/").body
end

local function value(expression, before)
    return run(("return req:exit(200, tostring(%s))"):format(expression), before)
end

describe("script/abi: library", function()
    after_each(function()
        if site then site:close() end
        site = nil
    end)

    it("has digests (FIPS 180-4) and HMAC (RFC 4231 case 2)", function()
        assert.equal("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            value('rp.hex(rp.crypto.sha256("a", "", "bc"))'))
        site:close()
        assert.equal("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            value('rp.hex(rp.crypto.hmac("sha256", "Jefe", "what do ya want ", "for nothing?"))'))
        site:close()
        -- RFC 4231 case 6: a key longer than the block
        assert.equal("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            value('rp.hex(rp.crypto.hmac("sha256", ("\\170"):rep(131), '
                .. '"Test Using Larger Than Block-Size Key - Hash Key First"))'))
        site:close()
        assert.equal("cf83e135", value('rp.hex(rp.crypto.sha512("")):sub(1, 8)'))
    end)

    it("has random bytes and comparison", function()
        assert.equal("16 false true false", run([[ local c = rp.crypto
            local a, b = c.random(16), c.random(16)
            return req:exit(200, table.concat({ #a, tostring(a == b), tostring(c.equal(a, a)),
                tostring(c.equal(a, a .. "x")) }, " ")) ]]))
    end)

    it("has codecs, strict ones", function()
        assert.equal("aGk=|hi|nil|-_8|%2F a|a%2Fb|nil|&lt;&amp;", run([[
            local bad, err = rp.unb64("a=")
            return req:exit(200, table.concat({ rp.b64("hi"), rp.unb64("aGk="), tostring(bad),
                rp.b64url("\251\255"), rp.uri.unescape("%252F a"), rp.uri.escape("a/b"),
                tostring((rp.uri.unescape("%zz"))), rp.html_escape("<&") }, "|")) ]]))
    end)

    it("has a hash that everybody agrees on", function()
        assert.equal("true true true", run([[ local h = rp.hash("user", "canary")
            return req:exit(200, table.concat({ tostring(h == rp.hash("user", "canary")),
                tostring(h ~= rp.hash("user2", "canary")),
                tostring(h >= 0 and h < 2^52) }, " ")) ]]))
        site:close()
        assert.equal("3506615387336436", value('("%d"):format(rp.hash("a"))'))
    end)

    it("has regular expressions", function()
        assert.equal("true,false,b,c,nil,2,3,x-x-,2,<1><2>", run([[
            local re = rp.regex([=[(b)(c)|(d)]=])
            local b, c, d = re:match("abcd")
            local first, last = re:find("abc")
            local gone, n = rp.regex("[0-9]"):gsub("1-2-", "x")
            return req:exit(200, table.concat({ tostring(re:test("bc")), tostring(re:test("x")),
                b, c, tostring(d), first, last, gone, n,
                (rp.regex("[0-9]"):gsub("12", function(s) return "<" .. s .. ">" end)) }, ",")) ]]))
    end)

    it("refuses a bad pattern at its line", function()
        local _, err = support.build(support.HEAD .. 'local re = rp.regex "("')
        assert.matches('^/srv/site/site%.lua:2: pattern "%("', err)
        _, err = support.build(support.HEAD .. 'local re = rp.regex("a", "q")')
        assert.matches("unknown flags", err)
    end)

    it("raises where a pattern hits its limits, so that no rule is passed by", function()
        assert.matches("on this input", run([[
            local re = rp.regex("^(a+)+$")
            local ok, err = pcall(re.test, re, ("a"):rep(40) .. "b")
            return req:exit(200, tostring(ok) .. tostring(err)) ]]))
    end)

    it("replaces empty matches without standing still", function()
        assert.equal("-a-b- 3", run([[ local s, n = rp.regex("x*"):gsub("ab", "-")
            return req:exit(200, s .. " " .. n) ]]))
    end)

    it("has dates of HTTP and of RFC 3339", function()
        assert.equal("Sun, 06 Nov 1994 08:49:37 GMT|784111777 784111777 784111777|"
            .. "1994-11-06T08:49:37.250Z|784111777.25|Tue, 29 Feb 2000 00:00:00 GMT|", run([[
            local d, bad = rp.date, {}
            for _, s in ipairs { "", "Sun, 06 Nov 1994 08:49:37", "Sun, 32 Nov 1994 08:49:37 GMT",
                "Sun, 29 Feb 1995 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT",
                "sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT " } do
                if d.parse_http(s) then bad[#bad + 1] = s end
            end
            for _, s in ipairs { "1994-11-06", "1994-11-06T08:49:37", "1994-11-06T08:49:37.Z",
                "1994-13-06T08:49:37Z", "1994-11-06T08:49:37+24:00", "1994-11-06T08:49:3712Z" } do
                if d.parse_rfc3339(s) then bad[#bad + 1] = s end
            end
            return req:exit(200, table.concat({ d.http(784111777),
                d.parse_http("Sun, 06 Nov 1994 08:49:37 GMT") .. " "
                .. d.parse_http("Sunday, 06-Nov-94 08:49:37 GMT") .. " "
                .. d.parse_http("Sun Nov  6 08:49:37 1994"), d.rfc3339(784111777.25, 3),
                d.parse_rfc3339("1994-11-06T09:49:37.25+01:00"), d.http(951782400),
                table.concat(bad, ",") }, "|")) ]]))
    end)

    it("has uuids that say what they are", function()
        local four, seven, later = run([[ return req:exit(200, rp.uuid.v4() .. " " .. rp.uuid.v7()
            .. " " .. rp.uuid.v7()) ]]):match("(%S+) (%S+) (%S+)")
        local shape = "^%x%x%x%x%x%x%x%x%-%x%x%x%x%-V%x%x%x%-[89ab]%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$"
        assert.matches(shape:gsub("V", "4"), four)
        assert.matches(shape:gsub("V", "7"), seven)
        assert.is_true(math.abs(tonumber((seven:gsub("-", ""):sub(1, 12)), 16) / 1000 - os.time()) < 60)
        assert.are_not.equal(seven, later)
    end)

    it("reads and writes forms", function()
        assert.equal("a=1&b=x%20y&b=%26|1,x y,|a=1;b=x y;b=&;c=;|too many", run([[ local f = rp.form
            local s = f.build { b = { "x y", "&" }, a = 1 }
            local t, all = f.parse("a=1&b=x+y&b=2&c"), ""
            for k, v in f.each(s .. "&c") do all = all .. k .. "=" .. v .. ";" end
            return req:exit(200, table.concat({ s, t.a .. "," .. t.b .. "," .. t.c, all,
                select(2, f.parse("a&b&c", 2)) }, "|")) ]]))
    end)

    it("has named groups, iteration, splitting and templates", function()
        assert.equal("2024/nil a=1,b=2, x|y||z x|y,z 02.2024$ 1 -a-\195\164- 3", run([[
            local d = rp.regex("(?<y>[0-9]{4})-(?<m>[0-9]{2})|(?<d>x)")
            local n, pairs_text = d:named("on 2024-02"), ""
            for k, v in rp.regex("([a-z])=([0-9])"):gmatch("a=1;b=2") do
                pairs_text = pairs_text .. k .. "=" .. v .. ","
            end
            local s = rp.regex(", *")
            local t, count = d:replace("2024-02", "$2.${y}$$")
            local u, empty = rp.regex("x*", "u"):gsub("a\195\164", "-")
            return req:exit(200, table.concat({ n.y .. "/" .. tostring(n.d), pairs_text,
                table.concat(s:split("x, y,,z"), "|"), table.concat(s:split("x,y,z", 2), "|"),
                t, count, u, empty }, " ")) ]]))
    end)

    it("asks a set of patterns in one call", function()
        assert.equal("2 1,3 nil", run([[
            local set = rp.regex.set({ "ab+", "c", "b$" }, "i")
            return req:exit(200, set:match("xC") .. " " .. table.concat(set:matches("AB"), ",")
                .. " " .. tostring(set:match("zzz"))) ]]))
        site:close()
        -- what cannot stand in an alternation is still matched for itself
        assert.equal("2 2 1 2", run([[
            local function at(list, text) return tostring(rp.regex.set(list):match(text)) end
            return req:exit(200, table.concat({ at({ "(x)q", "(a)\\1" }, "aa"),
                at({ "(?<n>x)", "(?<n>y)" }, "y"), at({ "(*UCP)a", "b" }, "a"),
                at({ "\\Qa", "b" }, "b") }, " ")) ]]))
        site:close()
        assert.matches('pattern "%^%(a%+%)%+%$": .* on this input', run([[
            local set = rp.regex.set { "^(a+)+$", "b" }
            local ok, err = pcall(set.match, set, ("a"):rep(40) .. "!")
            return req:exit(200, tostring(ok) .. tostring(err)) ]]))
    end)

    it("raises for templates that name no group and subjects that are no text", function()
        local e = run([[ local re, out = rp.regex("a"), {}
            for _, f in ipairs { function() re:replace("a", "$1") end,
                function() re:replace("a", "$x") end, function() re:test(nil) end,
                function() re:find("a", 0) end } do
                out[#out + 1] = select(2, pcall(f))
            end
            return req:exit(200, table.concat(out, "\n")) ]])
        assert.matches('no group "1"', e)
        assert.matches('written "%$%$"', e)
        assert.matches("takes a string, got a nil", e)
        assert.matches("init is a position from 1", e)
    end)

    it("logs with fields, without raising on odd values", function()
        assert.equal("ok", run([[ rp.log.info("hello\nworld", { a = 1, b = { 1 },
            ["k k"] = "\27[0m", f = print }) rp.log.debug("not shown") print("x", nil)
            return req:exit(200, "ok") ]]))
    end)

    it("raises for names that rproxy does not have, with the nearest", function()
        assert.matches('rproxy has no "slep"; did you mean "sleep"', run([[
            local _, err = pcall(function() return rp.slep end) return req:exit(200, err) ]]))
    end)
end)
