-- SPDX-License-Identifier: MIT
--
-- The Redis protocol, read: every reply is the same however its bytes are cut, nothing but the grammar
-- is taken, and no length is believed beyond its bound.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path

local resp = require("rproxy.redis.resp")

local NULL = setmetatable({}, { __tostring = function() return "NULL" end })

-- A value as text, to compare: failures and NULL are what they are.
local function show(value)
    if value == NULL then return "NULL" end
    if resp.is_failure(value) then return "!" .. value.err .. "|" .. value.detail end
    if type(value) ~= "table" then
        if value ~= value then return "number:nan" end
        return type(value) .. ":" .. tostring(value)
    end
    local out = {}
    for i, item in ipairs(value) do out[i] = show(item) end
    local keys = {}
    for key in pairs(value) do
        if type(key) ~= "number" or key < 1 or key > #value then keys[#keys + 1] = key end
    end
    table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
    for _, key in ipairs(keys) do out[#out + 1] = show(key) .. "=" .. show(value[key]) end
    return "{" .. table.concat(out, ",") .. "}"
end

-- All replies of these bytes, given in the pieces that cut(i) ends; or the words of a failure.
local function read(bytes, cut, most)
    local reader, out, from = resp.reader(NULL, most), {}, 1
    for i = 1, #bytes do
        if i == #bytes or cut(i) then
            reader:feed(bytes:sub(from, i))
            from = i + 1
            while true do
                local got, value, is_push = reader:next()
                if got == nil then return "failed: " .. value end
                if not got then break end
                out[#out + 1] = (is_push and ">" or "") .. show(value)
            end
        end
    end
    return table.concat(out, " ") .. (reader:is_clean() and "" or " ...")
end

local function whole() return false end
local function each() return true end

local GOOD = {
    { "+OK\r\n", "string:OK" },
    { "+\r\n", "string:" },
    { "-WRONGTYPE not that\r\n", "!WRONGTYPE|WRONGTYPE not that" },
    { ":0\r\n:-7\r\n:+7\r\n", "number:0 number:-7 number:7" },
    { ":9007199254740993\r\n", "string:9007199254740993" },
    { ":9223372036854775807\r\n", "string:9223372036854775807" },
    { "$5\r\nhello\r\n", "string:hello" },
    { "$0\r\n\r\n", "string:" },
    { "$4\r\n\r\n\r\n\r\n", "string:\r\n\r\n" },
    { "$-1\r\n*-1\r\n_\r\n", "NULL NULL NULL" },
    { "*0\r\n", "{}" },
    { "*3\r\n:1\r\n$1\r\na\r\n_\r\n", "{number:1,string:a,NULL}" },
    { "*2\r\n*1\r\n*0\r\n*1\r\n-ERR x\r\n", "{{{}},{!ERR|ERR x}}" },
    { "~2\r\n+a\r\n+b\r\n", "{string:a,string:b}" },
    { "%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n", "{string:a=number:1,string:b={number:2}}" },
    { "%0\r\n", "{}" },
    { ",1.5\r\n,-2\r\n,1e3\r\n,inf\r\n,-inf\r\n", "number:1.5 number:-2 number:1000 number:inf "
        .. "number:-inf" },
    { ",nan\r\n", "number:nan" },
    { "#t\r\n#f\r\n", "boolean:true boolean:false" },
    { "(3492890328409238509324850943850943825024385\r\n",
        "string:3492890328409238509324850943850943825024385" },
    { "=8\r\ntxt:some\r\n", "string:some" },
    { "!9\r\nERR \r\nbad\r\n", "!ERR|ERR \r\nbad" },
    { ">3\r\n+message\r\n+c\r\n$2\r\nhi\r\n:1\r\n", ">{string:message,string:c,string:hi} number:1" },
    { "|1\r\n+ttl\r\n:5\r\n*1\r\n:1\r\n", "{number:1}" },
    { "*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n|0\r\n:2\r\n", "{number:1,number:2}" },
    { "*1\r\n%1\r\n+k\r\n~1\r\n$1\r\nx\r\n", "{{string:k={string:x}}}" },
}

local BAD = {
    { "x\r\n", "unknown type" }, { "\r\n", "unknown type" }, { "HTTP/1.1 400 Bad\r\n", "unknown type" },
    { ":\r\n", "malformed value" }, { ":1x\r\n", "malformed value" }, { ": 1\r\n", "malformed value" },
    { ":0x10\r\n", "malformed value" }, { ":123456789012345678901\r\n", "malformed value" },
    { "#x\r\n", "malformed value" }, { ",\r\n", "malformed value" }, { ",1.2.3\r\n", "malformed value" },
    { ",0x1\r\n", "malformed value" }, { "(12a\r\n", "malformed value" }, { "_x\r\n", "malformed null" },
    { "$-2\r\n", "malformed length" }, { "$01\r\n", "malformed length" }, { "$ 1\r\n", "malformed length" },
    { "$+1\r\n", "malformed length" }, { "$?\r\n", "malformed length" }, { "*?\r\n", "malformed length" },
    { "$99999999999\r\n", "malformed length" }, { "*1e3\r\n", "malformed length" },
    { "%-1\r\n", "malformed length" }, { "$9999999999\r\n", "too big" },
    { "*9999999999\r\n", "too many values" }, { "%600000\r\n", "too many values" },
    { "$2\r\nabc\r\n", "a bulk without its end" }, { "$0\r\nx\r\n", "a bulk without its end" },
    { "+a\nb\r\n", "a stray end of line" }, { "+a\rb\r\n", "a stray end of line" },
    { "=3\r\ntxt\r\n", "malformed verbatim text" }, { ">0\r\n", "an empty push" },
    { "*1\r\n>1\r\n+x\r\n", "a push within a reply" }, { "%1\r\n*0\r\n:1\r\n", "a map's key is no scalar" },
    { "%1\r\n_\r\n:1\r\n", "a map's key is no scalar" }, { "%1\r\n,nan\r\n:1\r\n",
        "a map's key is no scalar" },
    { ("*1\r\n"):rep(33) .. ":1\r\n", "too deep" }, { ("*1\r\n"):rep(100000), "too deep" },
    { "+" .. ("x"):rep(20000), "a line is too long" }, { "$" .. ("1"):rep(20000), "a line is too long" },
    { "+" .. ("x"):rep(20000) .. "\r\n", "a line is too long" },
}

describe("rproxy.redis.resp", function()
    it("reads each kind of value, whole and cut at every byte", function()
        for _, case in ipairs(GOOD) do
            assert.equal(case[2], read(case[1], whole))
            assert.equal(case[2], read(case[1], each))
            for at = 1, #case[1] - 1 do
                assert.equal(case[2], read(case[1], function(i) return i == at end))
            end
        end
    end)

    it("refuses what is not the protocol, whole and byte by byte", function()
        for _, case in ipairs(BAD) do
            assert.equal("failed: " .. case[2], read(case[1], whole))
            assert.equal("failed: " .. case[2], read(case[1], each))
        end
    end)

    it("bounds the bytes of one reply and not of many", function()
        local bulk = "$100\r\n" .. ("x"):rep(100) .. "\r\n"
        assert.equal("failed: too big", read("*20\r\n" .. bulk:rep(20), whole, 1000))
        assert.equal("failed: too big", read("$1001\r\n", whole, 1000))
        assert.is_nil(read(bulk:rep(50), whole, 1000):find("failed", 1, true))
    end)

    it("bounds the values of one reply, nested ones too", function()
        local list = "*100000\r\n" .. ("_\r\n"):rep(100000)
        assert.equal("failed: too many values", read("*11\r\n" .. list:rep(11), whole))
    end)

    it("reads a long text in small pieces without reading it again and again", function()
        local reader, n = resp.reader(NULL), 8 * 1024 * 1024
        reader:feed("$" .. n .. "\r\n")
        local piece = ("x"):rep(1024)
        for _ = 1, n / 1024 do
            assert.is_false((reader:next()))
            reader:feed(piece)
        end
        reader:feed("\r\n")
        local got, value = reader:next()
        assert.is_true(got)
        assert.equal(n, #value)
        assert.is_true(reader:is_clean())
    end)

    -- A random reply, as bytes; everything in it is in the grammar.
    local function random_reply(dice, depth)
        local kind = dice(depth > 3 and 9 or 13)
        local function list(mark, n, times)
            local out = { mark .. n .. "\r\n" }
            for i = 1, n * times do out[i + 1] = random_reply(dice, depth + 1) end
            return table.concat(out)
        end
        local text = ("\r\n$*:x"):rep(dice(9)):sub(1, dice(40))
        if kind == 1 then return "+" .. text:gsub("[\r\n]", "") .. "\r\n" end
        if kind == 2 then return "-ERR " .. text:gsub("[\r\n]", "") .. "\r\n" end
        if kind == 3 then return ":" .. dice(1e6) - 5e5 .. "\r\n" end
        if kind == 4 or kind == 5 then return "$" .. #text .. "\r\n" .. text .. "\r\n" end
        if kind == 6 then return "_\r\n" end
        if kind == 7 then return "#t\r\n" end
        if kind == 8 then return "," .. dice(1000) / 8 .. "\r\n" end
        if kind == 9 then return "=" .. 4 + #text .. "\r\ntxt:" .. text .. "\r\n" end
        if kind == 10 then return list("*", dice(5) - 1, 1) end
        if kind == 11 then return list("~", dice(5) - 1, 1) end
        if kind == 12 then
            return "%1\r\n$1\r\nk\r\n" .. random_reply(dice, depth + 1)
        end
        return "|1\r\n+a\r\n" .. random_reply(dice, depth + 1) .. random_reply(dice, depth + 1)
    end

    -- A small generator of its own: the same numbers on every machine.
    local function new_dice(seed)
        local state = seed
        return function(n)
            state = (state * 16807) % 2147483647
            return state % n + 1
        end
    end

    it("gives the same for any cut of random replies", function()
        for seed = 1, 300 do
            local dice, parts = new_dice(seed), {}
            for i = 1, 5 do parts[i] = random_reply(dice, 0) end
            local bytes = table.concat(parts)
            local once = read(bytes, whole)
            assert.is_nil(once:find("^failed"), once)
            assert.is_nil(once:find("%.%.%.$"), once)
            assert.equal(once, read(bytes, each))
            assert.equal(once, read(bytes, function() return dice(7) == 1 end))
        end
    end)

    it("survives random damage: a value, a wait or a refusal, the same for any cut", function()
        local MARKS = "+-:$*%~>|_#,(=!0123456789\r\n\0\255x"
        for seed = 1, 2000 do
            local dice = new_dice(seed)
            local bytes = random_reply(dice, 0)
            for _ = 1, dice(4) do
                local at, mark = dice(#bytes), dice(#MARKS)
                bytes = bytes:sub(1, at - 1) .. MARKS:sub(mark, mark) .. bytes:sub(at + dice(2))
            end
            if #bytes > 0 then
                local once = read(bytes, whole)
                local cut = read(bytes, each)
                -- a refusal may come before or after the replies in front of it are handed out
                if not once:find("^failed") or not cut:find("^failed") then assert.equal(once, cut) end
            end
        end
    end)

    it("writes commands, and refuses what is neither text nor number", function()
        assert.equal("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n12\r\n",
            resp.command(3, { "SET", "k", 12 }))
        assert.equal("*2\r\n$1\r\nX\r\n$3\r\n0.5\r\n", resp.command(2, { "X", 0.5 }))
        assert.equal("*2\r\n$1\r\nX\r\n$4\r\n\r\n\0\255\r\n", resp.command(2, { "X", "\r\n\0\255" }))
        assert.same({ nil, 2 }, { resp.command(2, { "GET", true }) })
        assert.same({ nil, 2 }, { resp.command(3, { "GET", nil, "x" }) })
    end)
end)
