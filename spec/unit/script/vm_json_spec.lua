-- SPDX-License-Identifier: MIT

local support = require("spec.unit.script.support")

-- One site for all: each request runs the Lua text it carries, by name.
local CASES = {}
local site

local function result(name) return site:get("/" .. name).body end

-- Each: name -> Lua text that returns a string; [[...]] in them is written [=[...]=].
local SCRIPT = {
    values = [==[ local v = rp.json.decode(' {"a":[1,2.5,-0,1e3,true,false,null,"x"],"b":{}} ')
        return #v.a .. " " .. v.a[2] .. " " .. v.a[4] .. " " .. tostring(v.a[5]) .. " "
            .. tostring(v.a[6]) .. " " .. tostring(v.a[7] == rp.null) .. " " .. v.a[8]
            .. " " .. type(v.b) ]==],
    strings = [==[ local v = rp.json.decode('"a\\u00e4\\ud83d\\ude00\\n\\/\\"\\u0000."')
        return rp.hex(v) ]==],
    round = [==[ local t = '{"a":[],"b":{},"c":[[],[1,{"d":null}]],"e":"\\n\\u0001\\"\\\\"}'
        local s = rp.json.encode(rp.json.decode(t), { sort = true })
        return tostring(s == t) .. s ]==],
    marks = [==[ return rp.json.encode({ a = rp.array(), b = {}, c = rp.array { 1 } },
        { sort = true }) ]==],
    numbers = [==[ return rp.json.encode { 0, -0.5, 1e21, 2^53, 0.1, 1/3, 1e-7, 100 } ]==],
    big = [==[ local t = "[9007199254740993,9007199254740992,9007199254740991,-123456789012345678901]"
        local s, d = rp.json.decode(t, { big = "string" }), rp.json.decode(t)
        return table.concat({ type(s[1]), type(s[2]), type(s[3]), s[4], type(d[1]) }, " ") ]==],
    duplicates = [==[ local t = '{"a":1,"\\u0061":2}'
        local v, err = rp.json.decode(t)
        return tostring(v) .. " " .. err .. " "
            .. rp.json.decode(t, { duplicates = "last" }).a ]==],
    utf8 = [==[ local bad = '["a\195(","\\ud800"]'
        local v, err = rp.json.decode(bad)
        local mended = rp.json.decode(bad, { invalid = "replace" })
        local e, why = rp.json.encode("\255")
        return table.concat({ tostring(v), err, rp.hex(mended[1]), rp.hex(mended[2]),
            tostring(e), why, rp.json.encode("\255", { invalid = "replace" }) }, "|") ]==],
    depth = [==[ local function at(n, opts)
            local v, err = rp.json.decode(("["):rep(n) .. ("]"):rep(n), opts)
            return v and "ok" or err
        end
        local ring = {}
        ring[1] = ring
        return table.concat({ at(128), at(129), at(2, { depth = 1 }), at(1000, { depth = 1000 }),
            at(200000), select(2, rp.json.encode(ring)) }, "|") ]==],
    size = [==[ return tostring(select(2, rp.json.decode("[1,2,3]", { max = 6 }))) ]==],
    unwritable = [==[ local out = {}
        for _, v in ipairs { { 0/0 }, { 1/0 }, { print }, { 1, nil, 3 }, { 1, a = 2 }, { [5] = 1 } } do
            local s, err = rp.json.encode(v)
            out[#out + 1] = tostring(s) .. ":" .. tostring(err)
        end
        return table.concat(out, "|") ]==],
    misuse = [==[ local out = {}
        for _, f in ipairs { function() rp.json.decode({}) end,
            function() rp.json.decode("1", { dept = 1 }) end,
            function() rp.json.decode("1", { depth = 5000 }) end,
            function() rp.json.decode("1", { big = true }) end, function() rp.array("x") end } do
            out[#out + 1] = select(2, pcall(f))
        end
        return table.concat(out, "\n") ]==],
    malformed = [==[ local out = {}
        for line in ([=[
]
[1,]
[,1]
{"a":1,}
{a:1}
{"a" 1}
{"a":}
[01]
[1.]
[.5]
[+1]
[1e]
[0x10]
[-]
[NaN]
[Infinity]
["\x"]
["\u12g4"]
["a
nul
true false
[1 2]
'a'
// c
[1]]
1e999
]=]):gmatch("[^\n]+") do
            local v, err = rp.json.decode(line)
            if v ~= nil or not err:find(" at byte %d+$") then out[#out + 1] = line end
        end
        for _, s in ipairs { "", " ", "[\"\t\"]", "\239\187\1911", "[1]\0" } do
            if rp.json.decode(s) ~= nil then out[#out + 1] = s end
        end
        return "taken: " .. table.concat(out, " ") ]==],
}
for name, code in pairs(SCRIPT) do
    CASES[#CASES + 1] = ([[rp.route { "/%s", content = function(req)
        return req:exit(200, (function() %s end)()) end },]]):format(name, code)
end

describe("script/vm_json", function()
    setup(function()
        site = support.site(table.concat(CASES, "\n"))
    end)
    teardown(function() site:close() end)

    it("reads every kind of value", function()
        assert.equal("8 2.5 1000 true false true x table", result("values"))
        assert.equal("61c3a4f09f98800a2f22002e", result("strings"))
    end)

    it("writes what it read, lists and objects apart, names in order", function()
        assert.equal('true{"a":[],"b":{},"c":[[],[1,{"d":null}]],"e":"\\n\\u0001\\"\\\\"}',
            result("round"))
        assert.equal('{"a":[],"b":{},"c":[1]}', result("marks"))
    end)

    it("writes numbers so that they read back the same", function()
        assert.equal("[0,-0.5,1e+21,9007199254740992,0.1,0.3333333333333333,1e-07,100]",
            result("numbers"))
    end)

    it("keeps the digits of big integers when asked", function()
        assert.equal("string number number -123456789012345678901 number", result("big"))
    end)

    it("refuses a name that comes twice, however it is written", function()
        assert.equal("nil a name that the object has already at byte 17 2", result("duplicates"))
    end)

    it("refuses or mends what is not UTF-8", function()
        assert.equal("nil|a string that is not UTF-8 at byte 7|61efbfbd28|efbfbd|nil|"
            .. 'a string that is not UTF-8|"\\ufffd"', result("utf8"))
    end)

    it("bounds nesting and size", function()
        assert.equal("ok|nested too deep at byte 129|nested too deep at byte 2|ok|"
            .. "nested too deep at byte 129|nested too deep, or a circle", result("depth"))
        assert.equal("too large", result("size"))
    end)

    it("says what cannot be written", function()
        assert.equal("nil:a number that is infinite or none|nil:a number that is infinite or none|"
            .. "nil:a value that JSON does not have|nil:a list with holes or with names|"
            .. "nil:a list with holes or with names|nil:a name that is no string",
            result("unwritable"))
    end)

    it("raises for misuse, with the nearest option", function()
        local e = result("misuse")
        assert.matches("json.decode takes a string", e)
        assert.matches('unknown option "dept"; did you mean "depth"', e)
        assert.matches("depth is a number from 1 to 1000", e)
        assert.matches('big is "string" or not given', e)
        assert.matches("rp.array takes a table, got a string", e)
    end)

    it("takes nothing that the grammar does not have", function()
        assert.equal("taken: ", result("malformed"))
    end)
end)
