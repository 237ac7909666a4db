-- SPDX-License-Identifier: MIT
--
-- The parts of record and replay that need no server: values as JSON, secrets, reading a capture, which
-- record answers a call, what is different. Run by `rproxy test`.

local rp = require("rproxy")
local t = require("rproxy.test")

local capture = require("rproxy.capture")
local diff = require("rproxy.replay_diff")
local player = require("rproxy.replay_player")
local redact = require("rproxy.record_redact")
local values = require("rproxy.tape_value")

local json = rp.json

-- All functions of the library want a running site around them.
setup(function() t.site {} end)

local function there_and_back(value)
    return values.unpack(json.decode(json.encode(values.pack(value))))
end

describe("a value of Lua", function()
    it("comes back bit by bit", function()
        local bytes = {}
        for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
        for _, value in ipairs { "", "plain", "a\r\n\tb", "\0\1\2", table.concat(bytes), "caf\195\169",
            "\255\254", '"\\/', 0, 1, -1, 0.1, 1 / 3, 2 ^ 53, -2 ^ 53, 1e308, 5e-324,
            1795277781.829441, true, false,
            math.huge, -math.huge } do
            assert.equal(value, there_and_back(value))
        end
        local nan, minus = there_and_back(0 / 0), there_and_back(-0.0)
        assert.is_true(nan ~= nan)
        assert.equal(-math.huge, 1 / minus)
        assert.is_nil(there_and_back(nil))
        assert.equal(rp.null, there_and_back(rp.null))
    end)

    it("comes back as the table that it was", function()
        for _, value in ipairs { {}, { 1, 2, 3 }, { a = 1, ["\0"] = { true } }, { [3] = "c" }, { 1, x = 2 },
            { { {} } }, { rp.null, 1 }, { [true] = 1, [1.5] = 2 } } do
            assert.same(value, there_and_back(value))
        end
        assert.equal("[]", json.encode(there_and_back(rp.array())))
        assert.equal("{}", json.encode(there_and_back({})))
    end)

    it("may have no text, which reading it says", function()
        for _, value in ipairs { print, coroutine.create(print), { print }, setmetatable({}, {}) } do
            local packed = json.decode(json.encode(values.pack(value)))
            assert.has_error(function() values.unpack(packed) end)
        end
        local deep = {}
        for _ = 1, 100 do deep = { deep } end
        assert.has_error(function() values.unpack(values.pack(deep)) end)
        local round = {}
        round[1] = round
        assert.has_error(function() values.unpack(values.pack(round)) end)
    end)

    it("keeps holes in lists of results", function()
        local packed = json.decode(json.encode(values.pack_list({ nil, "a", nil }, 3)))
        local out, n = values.unpack_list(packed)
        assert.equal(3, n)
        assert.same({ nil, "a", nil }, out)
    end)

    it("that somebody made up is refused", function()
        for _, packed in ipairs { { b = 1 }, { b = "%" }, { n = "x" }, { l = 1 }, { m = 1 }, { m = { 1 } },
            { m = { { rp.null, 1 } } }, { m = { { { n = "nan" }, 1 } } }, { o = "none", m = {} }, { o = {} },
            {}, { x = "function" } } do
            assert.has_error(function() values.unpack(packed) end)
        end
    end)

    it("is one text with others that are equal, and another with others", function()
        local function text(...) return values.canonical({ ... }, select("#", ...)) end
        assert.equal(text { a = 1, b = { 2 } }, text { b = { 2 }, a = 1 })
        local seen = {}
        for _, one in ipairs { text(), text(nil), text(nil, nil), text("1"), text(1), text { "1" },
            text { 1 }, text { a = 1 }, text(true), text("true"), text("a", "b"), text("a b"),
            text(rp.null) } do
            assert.is_nil(seen[one], one)
            seen[one] = true
        end
    end)
end)

describe("a secret", function()
    local function secrets(conf, key)
        local all = { headers = {}, args = {}, cookies = true }
        for name, value in pairs(conf or {}) do all[name] = value end
        return redact.secrets(redact.new(all, key))
    end

    it("of a header becomes a mark that is the same for the same", function()
        local s = secrets()
        local one = s:header("Authorization", "Bearer aaaaaaaaaaaaaaaa")
        assert.matches("^Bearer redacted%-%x+$", one)
        assert.equal(one, s:header("authorization", "Bearer aaaaaaaaaaaaaaaa"))
        assert.not_equal(one, s:header("authorization", "Bearer bbbbbbbbbbbbbbbb"))
        assert.matches("^redacted%-", s:header("x-api-key", "k"))
        assert.equal("text/plain", s:header("accept", "text/plain"))
        assert.matches("^redacted%-", secrets({ headers = { "X-Mine" } }):header("x-mine", "v"))
    end)

    it("of three parts keeps its dots", function()
        assert.matches("^Bearer redacted%-%x+%.redacted%-%x+%.redacted%-%x+$",
            secrets():header("authorization", "Bearer aaaaaaaaaa.bbbbbbbbbb.cccccccccc"))
    end)

    it("in cookies is the value alone", function()
        local s = secrets()
        local line = s:header("cookie", 'sid=0123456789abcdef; theme=dark; q="quoted value"')
        assert.matches("^sid=redacted%-%x+; theme=dark; q=redacted%-%x+$", line)
        line = s:header("set-cookie", "sid=0123456789abcdef; Path=/; HttpOnly")
        assert.matches("^sid=redacted%-%x+; Path=/; HttpOnly$", line)
        line = secrets({ cookies = { "theme" } }):header("cookie", "sid=0123456789abcdef; theme=x")
        assert.matches("^sid=0123456789abcdef; theme=redacted%-%x+$", line)
    end)

    it("in a query, a form and JSON goes by its name", function()
        local s = secrets({ args = { "OTP" } })
        assert.matches("^a=1&token=redacted%-%x+&otp=redacted%-%x+$", s:form("a=1&token=abcdefgh&otp=1"))
        assert.matches("^pass%%77ord=redacted%-%x+$", s:form("pass%77ord=a+b%20c"))
        assert.matches("^password=redacted%-%x+&x=1$",
            s:body("password=x&x=1", "application/x-www-form-urlencoded"))
        local text = s:body('{"a":{"password":"geheim und lang"},"n":1}', "application/json")
        assert.matches("^redacted%-", json.decode(text).a.password)
        text = s:body('{"password":"\\u0061bc","n":1}', nil)
        assert.matches("^redacted%-", json.decode(text).password)
        text = s:body('{"password":"cut off here","n":"and', nil)
        assert.falsy(text:find("cut off", 1, true))
    end)

    it("in a URL of another header goes by the name of its argument", function()
        for _, line in ipairs { "https://a.example/?access_token=geheimnis&x=1",
            "/cb?x=1&code=geheimnis#t", "https://a.example/#id_token=geheimnis",
            "0; url=/next?to%6ben=geheimnis", '</a?token=geheimnis>; rel="preload"' } do
            local s = secrets()
            local clean = s:header("referer", line)
            assert.falsy(clean:find("geheimnis", 1, true))
            assert.equal("redacted", clean:match("redacted"))
            assert.falsy(s.scrub("key:geheimnis"):find("geheimnis", 1, true))
        end
        assert.equal("/a?b=c", secrets():header("referer", "/a?b=c"))
        assert.equal("a=b; token=c", secrets():header("x-other", "a=b; token=c"))
    end)

    it("in a body is found in every form that the body may have", function()
        for _, body in ipairs { '{"password":"geheim\\"geheim","n":', '{"password":"x geheim',
            '{"a":1,"token":["geheim"],"n":"', '{"token":{"a":{"b":"geheim"},"c":"geheim"},"n',
            '{"token":["geheim geheim"]}', '{"token":{"deep":{"er":"geheim x geheim"}}}',
            '\239\187\191{"password":"geheim geheim"}', '{"password":   "geheim' } do
            local made = secrets():body(body, "application/json")
            assert.falsy(made:find("geheim", 1, true), made)
            assert.truthy(made:find("redacted", 1, true), made)
        end
        assert.falsy(secrets():body('{"password":"geheim"}', "application/x-www-form-urlencoded"):find(
            "geheim", 1, true)) -- as curl -d sends it
        assert.falsy(secrets():body('{"code":123456}', nil):find("123456", 1, true))
        assert.falsy(secrets():body('{"code":123456,"n":"cu', nil):find("123456", 1, true))
        local part = '--B\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n'
        local form = part:format('name="user"', "alice") .. part:format('name="password"', "geheim")
            .. part:format('filename="a"; name=token', "geheim") .. "--B--\r\n"
        for _, cut in ipairs { #form, form:find("geheim", 1, true) + 5 } do
            local made = secrets():body(form:sub(1, cut), "multipart/form-data; boundary=B")
            assert.falsy(made:find("geheim", 1, true), made)
            assert.truthy(made:find("alice", 1, true))
        end
    end)

    it("is redacted where it stands however many there are", function()
        local s, list = secrets(), {}
        for i = 1, 1500 do list[i] = ("token=geheim%%20%08d"):format(i) end
        assert.falsy(s:form(table.concat(list, "&")):find("geheim", 1, true))
        local body = {}
        for i = 1, 300 do body[i] = ('{"token":"geheim%08d"}'):format(i) end
        assert.falsy(s:body("[" .. table.concat(body, ",") .. "]", nil):find("geheim", 1, true))
        assert.truthy(#s.list <= 400)
    end)

    it("that shows up late is taken out of what is packed", function()
        local s = secrets()
        local packed = json.decode(json.encode(values.pack { "geheim-geheim", { x = "a geheim-geheim" },
            "\255geheim-geheim" }))
        s:mark("geheim-geheim")
        local clean = values.unpack(values.scrub(packed, s.scrub))
        local mark = s:mark("geheim-geheim")
        assert.same({ mark, { x = "a " .. mark }, "\255" .. mark }, clean)
    end)

    it("is taken out of all else, whatever stands around it", function()
        local s = secrets()
        s:header("authorization", "Bearer aaaaaaaaaaaaaaaa")
        s:form("token=a%2Fb%2Fc%2Fd%2Fe")
        for _, text in ipairs { "session:aaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!",
            "a%2Fb%2Fc%2Fd%2Fe", "x a/b/c/d/e y" } do
            local clean = s.scrub(text)
            assert.matches("redacted%-%x+", clean)
            assert.falsy(clean:find("aaaaaaaaaaaaaaaa", 1, true))
            assert.falsy(clean:find("b/c/d", 1, true))
        end
        assert.equal("short", s.scrub("short"))
        local before = s.scrub("aaaaaaaaaaaaaaaa")
        assert.matches("^a=redacted%-%x+$", s:header("cookie", "a=redacted"))
        assert.equal(before, s.scrub("aaaaaaaaaaaaaaaa"))
    end)

    it("comes back by the key, and by no other", function()
        local key, other = ("k"):rep(32), ("o"):rep(32)
        local s = secrets({}, key)
        local line = s:header("authorization", "Bearer aaaaaaaaaa.bbbbbbbbbb.cccccccccc")
        s:form("token=a%20very%20long%20one")
        local rows = json.decode(json.encode(s:rows()))
        local opened, left = redact.open(rows, key)
        assert.equal(0, left)
        assert.equal("Bearer aaaaaaaaaa.bbbbbbbbbb.cccccccccc", opened.put_in(line))
        assert.equal(line, opened.take_out("Bearer aaaaaaaaaa.bbbbbbbbbb.cccccccccc"))
        local mark = s:form("token=a%20very%20long%20one")
        assert.equal("token=a%20very%20long%20one", opened.put_in_escaped(mark))
        for _, wrong in ipairs { other, false } do
            local none, unknown = redact.open(rows, wrong or nil)
            assert.is_nil(none)
            assert.equal(#rows, unknown)
        end
        for _, bad in ipairs { { 1 }, { { 1, 2 } }, { { "redacted-x", "%%" } }, "x" } do
            assert.is_nil((redact.open(bad, key)))
        end
    end)
end)

describe("a capture", function()
    local function file(text)
        local at = 1
        return { close = function() end, read = function(_, n)
            if at > #text then return nil end
            local piece = text:sub(at, at + math.min(n, 7) - 1)
            at = at + #piece
            return piece
        end }
    end

    local GOOD = '{"v":1,"kind":"background","at":1,"call":{"f":"x","a":"1","r":[]}}'

    local function read(text)
        local count, records = capture.counts(), {}
        capture.each(file(text), count, function(record) records[#records + 1] = record end)
        return records, count
    end

    it("is read line by line, however it comes", function()
        local records, count = read(GOOD .. "\n" .. GOOD .. "\n")
        assert.equal(2, #records)
        assert.same({ read = 2, unreadable = 0, torn = 0 }, count)
        assert.equal("x", records[1].call.f)
        records, count = read(GOOD)
        assert.equal(1, #records)
        assert.equal(0, count.torn)
        assert.same({}, (read("")))
    end)

    it("may have a torn end, and lines that are nothing", function()
        local _, count = read(GOOD .. "\n\n\0\n[]\n" .. GOOD:sub(1, 20))
        assert.equal(1, count.read)
        assert.equal(2, count.unreadable)
        assert.equal(1, count.torn)
    end)

    it("is refused line by line where its form is another", function()
        local request = '{"v":1,"kind":"request","request":{"at":1,"method":"GET","path":"/","headers":%s},'
            .. '"final":{"status":200},"calls":%s}'
        assert.is_table((capture.parse(request:format("[]", "[]"))))
        for _, line in ipairs { request:format("{}", "[1]"), request:format("[[1]]", "[]"),
            request:format("3", "[]"), request:format("[]", "null"), '{"v":2,"kind":"request"}',
            '{"v":1,"kind":"other"}', '{"v":1,"kind":"request"}', "null", "1",
            '{"v":1,"kind":"background","at":"x","call":{}}' } do
            local record, why = capture.parse(line)
            assert.is_nil(record, line)
            assert.is_string(why)
        end
    end)

    it("has no line without an end", function()
        local most = capture.LINE_MOST
        capture.LINE_MOST = 100
        finally(function() capture.LINE_MOST = most end)
        local records, count = read(("x"):rep(1000) .. "\n" .. GOOD .. "\n")
        assert.equal(1, #records)
        assert.equal(1, count.read)
    end)
end)

describe("a call that is replayed", function()
    local function call(f, a, r) return { f = f, a = a, r = { r } } end
    local SPEC = {}

    local function of(calls, library, opts)
        return player.new({ request = { at = 100 }, calls = calls, seq = {} }, library or player.library(),
            opts or { on_miss = "fail" })
    end

    it("gets what the same call got, in order, and then the last again", function()
        local p = of { call("get", "1", "a"), call("get", "2", "b"), call("get", "1", "c") }
        assert.equal("a", p:call("get", "1", nil, nil, SPEC).r[1])
        assert.equal("b", p:call("get", "2", nil, nil, SPEC).r[1])
        assert.equal("c", p:call("get", "1", nil, nil, SPEC).r[1])
        assert.equal("c", p:call("get", "1", nil, nil, SPEC).r[1])
        assert.same({}, p.misses)
    end)

    it("else gets what was there elsewhere, the latest before it", function()
        local library = player.library()
        library:add(call("get", "1", "old"), 50)
        library:add(call("get", "1", "older"), 40)
        library:add(call("get", "1", "later"), 200)
        library:add(call("get", "2", "after"), 300)
        library:add(call("get", "2", "soon"), 150)
        local p = of({}, library)
        assert.equal("old", p:call("get", "1", "key", nil, SPEC).r[1])
        assert.equal("soon", p:call("get", "2", "key", nil, SPEC).r[1])
        assert.same({ "get key", "get key" }, p.borrowed)
    end)

    it("else goes by its order, where secrets are not known", function()
        local p = of({ call("get", "1", "a") }, nil, { on_miss = "fail", redacted = true })
        assert.equal("a", p:call("get", "9", nil, nil, SPEC).r[1])
        assert.is_nil(p:call("get", "9", nil, nil, SPEC))
        assert.equal(1, #p.guessed)
        assert.equal(1, #p.misses)
    end)

    it("else is a miss, or is assumed where it only writes", function()
        local p = of {}
        assert.is_nil(p:call("get", "1", "key", nil, SPEC))
        assert.is_nil(p:call("set", "1", "key", nil, { otherwise = print }))
        assert.equal("get key", p.misses[1].text)
        assert.equal("set key", p.assumed[1].text)
    end)

    it("of a clock goes on with the last time, of dice draws anew", function()
        local p = player.new({ request = { at = 100 }, calls = {}, seq = { time = { { 1, 2 }, { 2, 1 } },
            dice = { { 5, 1 } } } }, player.library(), { on_miss = "fail" })
        local clock, dice = { clock = true, wall = true, name = "time" }, { name = "dice" }
        local got = {}
        for i = 1, 5 do got[i] = p:run("time", clock) end
        assert.same({ 1, 1, 2, 2, 2 }, got)
        assert.equal(5, p:run("dice", dice))
        assert.is_nil(p:run("dice", dice))
        assert.equal(1, p.dice)
        assert.equal(100, p:run("os.time", { clock = true, wall = true, name = "os.time" }))
    end)
end)

describe("a difference", function()
    local function outcome(given)
        local made = { final = { status = 200, from = "upstream", headers = {} },
            upstream = { name = "api" }, route = "r" }
        for name, value in pairs(given or {}) do made[name] = value end
        return made
    end

    local function texts(old, new, how)
        local out = {}
        for i, one in ipairs((diff.compare(outcome(old), outcome(new), how or {}))) do out[i] = one.text end
        return out
    end

    it("is none between what is equal", function()
        assert.same({}, texts())
        assert.same({}, texts({ final = { status = 200, from = "upstream", headers = {
            { "date", "1" }, { "a", "redacted-0123456789abcdef" } } } }, { final = { status = 200,
            from = "upstream", headers = { { "date", "2" }, { "a", "anything" } } } }))
    end)

    it("is told for routes, answers, upstreams, heads", function()
        assert.same({ "route r -> s" }, texts({}, { route = "s" }))
        assert.same({ "answer 200 from upstream api -> 403 by acl" }, texts({}, {
            final = { status = 403, from = "plugin" }, decisions = { l = { { m = { { "kind", "answer" },
                { "instance", "acl" } } } } } }))
        assert.same({ "answer 200 from upstream api -> 200 from upstream b", "upstream api -> b" },
            texts({}, { upstream = { name = "b" } }))
        assert.same({ "sent path changed", "sent header x-a changed", "sent header x-b added" },
            texts({ sent = { path = "/", headers = { { "x-a", "1" } } } },
                { sent = { path = "/b", headers = { { "X-A", "2" }, { "x-b", "" } } } }))
        assert.same({ "response header a removed" }, texts({ final = { status = 200, from = "upstream",
            headers = { { "a", "1" } } } }))
        assert.same({ "consumer none -> joe" }, texts({}, { consumer = "joe" }))
    end)

    it("has marks that stand for anything, and for nothing else", function()
        local mark = "redacted-0123456789abcdef"
        assert.is_true(diff.same("a " .. mark .. ".", "a b c."))
        assert.is_false(diff.same("a " .. mark .. ".", "b b c."))
        assert.is_false(diff.same("a%b", "a.b"))
        assert.is_true(diff.same("%[" .. mark, "%[x"))
        assert.is_false(diff.same(nil, "x"))
        assert.is_true(diff.same(mark, ""))
        assert.is_true(diff.same(mark .. "." .. mark .. ".c", "a.b.c"))
        assert.is_false(diff.same("a" .. mark .. "a", "a"))
        local many, like = ("x=" .. mark .. ";"):rep(200), ("x=v;"):rep(2000)
        assert.is_true(diff.same(many, like)) -- and neither takes for ever
        assert.is_false(diff.same(many .. "!", like))
    end)

    it("takes records that are odd", function()
        for _, odd in ipairs { { decisions = "x" }, { decisions = { l = { 1, {} } } }, { upstream = "x" },
            { sent = 1 }, { consumer = {} }, { route = { b = 1 } } } do
            assert.is_table(texts(odd, odd))
        end
    end)
end)
