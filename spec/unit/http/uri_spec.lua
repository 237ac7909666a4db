-- SPDX-License-Identifier: MIT
--
-- uri: request targets, authorities, normal paths, query arguments.

local c = require("spec.support.c")

local ffi = c.ffi
local C = c.load { "http/uri.h", "http/token.h" }

local arena = ffi.new("struct rp_arena")
C.rp_arena_init(arena, nil, 0, 1024 * 1024)

local FORMS = { [0] = "origin", "absolute", "authority", "asterisk" }

local function parse(target, method)
    local uri = ffi.new("struct rp_uri")
    local view = c.str(target)
    local e = C.rp_uri_parse_target(view, C["RP_M_" .. (method or "GET")], uri)
    if e ~= 0 then return nil, c.err_name(e) end
    return {
        form = FORMS[uri.form],
        scheme = c.lua(uri.scheme),
        authority = c.lua(uri.authority),
        host = c.lua(uri.host),
        port = uri.port,
        raw_path = c.lua(uri.raw_path),
        path = c.lua(uri.path),
        query = c.lua(uri.query),
        has_query = uri.has_query,
    }
end

local function normal(path)
    C.rp_arena_reset(arena)
    local view, out = c.str(path), ffi.new("rp_str")
    local e = C.rp_uri_normalize(arena, view, out)
    if e ~= 0 then return nil, c.err_name(e) end
    return c.lua(out), out.ptr == view.ptr
end

describe("uri targets", function()
    it("splits origin-form", function()
        local rows = {
            { "/", "/" },
            { "/a/b.html", "/a/b.html" },
            { "/a?b", "/a", "b" },
            { "/?", "/", "" },
            { "/a?b?c/d", "/a", "b?c/d" },
            { "//evil.example/x", "//evil.example/x" },
            { "/a:b@c;d=e,f", "/a:b@c;d=e,f" },
            { "/%zz", "/%zz" }, -- normalising refuses it
            { "/a|b^c`d{e}[f]", "/a|b^c`d{e}[f]" },
            { "/?a|b^c`d{e}[f]\\g%", "/", "a|b^c`d{e}[f]\\g%" },
            { "/" .. ("x"):rep(100) .. "?" .. ("y"):rep(100), "/" .. ("x"):rep(100),
            ("y"):rep(100) },
        }
        for _, row in ipairs(rows) do
            local uri = assert(parse(row[1]))
            assert.equal("origin", uri.form)
            assert.equal(row[2], uri.raw_path)
            assert.equal(row[2], uri.path)
            assert.equal(row[3], uri.query)
            assert.equal(row[3] ~= nil, uri.has_query)
            assert.is_nil(uri.host)
            assert.equal(0, uri.port)
        end
    end)

    it("refuses bytes that have no place in a target, wherever they stand", function()
        local bad = { "\0", "\t", "\n", "\r", " ", "\127", "\128", "\255", "\"", "#", "<", ">" }
        for _, ch in ipairs(bad) do
            for n = 0, 34 do -- in and behind the 16-byte blocks
                local before = "/" .. ("a"):rep(n)
                assert.is_nil((parse(before .. ch)))
                assert.is_nil((parse(before .. ch .. "bcdefghijklmnopqrstuvwxyz")))
                assert.is_nil((parse("/?" .. before .. ch .. "bcdefghijklmnopqrstuvwxyz")))
                assert.is_nil((parse("http://h" .. before .. ch)))
            end
        end
        assert.is_nil((parse("/a\\b")))
        assert.is_nil((parse("/aaaaaaaaaaaaaaaaaaaaa\\bbbbbbbbbbbbbbbbbbbbbbbbb")))
    end)

    it("splits absolute-form", function()
        local rows = {
            { "http://h", "http", "h", "h", 0, "/" },
            { "http://h/", "http", "h", "h", 0, "/" },
            { "HTTP://h:80/a?b", "HTTP", "h:80", "h", 80, "/a", "b" },
            { "https://[::1]:8443/x", "https", "[::1]:8443", "[::1]", 8443, "/x" },
            { "http://h?q", "http", "h", "h", 0, "/", "q" },
            { "http://h:/a", "http", "h:", "h", 0, "/a" },
        }
        for _, row in ipairs(rows) do
            local uri = assert(parse(row[1]))
            assert.same({ "absolute", row[2], row[3], row[4], row[5], row[6], row[7] },
                { uri.form, uri.scheme, uri.authority, uri.host, uri.port, uri.path, uri.query })
        end
    end)

    it("refuses other absolute forms", function()
        local rows = { "ftp://h/", "http:/h", "http://", "http:///x", "http://?q", "http://u@h/",
            "http://u:p@h/", "http://h#f", "http://h/a#f", "h/a", "a", "", "http//h", "*x", "?a",
            "http://h:99999/", "http://h:0/", "http://h:x/", "http://[::1/", "http://h\\x/",
            "javascript:alert(1)", "http://h%2f/", "httpx://h/", "https//h/" }
        for _, target in ipairs(rows) do
            assert.is_nil((parse(target)), target)
        end
    end)

    it("takes the asterisk for OPTIONS alone", function()
        assert.equal("asterisk", parse("*", "OPTIONS").form)
        assert.equal("*", parse("*", "OPTIONS").path)
        assert.same({ nil, "H1_TARGET" }, { parse("*", "GET") })
        local uri = parse("http://h:81", "OPTIONS")
        assert.same({ "asterisk", "*", "h", 81 }, { uri.form, uri.path, uri.host, uri.port })
        assert.equal("absolute", parse("http://h/", "OPTIONS").form)
        assert.equal("absolute", parse("http://h?", "OPTIONS").form)
    end)

    it("takes authority-form with a port for CONNECT, and nothing else", function()
        local uri = parse("h.example:443", "CONNECT")
        assert.same({ "authority", "h.example", 443, "" },
            { uri.form, uri.host, uri.port, uri.path })
        assert.equal("[2001:db8::1]", parse("[2001:db8::1]:443", "CONNECT").host)
        for _, target in ipairs { "h", "h:", "h:0", "/", "*", "http://h:80/", "u@h:443",
            "h:443/" } do
            assert.is_nil((parse(target, "CONNECT")), target)
        end
        assert.is_nil((parse("h:443", "GET")))
    end)
end)

describe("uri authorities", function()
    local function authority(s)
        local host, port = ffi.new("rp_str"), ffi.new("uint16_t[1]")
        local view = c.str(s)
        local e = C.rp_uri_parse_authority(view, host, port)
        if e ~= 0 then return nil, c.err_name(e) end
        return c.lua(host), port[0]
    end

    it("splits host and port", function()
        local rows = {
            { "a", "a", 0 }, { "a:1", "a", 1 }, { "a:", "a", 0 },
            { "a.b-c_d~e:65535", "a.b-c_d~e", 65535 },
            { "1.2.3.4:80", "1.2.3.4", 80 }, { "example.com.", "example.com.", 0 },
            { "A.B:00080", "A.B", 80 }, { "[::1]", "[::1]", 0 }, { "[::1]:8080", "[::1]", 8080 },
            { ("a"):rep(255), ("a"):rep(255), 0 },
            { "xn--bcher-kva.example", "xn--bcher-kva.example", 0 },
        }
        for _, row in ipairs(rows) do
            assert.same({ row[2], row[3] }, { authority(row[1]) })
        end
    end)

    it("refuses malformed ones", function()
        local rows = { "", ":", ":80", "a:b", "a:65536", "a:100000", "a:0", "a:-1", "a:+1", "a: 1",
            "a:80:80", "u@a", "u:p@a", "a/b", "a b", "a,b", "a..b", ".a", ".", "..", "a%41", "a\0b",
            "a;b", "a'b", "a$b", "[::1", "::1", "[]", "[::1]x", "[::1]80", "[v1.x]",
            "[fe80::1%25eth0]", "[fe80::1%eth0]", "[g::1]", "[1.2.3.4]", "\255", "a\tb", "a?b",
            "a#b", "[", "]", ("a"):rep(256), "a\\b", "[::1]:x" }
        for _, s in ipairs(rows) do
            assert.same({ nil, "H1_HOST" }, { authority(s) }, s)
        end
    end)

    it("knows the forms of IPv6", function()
        local good = { "::", "::1", "1::", "1:2:3:4:5:6:7:8", "1::8", "1:2:3:4:5:6:7::",
            "::2:3:4:5:6:7:8", "::ffff:1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "64:ff9b::192.0.2.33",
            "ABCD:ef01::", "::1.2.3.4", "1::3:4:5:6:7:8" }
        for _, ip in ipairs(good) do
            assert.equal("[" .. ip .. "]", (authority("[" .. ip .. "]")), ip)
        end
        local bad = { ":", ":::", "1:", ":1", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3",
            "12345::", "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8", "::1.2.3", "::1.2.3.4.5",
            "::1.2.3.256", "::01.2.3.4", "1.2.3.4::", "1:2:3:4:5:6:7:1.2.3.4", "::1.2.3.4:5",
            "::1.", "::.1", "1:::2", "1:2:3:4:5:6:7:" }
        for _, ip in ipairs(bad) do
            assert.is_nil((authority("[" .. ip .. "]")), ip)
        end
    end)
end)

describe("uri normal form", function()
    it("is the input itself when nothing is to be done", function()
        for _, path in ipairs { "/", "/a", "/a/b/c", "/a.b", "/a./b", "/a../b", "/~a-b_c", "/a;b=c",
            "", "*", "/" .. ("abc/"):rep(40), "/a:@!$&'()*+,;=", "/0123456789abcde/x",
            "/0123456789abcd/x" } do
            local got, same = normal(path)
            assert.equal(path, got)
            assert.is_true(same, path)
        end
    end)

    it("folds spellings into one", function()
        local rows = {
            ["/%61"] = "/a", ["/%7Ea"] = "/~a", ["/%7ea"] = "/~a", ["/a%2db"] = "/a-b",
            ["/%2f"] = "/%2F", ["/a%2Fb"] = "/a%2Fb", ["/%5c"] = "/%5C", ["/%c3%a9"] = "/%C3%A9",
            ["/a%20b"] = "/a%20b", ["/%25"] = "/%25", ["/%2561"] = "/%2561", ["/%3f"] = "/%3F",
            ["/%0d%0a"] = "/%0D%0A", ["/%7f"] = "/%7F", ["/%E9"] = "/%E9", ["/%C0"] = "/%C0",
            ["/%C0/%AF"] = "/%C0/%AF", ["/%C0%41"] = "/%C0A",
            ["/|"] = "/%7C", ["/^"] = "/%5E", ["/`"] = "/%60", ["/{}"] = "/%7B%7D",
            ["/[]"] = "/%5B%5D",
            ["//"] = "/", ["///"] = "/", ["//a//b//"] = "/a/b/", ["/a/"] = "/a/",
            ["/."] = "/", ["/./"] = "/", ["/a/."] = "/a/", ["/a/./b"] = "/a/b", ["/./a"] = "/a",
            ["/a/.."] = "/", ["/a/../"] = "/", ["/a/b/.."] = "/a/", ["/a/b/../c"] = "/a/c",
            ["/a/b/../../c"] = "/c", ["/a/b/../.."] = "/", ["/a//../b"] = "/b",
            ["/a/b/..//c"] = "/a/c",
            ["/%2e"] = "/", ["/a/%2e%2e"] = "/", ["/a/%2E./b"] = "/b", ["/a/.%2e/b"] = "/b",
            ["/a/%2e/b"] = "/a/b", ["/..."] = "/...", ["/.a"] = "/.a", ["/..a"] = "/..a",
            ["/a/..b/"] = "/a/..b/",
            ["/.well-known/x"] = "/.well-known/x", ["/a/....//"] = "/a/..../", ["/a.."] = "/a..",
            ["/%2e%2e%2e"] = "/...", ["/a;.."] = "/a;..", ["/;/.."] = "/",
            ["/0123456789abcdef0123456789/../x"] = "/x",
            ["/0123456789abcd//x"] = "/0123456789abcd/x",
            ["/0123456789abc//x"] = "/0123456789abc/x",
        }
        for raw, want in pairs(rows) do
            local got, err = normal(raw)
            assert.equal(want, got, raw .. " " .. tostring(err))
            assert.equal(want, (normal(want)), "not stable: " .. raw)
        end
    end)

    it("refuses what can be read in two ways", function()
        for _, raw in ipairs { "/%", "/%4", "/%zz", "/%4g", "/%g4", "/a%", "/%00", "/a%00b", "/..",
            "/../", "/../a", "/a/../..", "/a/../../b", "/%2e%2e", "/%2e%2e/a", "/./..", "//..",
            "/a/../../a/..", "/%c0%af", "/%C1%9C", "/%e0%80%af", "/%E0%9F%BF", "/%f0%80%80%af",
            "/%F0%8F%BF%BF", "/a/..;/b", "/a/..;x=y", "/.;/a", "/a/%2e%2e;/b", "/a/.%2e;", "a",
            "a/b", "?", "/a?b", "/a b", "/a\\b", "/a\0b", "/a\255", "/a#b", "/a\"b", "/a<b",
            "**" } do
            local got, err = normal(raw)
            assert.is_nil(got, raw)
            assert.equal("H1_TARGET", err, raw)
        end
    end)

    it("accepts UTF-8 that is not overlong", function()
        for _, raw in ipairs { "/%C2%80", "/%E0%A0%80", "/%F0%90%80%80", "/%F0%9F%98%80",
            "/%ED%9F%BF" } do
            assert.equal(raw, (normal(raw)))
        end
    end)

    it("gives up at the arena's cap, not behind it", function()
        local small = ffi.new("struct rp_arena")
        C.rp_arena_init(small, nil, 0, 64)
        local view, out = c.str("/" .. ("%41"):rep(1000)), ffi.new("rp_str")
        assert.equal("CAP", c.err_name(C.rp_uri_normalize(small, view, out)))
        C.rp_arena_reset(small)
    end)
end)

describe("uri query arguments", function()
    local function args(query)
        local rest, name, value = c.str(query), ffi.new("rp_str"), ffi.new("rp_str")
        local anchor = rest -- `rest` is advanced in place; its bytes belong to `query`
        local out = {}
        while C.rp_uri_arg_next(rest, name, value) do
            out[#out + 1] = c.lua(name) .. "|" .. c.lua(value)
        end
        return table.concat(out, " "), anchor
    end

    it("walks name=value pairs", function()
        local rows = { [""] = "", ["a"] = "a|", ["a="] = "a|", ["a=b"] = "a|b", ["=b"] = "|b",
            ["a=b=c"] = "a|b=c", ["a=1&b=2"] = "a|1 b|2", ["&&a&&b&"] = "a| b|", ["&"] = "",
            ["="] = "|", ["a+b=%20"] = "a+b|%20", ["a;b"] = "a;b|" }
        for query, want in pairs(rows) do
            assert.equal(want, (args(query)), query)
        end
    end)

    local function decode(s, plus)
        C.rp_arena_reset(arena)
        local view = c.str(s)
        local out = C.rp_uri_decode(arena, view, plus)
        return c.lua(out), out.ptr == view.ptr
    end

    it("decodes escapes and leaves malformed ones", function()
        assert.equal("a b", (decode("a%20b", false)))
        assert.equal("a+b", (decode("a+b", false)))
        assert.equal("a b", (decode("a+b", true)))
        assert.equal("a+b", (decode("a%2Bb", true)))
        assert.equal("\0\255", (decode("%00%fF", false)))
        assert.equal("%", (decode("%", true)))
        assert.equal("%4", (decode("%4", true)))
        assert.equal("%zz%", (decode("%zz%", true)))
        assert.equal("%41", (decode("%2541", true)))
        assert.same({ "plain", true }, { decode("plain", true) })
        assert.same({ "a+b", true }, { decode("a+b", false) })
        assert.same({ "", true }, { decode("", true) })
    end)
end)
