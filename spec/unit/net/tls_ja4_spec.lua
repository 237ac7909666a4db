-- SPDX-License-Identifier: MIT
--
-- tls_ja4: the fingerprint of ClientHellos, against the examples of its public description and against
-- the same computed here from the description alone (digests by the openssl program).

local c = require("spec.support.c")
local ffi = c.ffi
local hello = require("spec.support.tls_hello")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")

local C = c.load { "net/tls_ja4.h" }
local MOST = 16 * 1024

local function parse(bytes)
    local keep = { h = ffi.new("struct rp_tls_hello"), body = ffi.new("char[?]", MOST) }
    C.rp_tls_hello_init(keep.h, keep.body)
    assert.equal("OK", c.err_name(C.rp_tls_hello_feed(keep.h, c.str(bytes))))
    return keep
end

local function ja4(bytes)
    local keep, out = parse(bytes), ffi.new("char[36]")
    C.rp_tls_ja4_put(keep.h, out)
    return ffi.string(out, 36)
end

local function codes(text)
    return (text:gsub("%x%x%x%x,?", function(code)
        return string.char(tonumber(code:sub(1, 2), 16), tonumber(code:sub(3, 4), 16))
    end))
end

local function u8(s) return string.char(#s) .. s end
local function u16(s) return hello.u16(#s) .. s end

-- Extensions by their hex types, in order; those that have to be well-formed are.
local function extensions(types, what)
    local out = {}
    for type in types:gmatch("%x%x%x%x") do
        local number = tonumber(type, 16)
        local data = ""
        if number == 0 then data = u16("\0" .. u16(what.sni or "a.example")) end
        if number == 16 then
            local list = {}
            for i, name in ipairs(what.alpn or { "h2", "http/1.1" }) do list[i] = u8(name) end
            data = u16(table.concat(list))
        end
        if number == 43 then data = u8(codes(what.versions or "0304,0303")) end
        if number == 13 then data = u16(codes(what.sigalgs)) end
        out[#out + 1] = hello.u16(number) .. u16(data)
    end
    return table.concat(out)
end

-- A whole ClientHello in one record.
local function make(what)
    local body = (what.version or "\3\3") .. ("r"):rep(32) .. "\0" .. u16(codes(what.ciphers))
        .. "\1\0"
    if what.extensions then body = body .. u16(extensions(what.extensions, what)) end
    local message = "\1\0" .. u16(body)
    return "\22\3\1" .. u16(message)
end

local function sha(text)
    local dir = proc.temp_dir()
    posix.write_file(dir .. "/text", text)
    local p = io.popen("env -u LD_PRELOAD openssl dgst -sha256 -r '" .. dir .. "/text'")
    local out = p:read("*a")
    p:close()
    return out:sub(1, 12)
end

local CIPHERS = "1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035"
local EXTENSIONS = "001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015"
local SIGALGS = "0403,0804,0401,0503,0805,0501,0806,0601"

describe("JA4", function()
    lazy_teardown(proc.cleanup)

    it("is that of the example in its description", function()
        assert.equal("t13d1516h2_8daaf6152771_e5627efa2ab1", ja4(make { ciphers = CIPHERS,
            extensions = EXTENSIONS, sigalgs = SIGALGS }))
    end)

    it("does not see reserved numbers, wherever they stand", function()
        assert.equal("t13d1516h2_8daaf6152771_e5627efa2ab1", ja4(make {
            ciphers = "0a0a," .. CIPHERS .. ",fafa", extensions = "8a8a," .. EXTENSIONS .. ",1a1a",
            sigalgs = "2a2a," .. SIGALGS, versions = "dada,0304,0303" }))
    end)

    it("does not depend on the order of ciphers and extensions, but on that of algorithms", function()
        local function turned(list)
            local out = {}
            for code in list:gmatch("%x+") do table.insert(out, 1, code) end
            return table.concat(out, ",")
        end
        local same = ja4(make { ciphers = turned(CIPHERS), extensions = turned(EXTENSIONS),
            sigalgs = SIGALGS })
        assert.equal("t13d1516h2_8daaf6152771_e5627efa2ab1", same)
        assert.not_equal(same, ja4(make { ciphers = CIPHERS, extensions = EXTENSIONS,
            sigalgs = turned(SIGALGS) }))
    end)

    it("ends its list of extensions where there are no algorithms", function()
        local without = EXTENSIONS:gsub("000d,", "")
        local sorted = "0005,000a,000b,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01"
        assert.equal("t13d1515h2_8daaf6152771_" .. sha(sorted),
            ja4(make { ciphers = CIPHERS, extensions = without }))
    end)

    it("has zeros for lists that are empty", function()
        assert.equal("t12i010000_" .. sha("002f") .. "_000000000000", ja4(make { ciphers = "002f" }))
        assert.equal("t12d0102h2_" .. sha("002f") .. "_000000000000", ja4(make { ciphers = "002f",
            extensions = "0000,0010" }))
        assert.equal("t12i000000_000000000000_000000000000", ja4(make { ciphers = "0a0a" }))
    end)

    it("tells the newest version, or else the one of before TLS 1.3", function()
        for versions, name in pairs { ["0303,0304"] = "13", ["0303,0302"] = "12", ["0302"] = "11",
            ["0301"] = "10", ["0a0a,0303"] = "12", ["7f1c"] = "00", ["0a0a"] = "00" } do
            local made = make { ciphers = "1301", extensions = "002b", versions = versions }
            assert.equal(name, ja4(made):sub(2, 3), versions)
        end
        for version, name in pairs { ["\3\3"] = "12", ["\3\2"] = "11", ["\3\1"] = "10",
            ["\3\0"] = "s3" } do
            assert.equal(name, ja4(make { ciphers = "1301", version = version }):sub(2, 3))
        end
    end)

    it("has the ends of the first protocol, or of its hex form", function()
        for name, ends in pairs { h2 = "h2", ["http/1.1"] = "h1", x = "xx", ["\171"] = "ab",
            ["\171\205"] = "ad", ["\48\171"] = "3b", ["\48\49\171\205"] = "3d",
            ["\48\171\205\49"] = "01", ["h2-"] = "6d", ["\10\10"] = "0a" } do
            local made = make { ciphers = "1301", extensions = "0010", alpn = { name, "h2" } }
            assert.equal(ends, ja4(made):sub(9, 10), name)
        end
        assert.equal("00", ja4(make { ciphers = "1301", extensions = "002b" }):sub(9, 10))
    end)

    it("counts up to 99", function()
        local list = {}
        for i = 1, 150 do list[i] = ("%04x"):format(0x1300 + i) end
        local made = ja4(make { ciphers = table.concat(list, ","), extensions = "002b" })
        assert.equal("9901", made:sub(5, 8))
    end)

    it("is that of the openssl program, computed by hand from what it sends", function()
        -- What `openssl s_client -cipher .. -ciphersuites .. -sigalgs ..` sends does not depend on the
        -- release of OpenSSL as far as these lists go; extensions are read off the bytes.
        local port = posix.free_port()
        local fd = posix.C.socket(2, 1, 0)
        assert(posix.C.bind(fd, posix.inet("127.0.0.1", port), 16) == 0)
        assert(posix.C.listen(fd, 1) == 0)
        os.execute(("env -u LD_PRELOAD openssl s_client -connect 127.0.0.1:%d -servername a.test "
            .. "-alpn h2 -tls1_3 -ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384 "
            .. "-sigalgs ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256 </dev/null >/dev/null 2>&1 &")
            :format(port))
        local conn = posix.poll(function()
            local got = posix.C.accept4(fd, nil, nil, 0)
            return got >= 0 and got
        end, 20)
        local room = ffi.new("char[8192]")
        local n = posix.poll(function()
            local got = tonumber(posix.C.recv(conn, room, 8192, 0))
            return got > 0 and got
        end, 20)
        posix.C.close(conn)
        posix.C.close(fd)
        local bytes = ffi.string(room, n)
        local keep = parse(bytes)
        -- Walk the extensions here, by RFC 8446 §4.1.2.
        local at = 6 + 4 + 2 + 32
        at = at + 1 + bytes:byte(at)
        at = at + 2 + bytes:byte(at) * 256 + bytes:byte(at + 1)
        at = at + 1 + bytes:byte(at) + 2
        local types, all = {}, 0
        while at < n do
            local type = bytes:byte(at) * 256 + bytes:byte(at + 1)
            all = all + 1
            if type ~= 0 and type ~= 16 then types[#types + 1] = ("%04x"):format(type) end
            at = at + 4 + bytes:byte(at + 2) * 256 + bytes:byte(at + 3)
        end
        table.sort(types)
        local wanted = ("t13d03%02dh2_%s_%s"):format(all, sha("00ff,1301,1302"),
            sha(table.concat(types, ",") .. "_0403,0804"))
        if keep.h.ciphers.len == 4 then
            wanted = ("t13d02%02dh2_%s_%s"):format(all, sha("1301,1302"),
                sha(table.concat(types, ",") .. "_0403,0804"))
        end
        assert.equal(wanted, ja4(bytes))
    end)
end)
