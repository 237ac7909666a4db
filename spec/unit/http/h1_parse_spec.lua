-- SPDX-License-Identifier: MIT
--
-- h1_parse: heads and trailers of HTTP/1, what they decide and what is refused.

local fields_of = require("spec.support.msg").fields
local c = require("spec.support.c")

local ffi = c.ffi
local C = c.load { "http/h1_parse.h", "http/token.h" }

local FRAMING = { [0] = "none", "length", "chunked", "close" }
local ROOM, MAX = 4, 200 -- few places at first: most heads here make the array grow

local arena = ffi.new("struct rp_arena")
C.rp_arena_init(arena, nil, 0, 1024 * 1024)
local limits = ffi.new("struct rp_h1_limits", { 16384, 8192, 100 })
local storage = ffi.new("struct rp_field[?]", ROOM)
local msg = ffi.new("struct rp_msg")
local buffer -- the bytes of the last message: they outlive what points into them

local function fresh()
    C.rp_arena_reset(arena)
    C.rp_msg_init(msg, storage, ROOM, MAX)
end

-- Parse a head given as bytes; facts as a table, or nil and the error's name.
local function request(head, lim)
    fresh()
    buffer = head
    local e = C.rp_h1_parse_request(head, #head, lim or limits, arena, msg)
    if e ~= 0 then return nil, c.err_name(e) end
    return {
        method = c.lua(msg.method_text), method_id = msg.method, target = c.lua(msg.target),
        version = msg.version, host = c.lua(msg.host), port = msg.port,
        path = c.lua(msg.uri.path), query = c.lua(msg.uri.query),
        framing = FRAMING[msg.framing],
        length = msg.framing == 1 and tonumber(msg.content_length) or nil,
        keepalive = msg.keepalive, expect = msg.expect_continue, upgrade = msg.upgrade,
        te = msg.te_trailers, options = msg.conn_options, fields = fields_of(msg),
    }
end

local function response(head, method, lim)
    fresh()
    buffer = ffi.new("char[?]", #head + 1, head)
    local e = C.rp_h1_parse_response(buffer, #head, lim or limits, C["RP_M_" .. (method or "GET")],
        arena, msg)
    if e ~= 0 then return nil, c.err_name(e) end
    return {
        status = msg.status, reason = c.lua(msg.reason), version = msg.version,
        framing = FRAMING[msg.framing],
        length = msg.framing == 1 and tonumber(msg.content_length) or nil,
        keepalive = msg.keepalive, upgrade = msg.upgrade, fields = fields_of(msg),
    }
end

-- A head from its lines.
local function head(...)
    return table.concat({ ... }, "\r\n") .. "\r\n\r\n"
end

-- A 1.1 request with these field lines added.
local function get(...)
    return request(head("GET / HTTP/1.1", "Host: h", ...))
end

local function post(...)
    return request(head("POST / HTTP/1.1", "Host: h", ...))
end

local function answer(...)
    return response(head("HTTP/1.1 200 OK", ...))
end

local function refused(code, req, err)
    assert.is_nil(req)
    assert.equal(code, err)
end

describe("h1 head end", function()
    -- The end found when the bytes come in two parts, and one by one.
    local function ends(bytes)
        local scanned = ffi.new("size_t[1]")
        local whole = tonumber(C.rp_h1_head_end(bytes, #bytes, scanned))
        for cut = 0, #bytes do
            scanned[0] = 0
            local first = tonumber(C.rp_h1_head_end(bytes, cut, scanned))
            if first == 0 then
                assert.is_true(scanned[0] <= cut)
                first = tonumber(C.rp_h1_head_end(bytes, #bytes, scanned))
            end
            assert.equal(whole, first, ("%q cut at %d"):format(bytes, cut))
        end
        scanned[0] = 0
        local found = 0
        for n = 1, #bytes do
            found = tonumber(C.rp_h1_head_end(bytes, n, scanned))
            if found ~= 0 then break end
        end
        assert.equal(whole, found, ("%q byte by byte"):format(bytes))
        return whole
    end

    it("is behind the first empty line", function()
        local one = head("GET / HTTP/1.1", "Host: h", "User-Agent: something longer than a block")
        assert.equal(#one, ends(one))
        assert.equal(#one, ends(one .. "body\r\n\r\nmore"))
        for pad = 0, 40 do -- the end at every place of a block
            local h = head("GET /" .. ("x"):rep(pad) .. " HTTP/1.1", "a: b\r\nc: d", "e:")
            assert.equal(#h, ends(h .. "GET / HTTP/1.1\r\n\r\n"))
        end
    end)

    it("is not there yet", function()
        for _, part in ipairs { "", "\r", "G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\n\r",
            "a\r\r\r", "a\rb\r\r", "a\r\nb\r\n", ("x"):rep(100), ("x\r\n"):rep(40),
            "a\n\rb\n\r\rc" } do
            assert.equal(0, ends(part), part)
        end
    end)

    it("may be made of bare LF, for the parser to refuse", function()
        assert.equal(3, ends("a\n\nb"))
        assert.equal(4, ends("a\r\n\nb") )
        assert.equal(4, ends("a\n\r\nb"))
        assert.equal(1, ends("\nb"))
        assert.equal(2, ends("\r\nb"))
    end)

    it("skips up to four empty lines before a request", function()
        local rows = { [""] = 0, ["\r"] = 0, ["\r\n"] = 2, ["\r\n\r\nG"] = 4, ["\n"] = 0,
            ["G\r\n"] = 0, ["\r\n\r"] = 2, [("\r\n"):rep(4)] = 8, [("\r\n"):rep(9)] = 8,
            ["\r\n\n"] = 2, ["\r\r\n"] = 0 }
        for bytes, want in pairs(rows) do
            assert.equal(want, tonumber(C.rp_h1_skip_empty_lines(bytes, #bytes)))
        end
    end)
end)

describe("h1 first bytes", function()
    it("tell a request from something else", function()
        local full = "DELETE /x HTTP/1.1"
        for n = 0, #full do
            assert.is_true(C.rp_h1_maybe_request(full, n), full:sub(1, n))
        end
        for _, bytes in ipairs { "PRI * HTTP/2.0", ("M"):rep(32), ("M"):rep(32) .. " /",
            "GET h:1" } do
            assert.is_true(C.rp_h1_maybe_request(bytes, #bytes), bytes)
        end
        for _, bytes in ipairs { "\22\3\1\2\0", "\0", "\128", " GET / ", "GET\t/", "GET  /",
            "GET \r\n", "GET\r\n", "{\"json\"", "GET \1", "GET \255", ("M"):rep(33),
            ("M"):rep(33) .. " /", "\r\nGET", "G\0", "SSH-2.0-OpenSSH(" } do
            assert.is_false(C.rp_h1_maybe_request(bytes, #bytes), bytes)
        end
    end)
end)

describe("h1 request line", function()
    it("is split into method, target and version", function()
        local req = assert(request(head("GET /a/b?c=d HTTP/1.1", "Host: example.com:8080")))
        assert.same({ "GET", "/a/b?c=d", 11, "/a/b", "c=d", "example.com", 8080 },
            { req.method, req.target, req.version, req.path, req.query, req.host, req.port })
        assert.equal(C.RP_M_GET, req.method_id)
        assert.same({ "none", true, false, false, false, false },
            { req.framing, req.keepalive, req.expect, req.upgrade, req.te, req.options })
    end)

    it("may have a method we do not know", function()
        for _, method in ipairs { "get", "BREW", "a", "!#$%&'*+-.^_`|~09AZ", ("M"):rep(32) } do
            local req = assert(request(head(method .. " / HTTP/1.1", "Host: h")))
            assert.equal(method, req.method)
            assert.equal(C.RP_M_OTHER, req.method_id)
        end
    end)

    it("is refused with a malformed method", function()
        for _, line in ipairs { " GET / HTTP/1.1", "G(T / HTTP/1.1", "G\0T / HTTP/1.1",
            "GET\t/ HTTP/1.1", "/ HTTP/1.1", ("M"):rep(33) .. " / HTTP/1.1", "GET",
            "G\195\137T / HTTP/1.1", "G:T / HTTP/1.1", "\"GET\" / HTTP/1.1", "GET\r / HTTP/1.1",
            "" } do
            refused("H1_METHOD", request(head(line, "Host: h")))
        end
    end)

    it("is refused with more or less than single spaces", function()
        refused("H1_TARGET", request(head("GET  / HTTP/1.1", "Host: h")))
        for _, line in ipairs { "GET /  HTTP/1.1", "GET / HTTP/1.1 ", "GET / a HTTP/1.1",
            "GET /\r HTTP/1.1", "GET / HTTP/1.1\t", "GET / HTTP/1.1\r", "GET / HTTP/1.1\0" } do
            refused("H1_SYNTAX", request(head(line, "Host: h")))
        end
        refused("H1_TARGET", request(head("GET /\tHTTP/1.1", "Host: h")))
        refused("H1_TARGET", request(head("GET /\t HTTP/1.1", "Host: h")))
    end)

    it("accepts any minor version of HTTP/1 and no other", function()
        assert.equal(10, request(head("GET / HTTP/1.0")).version)
        for minor = 1, 9 do
            assert.equal(11, request(head("GET / HTTP/1." .. minor, "Host: h")).version)
        end
        for _, version in ipairs { "HTTP/0.9", "HTTP/2.0", "HTTP/3.1", "HTTP/9.9", "HTTP/0.0" } do
            refused("H1_VERSION", request(head("GET / " .. version, "Host: h")))
        end
        for _, version in ipairs { "http/1.1", "Http/1.1", "HTTP/1.10", "HTTP/11", "HTTP/1,1",
            "HTTP/1.", "HTTP/1", "HTTP1.1", "HTTP/01.1", "HTTP/1.x", "HTTPS/1.1", "", "HTTP/ 1.1",
            "HTTP/1 .1", "HTTP/-1.1", "HTTP/1.1HTTP/1.1", "ICE/1.0", "HTTP/1.1," } do
            refused("H1_SYNTAX", request(head("GET / " .. version, "Host: h")))
        end
    end)

    it("is refused in the form of HTTP/0.9", function()
        refused("H1_SYNTAX", request("GET /\r\n\r\n"))
        refused("H1_SYNTAX", request("GET /\n\n"))
        refused("H1_TARGET", request("GET \r\n\r\n"))
    end)

    it("is refused with bytes a target may not have", function()
        for _, target in ipairs { "/\128", "/\195\169", "/\0", "/\127", "/#", "/<", "/\"", "/a\\b",
            "a", "http://", "*", "h:80" } do
            local req, err = request(head("GET " .. target .. " HTTP/1.1", "Host: h"))
            assert.is_nil(req, target)
            assert.is_true(err == "H1_TARGET" or err == "H1_HOST", err)
        end
    end)

    it("takes CONNECT with host and port", function()
        local req = assert(request(head("CONNECT h.example:443 HTTP/1.1", "Host: h.example:443")))
        assert.same({ "h.example", 443, "none" }, { req.host, req.port, req.framing })
        refused("H1_TARGET", request(head("CONNECT / HTTP/1.1", "Host: h")))
        refused("H1_TARGET", request(head("CONNECT h HTTP/1.1", "Host: h")))
        refused("H1_FRAMING", request(head("CONNECT h:1 HTTP/1.1", "Host: h", "Content-Length: 5")))
        refused("H1_FRAMING",
            request(head("CONNECT h:1 HTTP/1.1", "Host: h", "Transfer-Encoding: chunked")))
        assert.is_table((request(head("CONNECT h:1 HTTP/1.1", "Host: h", "Content-Length: 0"))))
    end)

    it("takes the asterisk with OPTIONS", function()
        assert.equal("*", request(head("OPTIONS * HTTP/1.1", "Host: h")).path)
        refused("H1_TARGET", request(head("GET * HTTP/1.1", "Host: h")))
    end)
end)

describe("h1 limits", function()
    it("bound the head, the target and the number of fields", function()
        local tight = ffi.new("struct rp_h1_limits", { 60, 10, 2 })
        local ok = head("GET /23456789 HTTP/1.1", "Host: h", "a: b")
        assert.is_table((request(ok, tight)))
        refused("H1_URI_LONG", request(head("GET /2345678901 HTTP/1.1", "Host: h"), tight))
        refused("H1_FIELDS_MANY", request(head("GET / HTTP/1.1", "Host: h", "a: b", "c: d"), tight))
        local exact = head("GET / HTTP/1.1", "Host: h", "a: " .. ("b"):rep(60 - 32))
        assert.equal(60, #exact)
        assert.is_table((request(exact, tight)))
        refused("H1_HEAD_BIG", request(head("GET / HTTP/1.1", "Host: h", "a: " .. ("b"):rep(29)),
            tight))
        refused("UP_HEAD_BIG", response(head("HTTP/1.1 200 OK", "a: " .. ("b"):rep(60)), "GET",
            tight))
        refused("UP_HEAD_BIG", response(head("HTTP/1.1 200 OK", "a:", "b:", "c:"), "GET", tight))
    end)

    it("bound the fields also by what the message may hold", function()
        C.rp_arena_reset(arena)
        C.rp_msg_init(msg, storage, ROOM, 1)
        local h = head("GET / HTTP/1.1", "Host: h", "a: b")
        assert.equal("H1_FIELDS_MANY",
            c.err_name(C.rp_h1_parse_request(h, #h, limits, arena, msg)))
    end)

    it("say CAP when the arena is exhausted", function()
        local small = ffi.new("struct rp_arena")
        C.rp_arena_init(small, nil, 0, 16)
        C.rp_msg_init(msg, storage, ROOM, MAX)
        local h = head("GET / HTTP/1.1", "Host: h", "a:", "b:", "c:", "d:", "e:")
        assert.equal("CAP", c.err_name(C.rp_h1_parse_request(h, #h, limits, small, msg)))
        C.rp_msg_init(msg, storage, ROOM, MAX)
        h = head("HTTP/1.1 200 OK", "a:", "b:", "c:", "d:", "e:")
        local bytes = ffi.new("char[?]", #h + 1, h)
        assert.equal("CAP", c.err_name(C.rp_h1_parse_response(bytes, #h, limits, 1, small, msg)))
        C.rp_arena_reset(small)
    end)

    it("bound a field name", function()
        assert.is_table((get(("n"):rep(256) .. ": v")))
        refused("H1_HEAD_BIG", get(("n"):rep(257) .. ": v"))
        refused("UP_HEAD_BIG", answer(("n"):rep(257) .. ": v"))
    end)

    it("bound the connection options", function()
        assert.is_table((get("Connection: " .. ("a,"):rep(32))))
        refused("H1_FIELD", get("Connection: " .. ("a,"):rep(33)))
        refused("H1_FIELD", get("Connection: " .. ("a,"):rep(20), "Connection: " .. ("b,"):rep(20)))
    end)
end)

describe("h1 fields", function()
    it("are kept in order, trimmed, as sent", function()
        local req = assert(get("A: b", "C:d", "E:  f  ", "G:\th\t \t", "I:", "J: ", "K: l m\tn",
            "A: again",
            "O: \195\169\255", "P:q:r: s", "!#$%&'*+-.^_`|~: t"))
        assert.same({ "Host: h", "A: b", "C: d", "E: f", "G: h", "I: ", "J: ", "K: l m\tn",
            "A: again",
            "O: \195\169\255", "P: q:r: s", "!#$%&'*+-.^_`|~: t" }, req.fields)
    end)

    it("get the ids of token.tbl", function()
        assert(get("CONTENT-TYPE: x", "content-typo: y"))
        assert.equal(C.RP_H_HOST, msg.fields[0].id)
        assert.equal(C.RP_H_CONTENT_TYPE, msg.fields[1].id)
        assert.equal(C.RP_H_OTHER, msg.fields[2].id)
    end)

    it("are slices of the head", function()
        assert(get("X-Some: value"))
        local base = tonumber(ffi.cast("uintptr_t", ffi.cast("const char *", buffer)))
        for i = 0, msg.fields_n - 1 do
            local f = msg.fields[i]
            local name = tonumber(ffi.cast("uintptr_t", f.name)) - base
            local value = tonumber(ffi.cast("uintptr_t", f.value)) - base
            assert.is_true(name >= 0 and value > name and value + f.value_n <= #buffer)
        end
    end)

    it("are refused with malformed names", function()
        for _, line in ipairs { "a b: c", "a : b", "a\t: b", ": b", "a", "a\0: b", "a\r: b",
            "\195\169: b", "a(b): c", "\"a\": b", "a/b: c", "a=b", "{a}: b", "a\127: b", "@: b",
            "[a]: b", "a,b: c", "a;b: c", "content-length : 5", "Transfer-Encoding\t: chunked",
            "\0Host: h", "a\194\160: b", "a?: b" } do
            refused("H1_FIELD", get(line))
            refused("H1_FIELD", get("X: y", line, "Z: z"))
            refused("UP_BAD_RESPONSE", answer(line))
        end
    end)

    it("are refused with control bytes, wherever these stand", function()
        for byte = 0, 255 do
            local bad = byte ~= 9 and (byte < 32 or byte == 127)
            local ch = string.char(byte)
            for _, n in ipairs { 0, 1, 7, 15, 16, 17, 31, 33 } do
                local lines = { "X: " .. ("v"):rep(n) .. ch .. "w",
                    "X: " .. ("v"):rep(n) .. ch .. ("w"):rep(40) }
                for _, line in ipairs(lines) do
                    if bad then
                        refused("H1_FIELD", get(line, "Tail: 1234567890123456"))
                        refused("UP_BAD_RESPONSE", answer(line, "Tail: 1234567890123456"))
                    else
                        assert.is_table((get(line)))
                        assert.is_table((answer(line)))
                    end
                end
            end
        end
    end)

    it("are refused with bare LF or bare CR as line ends", function()
        refused("H1_SYNTAX", request("GET / HTTP/1.1\nHost: h\r\n\r\n"))
        refused("H1_FIELD", request("GET / HTTP/1.1\r\nHost: h\n\r\n"))
        refused("H1_FIELD", request("GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n"))
        refused("H1_FIELD", request("GET / HTTP/1.1\r\nHost: h\r\n\n"))
        refused("H1_FIELD", request("GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n"))
        refused("H1_FIELD", request("GET / HTTP/1.1\r\nHost: h\r\r\n\r\n"))
        refused("H1_SYNTAX", request("GET / HTTP/1.1\n\n"))
    end)

    it("are refused when folded in a request", function()
        refused("H1_FIELD", get("X: y", " z"))
        refused("H1_FIELD", get("X: y", "\tz: w"))
        refused("H1_FIELD", get("X:", " y"))
        refused("H1_FIELD", request(head("GET / HTTP/1.1", " Host: h")))
    end)

    it("are refused when the head does not end where it should", function()
        for _, bytes in ipairs { "GET / HTTP/1.1\r\nHost: h\r\n", "GET / HTTP/1.1\r\nHost: h",
            "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\nX", "GET / HTTP/1.1", "GET /",
            "", "\r\n\r\n" } do
            assert.is_nil((request(bytes)), bytes)
        end
    end)

    it("are never read behind the head", function()
        local whole = head("GET /path HTTP/1.1", "Host: example.com", "Accept: */*", "X-Long: "
            .. ("v"):rep(40))
        for n = 0, #whole - 1 do
            assert.is_nil((request(whole:sub(1, n))), n)
        end
        whole = head("HTTP/1.1 200 OK", "Server: something", "X-Long: " .. ("v"):rep(40))
        for n = 0, #whole - 1 do
            assert.is_nil((response(whole:sub(1, n))), n)
        end
    end)
end)

describe("h1 host", function()
    it("is required once in HTTP/1.1", function()
        refused("H1_HOST", request(head("GET / HTTP/1.1", "X: y")))
        refused("H1_HOST", request(head("GET / HTTP/1.1", "Host: h", "Host: h")))
        refused("H1_HOST", request(head("GET / HTTP/1.1", "Host: h", "host: g", "HOST: h")))
        refused("H1_HOST", request(head("GET http://h/ HTTP/1.1", "X: y")))
        refused("H1_HOST", request(head("GET http://h/ HTTP/1.1", "Host: h", "Host: h")))
    end)

    it("may be missing in HTTP/1.0, but not be there twice", function()
        local req = assert(request(head("GET / HTTP/1.0", "X: y")))
        assert.is_nil(req.host)
        assert.equal("h", request(head("GET http://h/ HTTP/1.0")).host)
        assert.equal("h", request(head("GET / HTTP/1.0", "Host: h")).host)
        refused("H1_HOST", request(head("GET / HTTP/1.0", "Host: h", "Host: h")))
    end)

    it("must be a valid authority", function()
        local good = { ["h"] = "h", ["h:80"] = "h", ["h:"] = "h", ["EXAMPLE.com"] = "EXAMPLE.com",
            ["1.2.3.4:1"] = "1.2.3.4", ["[::1]:80"] = "[::1]", ["a_b"] = "a_b" }
        for sent, host in pairs(good) do
            assert.equal(host, request(head("GET / HTTP/1.1", "Host: " .. sent)).host)
        end
        for _, sent in ipairs { "", "a b", "a/b", "u@h", "h:x", "h:0", "h:65536", "a,b", "[::1",
            "h?x", "http://h", "h#", "h\\x", "..", "a\195\169", "h:80:81", "a;b", "'h'", "%68" } do
            refused("H1_HOST", request(head("GET / HTTP/1.1", "Host: " .. sent)))
            if sent ~= "" then refused("H1_HOST", request(head("GET http://g/ HTTP/1.1", "Host: "
                .. sent))) end
        end
    end)

    it("gives way to the authority of the target, in the field too", function()
        local req = assert(request(head("GET http://t:81/a HTTP/1.1", "Host: other:82")))
        assert.same({ "t", 81, "/a" }, { req.host, req.port, req.path })
        assert.same({ "Host: t:81" }, req.fields)
        req = assert(request(head("GET http://t/ HTTP/1.1", "Host:")))
        assert.same({ "t", 0 }, { req.host, req.port })
        req = assert(request(head("CONNECT t:443 HTTP/1.1", "Host: x")))
        assert.same({ "t", 443, { "Host: t:443" } }, { req.host, req.port, req.fields })
        req = assert(request(head("OPTIONS http://t:81 HTTP/1.1", "Host: x")))
        assert.same({ "t", "*" }, { req.host, req.path })
    end)
end)

describe("h1 request framing", function()
    it("follows Content-Length", function()
        for sent, want in pairs { ["0"] = 0, ["5"] = 5, ["005"] = 5, [" 12 "] = 12,
            ["4294967296"] = 4294967296 } do
            local req = assert(post("Content-Length: " .. sent))
            assert.same({ "length", want }, { req.framing, req.length })
        end
        assert(post("Content-Length: 9223372036854775807"))
        assert.equal("9223372036854775807ULL", tostring(msg.content_length))
    end)

    it("refuses every other Content-Length", function()
        for _, sent in ipairs { "", "+5", "-5", "-0", "5 5", "5,5", "5, 5", "5;", "0x5", "5.0",
            "1e3", "five", "\"5\"", "9223372036854775808", "18446744073709551616",
            "99999999999999999999", "00000000000000000005", "5\t5", "\2395", ",5", "5,", "5\255",
            "5 ,6", "1_0" } do
            refused("H1_FRAMING", post("Content-Length: " .. sent))
        end
        refused("H1_FRAMING", post("Content-Length: 5", "Content-Length: 5"))
        refused("H1_FRAMING", post("Content-Length: 5", "content-length: 6"))
        refused("H1_FRAMING", post("Content-Length: 0", "Content-Length: 0"))
    end)

    it("follows Transfer-Encoding: chunked", function()
        for _, sent in ipairs { "chunked", "Chunked", "CHUNKED", "\tchunked", " chunked \t" } do
            assert.equal("chunked", post("Transfer-Encoding:" .. sent).framing)
        end
        assert.equal("chunked", get("transfer-ENCODING: chunked").framing)
    end)

    it("refuses every other Transfer-Encoding", function()
        for _, sent in ipairs { "", "identity", "gzip", "xchunked", "chunkedx", "chunked,",
            ",chunked", "chunked, chunked", "chunked, identity", "chunked, gzip", "chunked;q=1",
            "chunked ; x", "\"chunked\"", "chunk", "chunked chunked", "gzip chunked", "chunked\255",
            "gz(ip, chunked", ";, chunked", "chunked,chunked,", "cow", "gzip, chunked, gzip",
            "gzip, xchunked", "\195\169, chunked", ", ," } do
            refused("H1_FRAMING", post("Transfer-Encoding: " .. sent))
        end
        for _, sent in ipairs { "gzip, chunked", "identity, chunked", "deflate,gzip,chunked",
            "x-foo;a=b, chunked", "br;q=\"a,b\", Chunked" } do
            refused("H1_CODING", post("Transfer-Encoding: " .. sent))
        end
        refused("H1_FRAMING", post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"))
        refused("H1_FRAMING", post("Transfer-Encoding: chunked", "Transfer-Encoding: identity"))
        refused("H1_CODING", post("Transfer-Encoding: gzip, chunked", "Transfer-Encoding: chunked"))
        refused("H1_FRAMING", post("Transfer-Encoding:", "Transfer-Encoding: chunked"))
        refused("H1_FIELD", post("Transfer-Encoding: chun\11ked"))
        refused("H1_FIELD", post("Transfer-Encoding: \11chunked"))
        refused("H1_FIELD", post("Transfer-Encoding: chunked\0"))
        refused("H1_FIELD", post("Transfer-Encoding : chunked"))
    end)

    it("refuses both together, in any order", function()
        refused("H1_FRAMING", post("Content-Length: 5", "Transfer-Encoding: chunked"))
        refused("H1_FRAMING", post("Transfer-Encoding: chunked", "Content-Length: 5"))
        refused("H1_FRAMING", post("Transfer-Encoding: chunked", "Content-Length: 0"))
    end)

    it("refuses a transfer coding in HTTP/1.0", function()
        refused("H1_FRAMING", request(head("POST / HTTP/1.0", "Host: h",
            "Transfer-Encoding: chunked")))
        assert.equal("length", request(head("POST / HTTP/1.0", "Content-Length: 1")).framing)
    end)

    it("is none without either", function()
        assert.equal("none", post("X: y").framing)
        assert.equal("none", post("X-Content-Length: 5", "Transfer_Encoding: chunked").framing)
    end)
end)

describe("h1 connection", function()
    it("lives by version and option", function()
        local rows = {
            { "1.1", nil, true }, { "1.1", "close", false }, { "1.1", "keep-alive", true },
            { "1.1", "CLOSE", false },
            { "1.1", "keep-alive, close", false }, { "1.1", "x, Close ,y", false },
            { "1.1", "closed", true },
            { "1.1", "", true }, { "1.1", "\"close\"", true }, { "1.1", "clos e", true },
            { "1.0", nil, false }, { "1.0", "keep-alive", true }, { "1.0", "Keep-Alive", true },
            { "1.0", "close", false },
            { "1.0", "keep-alive, close", false }, { "1.0", "upgrade", false },
        }
        for _, row in ipairs(rows) do
            local line = row[2] and "Connection: " .. row[2] or "X: y"
            local req = assert(request(head("GET / HTTP/" .. row[1], "Host: h", line)))
            assert.equal(row[3], req.keepalive, row[1] .. " " .. tostring(row[2]))
            local res = assert(response(head("HTTP/" .. row[1] .. " 200 OK", line,
                "Content-Length: 0")))
            assert.equal(row[3], res.keepalive)
        end
        assert.is_false(get("Connection: keep-alive", "Connection: close").keepalive)
        assert.is_false(get("Connection: close", "Connection: keep-alive").keepalive)
    end)

    it("upgrades when both fields say so", function()
        assert.is_true(get("Connection: Upgrade", "Upgrade: websocket").upgrade)
        assert.is_true(get("Upgrade: websocket", "Connection: keep-alive, upgrade").upgrade)
        assert.is_false(get("Upgrade: websocket").upgrade)
        assert.is_false(get("Connection: upgrade").upgrade)
        assert.is_false(get("Connection: upgrade", "Upgrade:").upgrade)
        local old = request(head("GET / HTTP/1.0", "Host: h", "Connection: upgrade",
            "Upgrade: websocket"))
        assert.is_false(old.upgrade)
        local res = response(head("HTTP/1.1 101 Switching Protocols", "Connection: upgrade",
            "Upgrade: websocket"))
        assert.same({ true, "none" }, { res.upgrade, res.framing })
    end)

    it("drops the fields it names before anybody sees them", function()
        local req = assert(get("Connection: close, X-Hop", "x-hop: 1", "X-Keep: 2", "X-HOP: 3"))
        assert.same({ "Host: h", "Connection: close, X-Hop", "X-Keep: 2" }, req.fields)
        assert.is_false(req.options)
        req = assert(get("x-early: 1", "Connection: x-early"))
        assert.same({ "Host: h", "Connection: x-early" }, req.fields)
    end)

    it("cannot drop fields that everybody relies on", function()
        local lines = { "Host: h", "Content-Length: 3", "Authorization: a", "Cookie: c",
            "X-Forwarded-For: 1.2.3.4",
            "Connection: host, content-length, authorization, cookie, x-forwarded-for, te" }
        local req = assert(request(head("POST / HTTP/1.1", unpack(lines))))
        assert.same(lines, req.fields)
        assert.same({ "h", "length", 3 }, { req.host, req.framing, req.length })
    end)

    it("notes TE: trailers", function()
        assert.is_true(get("TE: trailers", "Connection: TE").te)
        assert.is_true(get("te: deflate;q=0.5, Trailers").te)
        assert.is_false(get("TE: deflate").te)
        assert.is_false(get("TE: xtrailers").te)
    end)

    it("notes Expect: 100-continue where it means something", function()
        assert.is_true(post("Expect: 100-continue", "Content-Length: 5").expect)
        assert.is_true(post("Expect: 100-Continue", "Transfer-Encoding: chunked").expect)
        assert.is_false(post("Expect: 100-continue", "Content-Length: 0").expect)
        assert.is_false(post("Expect: 100-continue").expect)
        assert.is_false(post("Expect: 200-ok", "Content-Length: 5").expect)
        assert.is_false(post("Content-Length: 5").expect)
        local old = request(head("POST / HTTP/1.0", "Host: h", "Content-Length: 5",
            "Expect: 100-continue"))
        assert.is_false(old.expect)
    end)
end)

describe("h1 response", function()
    it("has a status line", function()
        local rows = {
            { "HTTP/1.1 200 OK", 200, "OK", 11 },
            { "HTTP/1.0 404 Not Found", 404, "Not Found", 10 },
            { "HTTP/1.1 200 ", 200, "", 11 }, { "HTTP/1.1 200", 200, "", 11 },
            { "HTTP/1.7 500 x\ty", 500, "x\ty", 11 },
            { "HTTP/1.1 200 \195\169", 200, "\195\169", 11 },
            { "HTTP/1.1 999 Denied", 999, "Denied", 11 },
            { "HTTP/1.1 200  two", 200, " two", 11 },
        }
        for _, row in ipairs(rows) do
            local res = assert(response(head(row[1])))
            assert.same({ row[2], row[3], row[4] }, { res.status, res.reason, res.version })
        end
    end)

    it("is refused with a malformed status line", function()
        for _, line in ipairs { "", "HTTP/1.1", "HTTP/1.1 ", "HTTP/1.1 20", "HTTP/1.1 2000 OK",
            "HTTP/1.1 2x0 OK", "HTTP/1.1  200 OK", "HTTP/2.0 200 OK", "HTTP/0.9 200 OK",
            "http/1.1 200 OK", "HTTP/1.1\t200 OK", "HTTP/1.1 099 x", "HTTP/1.1 000 x",
            "HTTP/1.1 200\tOK", "HTTP/1.1 200 O\0K", "HTTP/1.1 200 O\rK", "ICY 200 OK",
            " HTTP/1.1 200 OK", "HTTP/1.1 +20 OK", "HTTP/1.1 200OK", "<html>",
            "HTTP/1.1 200 OK\127", "HTTP/1.1 -10 x" } do
            refused("UP_BAD_RESPONSE", response(head(line, "X: y")))
        end
        refused("UP_BAD_RESPONSE", response("HTTP/1.1 200 OK\n\n"))
        refused("UP_BAD_RESPONSE", response("HTTP/1.1 200 OK\nX: y\r\n\r\n"))
    end)

    it("is framed as RFC 9112 section 6.3 says", function()
        local te, cl = "Transfer-Encoding: chunked", "Content-Length: 5"
        local rows = { -- status, method, field, framing, length, keepalive
            { 200, "GET", cl, "length", 5, true },
            { 200, "GET", "Content-Length: 0", "length", 0, true },
            { 200, "GET", te, "chunked", nil, true },
            { 200, "GET", "X: y", "close", nil, false },
            { 500, "POST", "X: y", "close", nil, false },
            { 200, "HEAD", cl, "none", nil, true },
            { 200, "HEAD", te, "none", nil, true },
            { 200, "HEAD", "X: y", "none", nil, true },
            { 404, "HEAD", cl, "none", nil, true },
            { 304, "GET", cl, "none", nil, true },
            { 304, "GET", te, "none", nil, true },
            { 304, "GET", "X: y", "none", nil, true },
            { 204, "GET", "X: y", "none", nil, true },
            { 204, "GET", "Content-Length: 0", "none", nil, true },
            { 204, "GET", cl, "none", nil, false },
            { 204, "GET", te, "none", nil, false },
            { 100, "POST", "X: y", "none", nil, true },
            { 103, "GET", "Link: </a>", "none", nil, true },
            { 100, "POST", "Content-Length: 0", "none", nil, true },
            { 101, "GET", "X: y", "none", nil, true },
            { 205, "GET", cl, "length", 5, true },
            { 200, "CONNECT", "X: y", "close", nil, false },
            { 200, "CONNECT", cl, "close", nil, false },
            { 299, "CONNECT", te, "close", nil, false },
            { 407, "CONNECT", cl, "length", 5, true },
        }
        for _, row in ipairs(rows) do
            local res = assert(response(head("HTTP/1.1 " .. row[1] .. " x", row[3]), row[2]))
            assert.same({ row[4], row[5], row[6] }, { res.framing, res.length, res.keepalive },
                table.concat({ row[1], row[2], row[3] }, " "))
        end
    end)

    it("is refused with doubtful framing", function()
        local te, cl = "Transfer-Encoding: chunked", "Content-Length: 5"
        refused("UP_BAD_RESPONSE", answer(te, cl))
        refused("UP_BAD_RESPONSE", answer(cl, te))
        refused("UP_BAD_RESPONSE", answer(cl, cl))
        refused("UP_BAD_RESPONSE", answer(te, te))
        refused("UP_BAD_RESPONSE", answer("Content-Length: 5, 5"))
        refused("UP_BAD_RESPONSE", answer("Content-Length: -1"))
        refused("UP_BAD_RESPONSE", answer("Content-Length:"))
        refused("UP_BAD_RESPONSE", answer("Transfer-Encoding: gzip, chunked"))
        refused("UP_BAD_RESPONSE", answer("Transfer-Encoding: identity"))
        refused("UP_BAD_RESPONSE", response(head("HTTP/1.0 200 OK", te)))
        refused("UP_BAD_RESPONSE", response(head("HTTP/1.1 200 OK", te, cl), "HEAD"))
        refused("UP_BAD_RESPONSE", response(head("HTTP/1.1 100 x", cl)))
        refused("UP_BAD_RESPONSE", response(head("HTTP/1.1 103 x", te)))
    end)

    it("is unfolded in place", function()
        local res = assert(answer("A: b", " c", "D: e"))
        assert.same({ "A: b   c", "D: e" }, res.fields)
        res = assert(answer("A:", "\tb\t", "  \t", " c  ", "Content-Length: 3"))
        assert.same({ "A: b         c", "Content-Length: 3" }, res.fields)
        assert.equal("length", res.framing)
        res = assert(answer("A: b", " "))
        assert.same({ "A: b" }, res.fields)
        res = assert(answer("Content-Length:", " 7"))
        assert.equal(7, res.length)
        refused("UP_BAD_RESPONSE", answer("Content-Length: 5", " 7"))
        refused("UP_BAD_RESPONSE", answer("Transfer-Encoding: chunked", " ,"))
        refused("UP_BAD_RESPONSE", answer(" A: b"))
    end)

    it("drops the fields that Connection names", function()
        assert.same({ "Connection: x-a" }, answer("X-A: 1", "Connection: x-a").fields)
    end)
end)

describe("h1 trailers", function()
    local function trailers(bytes, max)
        C.rp_arena_reset(arena)
        C.rp_msg_init(msg, storage, ROOM, max or MAX)
        buffer = bytes
        local e = C.rp_h1_parse_trailers(bytes, #bytes, arena, msg)
        if e ~= 0 then return nil, c.err_name(e) end
        return fields_of(msg)
    end

    it("are fields and an empty line", function()
        assert.same({}, trailers("\r\n"))
        assert.same({ "A: b", "Server-Timing: c" }, trailers("A: b\r\nServer-Timing:c\r\n\r\n"))
        assert.same({ "ETag: x" }, trailers("ETag: x\r\n\r\n"))
        local many = {}
        for i = 1, 50 do many[i] = "x-" .. i .. ": v" end
        assert.same(many, trailers(table.concat(many, "\r\n") .. "\r\n\r\n"))
    end)

    it("lose what frames, routes or authenticates", function()
        for _, name in ipairs { "Transfer-Encoding", "Content-Length", "Host", "Connection",
            "Authorization", "Cookie", "Set-Cookie", "Content-Type", "Content-Encoding",
            "Content-Range", "Trailer", "Cache-Control", "Expect", "TE", "Max-Forwards", "Range",
            "If-Match", "X-Forwarded-For", "Forwarded", "Location", "Vary", "Date", "Age" } do
            assert.same({ "X: y" }, trailers(name .. ": 1\r\nX: y\r\n\r\n"), name)
        end
    end)

    it("are refused when malformed", function()
        for _, bytes in ipairs { "", "\n", "\r", "A: b", "A: b\r\n", "A: b\n\r\n", "A\r\n\r\n",
            "A : b\r\n\r\n", " A: b\r\n\r\n", "A: b\r\n c\r\n\r\n", "A: \0\r\n\r\n", "\r\nX",
            "A: b\r\n\r\nX", ("n"):rep(300) .. ": v\r\n\r\n" } do
            refused("H1_FIELD", trailers(bytes))
        end
        refused("H1_FIELDS_MANY", trailers("a: 1\r\nb: 2\r\nc: 3\r\n\r\n", 2))
    end)
end)
