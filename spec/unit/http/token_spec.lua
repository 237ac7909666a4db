-- SPDX-License-Identifier: MIT
--
-- token: every row of token.tbl is found, and nothing else is.

local c = require("spec.support.c")
local tokens = require("tools.tokens")

local ffi = c.ffi
local C = c.load { "http/h1_parse.h", "http/token.h" }
local TABLE = "runtime/http/token.tbl"
local HEADERS, METHODS = tokens.rows(TABLE, "F"), tokens.rows(TABLE, "M")

local arena = ffi.new("struct rp_arena")
C.rp_arena_init(arena, nil, 0, 64 * 1024)
local limits = ffi.new("struct rp_h1_limits", { 16384, 8192, 100 })
local fields = ffi.new("struct rp_field[4]")
local VALUES = { ["content-length"] = "1", ["transfer-encoding"] = "chunked" } -- else any will do

-- The id that the parser finds in a head, 0 where it finds no field of that name.
local function header_in_head(name, rest)
    local msg = ffi.new("struct rp_msg")
    local text = ("HTTP/1.1 200 OK\r\n%s: %s\r\n%s\r\n"):format(name,
        VALUES[name:lower()] or "v", rest)
    local bytes = ffi.new("char[?]", #text + 1, text)
    C.rp_msg_init(msg, fields, 4, 4)
    local e = C.rp_h1_parse_response(bytes, #text, limits, C.RP_M_GET, arena, msg)
    if e ~= 0 or msg.fields[0].name_n ~= #name then return 0 end
    return msg.fields[0].id
end

-- Both ways to ask: for the name alone, and as a field of a head, with and without bytes behind it.
local function header(name)
    local id = C.rp_token_header(name, #name)
    for _, rest in ipairs { "", "X-Other: some value\r\n" } do
        assert.equal(id, header_in_head(name, rest), ("%q"):format(name))
    end
    return id
end

local function method(name)
    return C.rp_token_method(name, #name)
end

-- One letter in `n` upper case, chosen by a step that is no multiple of small numbers.
local function mixed_case(s)
    return (s:gsub("()(%a)", function(at, ch) return at * 7 % 3 == 0 and ch:upper() or ch end))
end

describe("token", function()
    it("has a hash that belongs to the table", function()
        local file = assert(io.open("runtime/http/token_hash.h"))
        local text = file:read("*a")
        file:close()
        assert.equal(tokens.generate(TABLE), text)
    end)

    it("finds every known field name in any case", function()
        assert.is_true(#HEADERS > 50)
        for id, name in ipairs(HEADERS) do
            assert.equal(id, header(name), name)
            assert.equal(id, header(name:upper()), name)
            assert.equal(id, header(mixed_case(name)), name)
            assert.equal(name, c.lua(C.rp_token_header_name(id)))
        end
    end)

    it("takes no name with one byte changed for a known one", function()
        local known = {}
        for _, name in ipairs(HEADERS) do
            known[name] = true
        end
        for _, name in ipairs(HEADERS) do
            for at = 1, #name do
                local byte = name:byte(at)
                for _, flip in ipairs { 1, 2, 4, 8, 16, 64, 128 } do
                    local near = name:sub(1, at - 1) .. string.char(bit.bxor(byte, flip))
                        .. name:sub(at + 1)
                    if not known[near:lower()] then
                        assert.equal(0, header(near), ("%q"):format(near))
                    end
                end
                -- the case bit turns only letters into letters
                if not string.char(byte):match("%a") then
                    local near = name:sub(1, at - 1) .. string.char(bit.bxor(byte, 32))
                        .. name:sub(at + 1)
                    assert.equal(0, header(near), ("%q"):format(near))
                end
            end
        end
    end)

    it("takes no longer or shorter name for a known one", function()
        for _, name in ipairs(HEADERS) do
            for _, near in ipairs { name .. "s", name .. "\0", "x" .. name, name:sub(2), " "
                .. name } do
                local is_row = false
                for _, other in ipairs(HEADERS) do
                    is_row = is_row or other == near
                end
                if not is_row then assert.equal(0, header(near), near) end
            end
        end
    end)

    it("knows no name of unusual length", function()
        for n = 0, 70 do
            assert.equal(0, header(("z"):rep(n)))
            assert.equal(0, method(("Z"):rep(n)))
        end
    end)

    it("finds methods, case-sensitively", function()
        for id, name in ipairs(METHODS) do
            assert.equal(id, method(name))
            assert.equal(name, c.lua(C.rp_token_method_name(id)))
            assert.equal(0, method(name:lower()), name:lower())
            assert.equal(0, method(name .. "X"))
            assert.equal(0, method(name:sub(1, -2)))
        end
    end)

    it("has no names for ids outside the tables", function()
        for _, id in ipairs { 0, #HEADERS + 1, 65535 } do
            assert.is_nil(c.lua(C.rp_token_header_name(id)))
            assert.is_false(C.rp_token_header_is_hop(id))
            assert.is_false(C.rp_token_header_is_single(id))
        end
        for _, id in ipairs { 0, #METHODS + 1, 255 } do
            assert.is_nil(c.lua(C.rp_token_method_name(id)))
            assert.is_false(C.rp_token_method_is_safe(id))
            assert.is_false(C.rp_token_method_is_idempotent(id))
        end
    end)

    it("knows the hop-by-hop fields", function()
        for _, name in ipairs { "connection", "te", "transfer-encoding", "upgrade",
            "keep-alive" } do
            assert.is_true(C.rp_token_header_is_hop(header(name)), name)
        end
        for _, name in ipairs { "host", "content-length", "cookie", "trailer", "expect" } do
            assert.is_false(C.rp_token_header_is_hop(header(name)), name)
        end
        assert.is_true(C.rp_token_header_is_single(header("content-length")))
        assert.is_false(C.rp_token_header_is_single(header("cookie")))
    end)

    it("knows safe and idempotent methods", function()
        local want = { GET = "si", HEAD = "si", OPTIONS = "si", TRACE = "si", PUT = "i",
            DELETE = "i", POST = "", PATCH = "", CONNECT = "", LOCK = "" }
        for name, flags in pairs(want) do
            local id = method(name)
            assert.equal(flags:find("s") ~= nil, C.rp_token_method_is_safe(id), name)
            assert.equal(flags:find("i") ~= nil, C.rp_token_method_is_idempotent(id), name)
        end
    end)
end)
