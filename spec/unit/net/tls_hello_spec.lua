-- SPDX-License-Identifier: MIT
--
-- tls_hello: what is read of a ClientHello, and what is no ClientHello.

local c = require("spec.support.c")
local ffi = c.ffi
local hello = require("spec.support.tls_hello")

local C = c.load { "net/tls_hello.h" }
local MOST = 16 * 1024

-- Feed in pieces of n bytes; result name, and what was found.
local function parse(bytes, n)
    local keep = { h = ffi.new("struct rp_tls_hello"), body = ffi.new("char[?]", MOST) }
    C.rp_tls_hello_init(keep.h, keep.body)
    local e = 1
    for i = 1, #bytes, n or #bytes do
        if e ~= 1 then break end
        e = C.rp_tls_hello_feed(keep.h, c.str(bytes:sub(i, i + (n or #bytes) - 1)))
    end
    local names, rest, name = {}, ffi.new("rp_str[1]", { keep.h.alpn }), ffi.new("rp_str[1]")
    while C.rp_tls_hello_alpn_next(rest, name) do names[#names + 1] = c.lua(name[0]) end
    return c.err_name(e), c.lua(keep.h.sni), names, keep
end

local function refused(what) return (parse(hello.make(what))) end

describe("a ClientHello", function()
    it("tells its server name, in lower case, and its protocols in order", function()
        local result, sni, alpn = parse(hello.make { sni = "API.Example.com",
            alpn = { "h2", "http/1.1" } })
        assert.equal("OK", result)
        assert.equal("api.example.com", sni)
        assert.same({ "h2", "http/1.1" }, alpn)
    end)

    it("is the same however reads and records cut it", function()
        for _, record in ipairs { 1, 2, 7, 100, 16384 } do
            local bytes = hello.make { sni = "a.example", alpn = { "h2" }, record = record }
            for _, piece in ipairs { 1, 3, 64, #bytes } do
                local result, sni, alpn = parse(bytes, piece)
                assert.equal("OK", result)
                assert.equal("a.example", sni)
                assert.same({ "h2" }, alpn)
            end
        end
    end)

    it("is not whole before its last byte, at any cut", function()
        local bytes = hello.make { sni = "a.example", alpn = { "h2" }, record = 50 }
        for n = 0, #bytes - 1 do
            assert.equal("AGAIN", (parse(n > 0 and bytes:sub(1, n) or "x" and "", 1)))
        end
    end)

    it("may have no server name, no protocols, and no extensions at all", function()
        for _, what in ipairs { { }, { bare = true }, { alpn = { "h2" } } } do
            local result, sni = parse(hello.make(what))
            assert.equal("OK", result)
            assert.is_nil(sni)
        end
        local result, sni, alpn = parse(hello.make { sni = "a" })
        assert.same({ "OK", "a", {} }, { result, sni, alpn })
    end)

    it("may be followed by more", function()
        local result, sni = parse(hello.make { sni = "a.example" } .. ("x"):rep(100))
        assert.same({ "OK", "a.example" }, { result, sni })
    end)

    it("is that of an old version too", function()
        assert.equal("OK", (parse(hello.make { sni = "a.example", version = "\3\0" })))
        assert.equal("TLS_HELLO", refused { version = "\2\0" })
        assert.equal("TLS_HELLO", refused { version = "\4\3" })
    end)

    it("with a server name that is none is refused", function()
        for _, name in ipairs { "", ".", "a.", ".a", "a..b", "a b", "a\0b", "a/b", "a:443", "\195\164",
            ("x"):rep(64), ("x."):rep(127) .. "xy" } do
            assert.equal("TLS_HELLO", refused { sni = name })
        end
        assert.equal("OK", refused { sni = ("x"):rep(63) })
        assert.equal("OK", refused { sni = ("x."):rep(127) .. "x" })
        assert.equal("OK", refused { sni = "_acme-1.Example" })
    end)

    it("with two server names, an unknown type of name or bytes behind it is refused", function()
        local one = hello.sni("a.example")
        assert.equal("OK", refused { extensions = { one } })
        assert.equal("TLS_HELLO", refused { extensions = { one, one } })
        local u16 = hello.u16
        local entry = "\0" .. u16(1) .. "a"
        assert.equal("TLS_HELLO", refused { extensions = {
            hello.extension(0, u16(#entry * 2) .. entry .. entry) } })
        assert.equal("TLS_HELLO", refused { extensions = { hello.extension(0, u16(4) .. "\1\0\1a") } })
        assert.equal("TLS_HELLO", refused { extensions = {
            hello.extension(0, u16(#entry) .. entry .. "x") } })
        assert.equal("TLS_HELLO", refused { extensions = { hello.extension(0, "") } })
        assert.equal("TLS_HELLO", refused { extensions = { hello.extension(0, u16(200) .. entry) } })
    end)

    it("with protocols that are no list is refused", function()
        local two = hello.alpn { "h2" }
        assert.equal("TLS_HELLO", refused { extensions = { two, two } })
        assert.equal("TLS_HELLO", refused { alpn = {} })
        assert.equal("TLS_HELLO", refused { alpn = { "" } })
        assert.equal("TLS_HELLO", refused { extensions = { hello.extension(16, hello.u16(3) .. "\3h2") } })
    end)

    -- Numbers of a list, and types of extensions, as they are walked.
    local function walk(fn, list)
        local rest, one, out = ffi.new("rp_str[1]", { list }), ffi.new("uint16_t[1]"), {}
        while C[fn](rest, one) do out[#out + 1] = one[0] end
        return out
    end

    it("tells its lists of numbers, without those that mean nothing", function()
        local _, _, _, keep = parse(hello.make { sni = "a", ciphers = "\10\10\19\1\0\255\26\26",
            extensions = { hello.extension(0x3a3a, "x"), hello.extension(13, "\0\4\4\3\42\42") } })
        assert.same({ 0x1301, 0x00ff }, walk("rp_tls_hello_code_next", keep.h.ciphers))
        assert.same({ 0x0304 }, walk("rp_tls_hello_code_next", keep.h.versions))
        assert.same({ 0x0403 }, walk("rp_tls_hello_code_next", keep.h.sigalgs))
        assert.same({ 43, 0, 13 }, walk("rp_tls_hello_extension_next", keep.h.extensions))
        assert.equal(0x0303, keep.h.version)
        local _, _, _, bare = parse(hello.make { bare = true, version = "\3\1" })
        assert.same({}, walk("rp_tls_hello_extension_next", bare.h.extensions))
        assert.is_true(bare.h.versions.ptr == nil and bare.h.sigalgs.ptr == nil)
        assert.equal(0x0301, bare.h.version)
    end)

    it("with lists of numbers that are none is refused", function()
        for _, data in ipairs { "", "\0", "\0\0", "\0\1\4", "\0\3\4\3\5", "\0\2\4\3x", "\0\4\4\3" } do
            assert.equal("TLS_HELLO", refused { extensions = { hello.extension(13, data) } })
        end
        assert.equal("TLS_HELLO", refused { extensions = { hello.extension(43, "\2\3\4") } })
    end)

    it("is read without its records, too", function()
        local function take(bytes)
            local keep = { h = ffi.new("struct rp_tls_hello"), body = ffi.new("char[?]", #bytes) }
            C.rp_tls_hello_init(keep.h, keep.body)
            return c.err_name(C.rp_tls_hello_take(keep.h, c.str(bytes))), c.lua(keep.h.sni), keep
        end
        local message = hello.make { sni = "A.example" }:sub(6)
        local result, sni = take(message)
        assert.same({ "OK", "a.example" }, { result, sni })
        assert.equal("TLS_HELLO", (take(message:sub(1, -2))))
        assert.equal("TLS_HELLO", (take("\1\0\0")))
        assert.equal("TLS_HELLO", (take("\2" .. message:sub(2))))
        assert.equal("TLS_HELLO_BIG", (take(("x"):rep(MOST + 1))))
    end)

    it("whose inner lengths do not fit is refused", function()
        assert.equal("TLS_HELLO", refused { session = ("s"):rep(33) })
        assert.equal("TLS_HELLO", refused { ciphers = "" })
        assert.equal("TLS_HELLO", refused { ciphers = "abc" })
        assert.equal("TLS_HELLO", refused { compressions = "" })
        assert.equal("TLS_HELLO", refused { tail = "x" })
        assert.equal("TLS_HELLO", refused { extensions = { "\0\1" } })
    end)

    it("at the limit is read, above it is too big", function()
        local pad = MOST - #hello.make { sni = "a.example", extensions = { hello.extension(21, "") } }
        local at = hello.make { sni = "a.example", extensions = { hello.extension(21, ("\0"):rep(pad)) } }
        assert.equal(MOST, #at)
        assert.equal("OK", (parse(at, 1000)))
        local above = hello.make { sni = "a.example",
            extensions = { hello.extension(21, ("\0"):rep(pad + 1)) } }
        assert.equal("TLS_HELLO_BIG", (parse(above, 1000)))
        -- records cost too: a byte each makes six
        local cut = hello.make { sni = "a.example", record = 1,
            extensions = { hello.extension(21, ("\0"):rep(4000)) } }
        assert.equal("TLS_HELLO_BIG", (parse(cut, 1000)))
    end)
end)

describe("bytes that are no ClientHello", function()
    it("are refused at their first wrong byte", function()
        for _, bytes in ipairs { "GET / HTTP/1.1\r\n", "\0", "\21", "\128\46\1\3\1", "\22\2",
            "\22\3\1\0\0", "\22\3\1\255\255", "\22\3\1\0\4\2" } do
            assert.equal("TLS_HELLO", (parse(bytes)))
            assert.equal("TLS_HELLO", (parse(bytes, 1)))
        end
    end)

    it("stay refused", function()
        local _, _, _, keep = parse("GET /")
        assert.equal("TLS_HELLO", c.err_name(C.rp_tls_hello_feed(keep.h, c.str(hello.make {}))))
    end)
end)
