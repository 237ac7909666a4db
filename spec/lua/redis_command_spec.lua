-- SPDX-License-Identifier: MIT
--
-- What the Redis client knows of commands: slots, keys, what waits, what is not for all.

package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path

local command = require("rproxy.redis.command")

local function words(text)
    local list = {}
    for word in text:gmatch("%S+") do list[#list + 1] = word end
    return list, #list
end

local function key(text) return command.key(words(text)) end
local function waits(text) return command.waits(words(text)) end

describe("rproxy.redis.command", function()
    it("knows slots as the specification of Redis Cluster gives them", function()
        assert.equal(12739, command.slot("123456789"))
        assert.equal(11058, command.slot("somekey"))
        assert.equal(2515, command.slot("foo{hash_tag}"))
        assert.equal(0, command.slot(""))
    end)

    it("lets what stands in the first braces decide, unless it is nothing", function()
        assert.equal(command.slot("user1000"), command.slot("{user1000}.following"))
        assert.equal(command.slot("bar"), command.slot("foo{bar}{zap}"))
        assert.equal(command.slot("{bar"), command.slot("foo{{bar}}zap"))
        assert.are_not.equal(command.slot(""), command.slot("foo{}{bar}"))
        assert.are_not.equal(command.slot("bar"), command.slot("foo{bar"))
        assert.are_not.equal(command.slot("bar"), command.slot("}foo{bar"))
    end)

    it("finds the first key", function()
        for text, expected in pairs {
            ["GET a"] = "a", ["MSET a 1 b 2"] = "a", ["EVAL src 2 a b x"] = "a",
            ["EVALSHA digest 1 a"] = "a", ["XREAD COUNT 2 STREAMS a b 0 0"] = "a",
            ["XREADGROUP GROUP g c STREAMS a >"] = "a", ["OBJECT ENCODING a"] = "a",
            ["BITOP AND a b c"] = "a", ["ZUNION 2 a b"] = "a", ["BLMPOP 1 2 a b LEFT"] = "a",
            ["MEMORY USAGE a"] = "a", ["MIGRATE host 1 a 0 5"] = "a", ["SPUBLISH a text"] = "a",
        } do
            assert.equal(expected, key(text), text)
        end
        for _, text in ipairs { "PING", "INFO", "DBSIZE", "PUBLISH c t", "EVAL src 0 x", "GET",
            "SCRIPT LOAD x", "EVAL src" } do
            assert.is_nil(key(text), text)
        end
        assert.equal("7", command.key({ "GET", 7 }, 2))
    end)

    it("knows what waits, and how long", function()
        assert.equal(5, waits("BLPOP a b 5"))
        assert.equal(0.5, waits("BLMOVE a b LEFT RIGHT 0.5"))
        assert.equal(3, waits("BZMPOP 3 1 a MIN"))
        assert.equal(math.huge, waits("BRPOP a 0"))
        assert.equal(1.5, waits("XREAD BLOCK 1500 STREAMS a $"))
        assert.equal(math.huge, waits("XREADGROUP GROUP g c BLOCK 0 STREAMS a >"))
        assert.equal(2, waits("WAIT 1 2000"))
        assert.is_nil(waits("XREAD STREAMS BLOCK 0"))
        assert.is_nil(waits("LPOP a"))
        assert.is_nil(waits("GET BLOCK"))
    end)

    it("refuses what changes a connection that others use", function()
        for _, text in ipairs { "SELECT 1", "MULTI", "EXEC", "WATCH a", "SUBSCRIBE c", "MONITOR",
            "AUTH x", "HELLO 3", "QUIT", "RESET", "CLIENT reply off", "CLIENT TRACKING on" } do
            assert.is_string((command.refusal(words(text))), text)
        end
        for _, text in ipairs { "GET a", "CLIENT LIST", "PUBLISH c t", "CONFIG GET x" } do
            assert.is_nil(command.refusal(words(text)), text)
        end
    end)
end)
