-- SPDX-License-Identifier: MIT
--
-- h2_msg: field blocks of HTTP/2 to requests that nobody can tell from those of HTTP/1.

local fields_of = require("spec.support.msg").fields
local c = require("spec.support.c")

local ffi = c.ffi
local C = c.load { "http/h2_msg.h", "http/token.h" }

local FRAMING = { [0] = "none", "length", "chunked", "close" }
local ROOM, MAX = 4, 200

local arena = ffi.new("struct rp_arena")
C.rp_arena_init(arena, nil, 0, 1024 * 1024)
local limits = ffi.new("struct rp_h1_limits", { 4096, 1024, 20 })
local storage = ffi.new("struct rp_field[?]", ROOM)
local msg = ffi.new("struct rp_msg")

local function str(s)
    return ffi.new("rp_str", s, #s)
end

local BASE = { { ":method", "GET" }, { ":scheme", "https" }, { ":path", "/p?q=1" },
    { ":authority", "a.test:8443" } }

local function plus(...)
    local list = {}
    for _, f in ipairs(BASE) do list[#list + 1] = f end
    for _, f in ipairs { ... } do list[#list + 1] = f end
    return list
end

-- ended: END_STREAM (true unless false). most: fields. Facts, or nil and the error's name.
local function request(list, ended, most)
    C.rp_arena_reset(arena)
    C.rp_msg_init(msg, storage, ROOM, most or MAX)
    local h = ffi.new("struct rp_h2_head")
    for _, f in ipairs(list) do
        C.rp_h2_head_add(h, msg, arena, limits, str(f[1]), str(f[2]))
    end
    local e = C.rp_h2_head_finish(h, msg, arena, ended ~= false)
    if e ~= 0 then return nil, c.err_name(e) end
    return { method = c.lua(msg.method_text), target = c.lua(msg.target), host = c.lua(msg.host),
        port = msg.port, path = c.lua(msg.uri.path), query = c.lua(msg.uri.query),
        scheme = c.lua(msg.uri.scheme), version = msg.version, framing = FRAMING[msg.framing],
        upgrade = msg.upgrade, expect = msg.expect_continue, te = msg.te_trailers,
        fields = fields_of(msg) }
end

local function refused(list, ended)
    local _, why = request(list, ended)
    return why
end

describe("h2_msg", function()
    it("makes a request of pseudo-header fields", function()
        local r = request(BASE)
        assert.same({ "GET", "/p?q=1", "a.test", 8443, "/p", "q=1", "https", 20, "none" },
            { r.method, r.target, r.host, r.port, r.path, r.query, r.scheme, r.version, r.framing })
        assert.same({ "host: a.test:8443" }, r.fields)
    end)

    it("keeps the order of fields, also of many", function()
        local list, want = plus(), {}
        for i = 1, 15 do
            list[#list + 1] = { "x-" .. i, "v" .. i }
            want[i] = ("x-%d: v%d"):format(i, i)
        end
        want[16] = "host: a.test:8443"
        assert.same(want, request(list).fields)
    end)

    it("counts the Host that it makes, as HTTP/1 counts the client's", function()
        local function with(n)
            local list = plus()
            for i = 1, n do list[#list + 1] = { "x-" .. i, "v" } end
            return list
        end
        assert.equal(20, #request(with(19), true, 20).fields)
        assert.equal("H1_FIELDS_MANY", select(2, request(with(20), true, 20)))
        local ws = with(18)
        ws[1] = { ":method", "CONNECT" }
        ws[#ws + 1] = { ":protocol", "websocket" }
        assert.equal("H1_FIELDS_MANY", select(2, request(ws, false, 20)))
    end)

    it("takes a Host that says what :authority says, or stands for it", function()
        assert.same({ "host: A.test:8443" }, request(plus { "host", "A.test:8443" }).fields)
        local r = request { BASE[1], BASE[2], BASE[3], { "host", "only.test" } }
        assert.equal("only.test", r.host)
        assert.equal("H1_HOST", refused(plus { "host", "b.test" }))
        assert.equal("H1_HOST", refused(plus({ "host", "a.test:8443" }, { "host", "a.test:8443" })))
        assert.equal("H1_HOST", refused { BASE[1], BASE[2], BASE[3] })
        assert.equal("H1_HOST", refused { BASE[1], BASE[2], BASE[3], { ":authority", "a b" } })
    end)

    it("joins the crumbs of Cookie where the first one stood", function()
        assert.same({ "cookie: a=1; b=2; c", "x: y", "host: a.test:8443" }, request(plus(
            { "cookie", "a=1" }, { "x", "y" }, { "cookie", "b=2" }, { "cookie", "c" })).fields)
        assert.same({ "cookie: ; b", "host: a.test:8443" },
            request(plus({ "cookie", "" }, { "cookie", "b" })).fields)
    end)

    it("counts the crumbs of Cookie as the one field that they are", function()
        local list, all = plus(), {}
        for i = 1, 60 do
            all[i] = ("c%d=%d"):format(i, i)
            list[#list + 1] = { "cookie", all[i] }
        end
        list[#list + 1] = { "x", "y" }
        assert.same({ "cookie: " .. table.concat(all, "; "), "x: y", "host: a.test:8443" },
            request(list, true, 20).fields)
        for i = 1, 200 do list[#list + 1] = { "cookie", ("v"):rep(20) .. i } end
        assert.equal("H1_HEAD_BIG", refused(list))
    end)

    it("knows what content follows", function()
        assert.equal("none", request(BASE).framing)
        assert.equal("chunked", request(BASE, false).framing)
        assert.equal("length", request(plus { "content-length", "5" }, false).framing)
        assert.equal("length", request(plus { "content-length", "0" }).framing)
        assert.equal("H1_FRAMING", refused(plus { "content-length", "5" }))
        assert.equal("H1_FRAMING", refused(plus({ "content-length", "5" },
            { "content-length", "5" }), false))
        for _, bad in ipairs { "+5", "5, 5", "0x5", "", "99999999999999999999" } do
            assert.equal("H1_FRAMING", refused(plus { "content-length", bad }, false))
        end
    end)

    it("refuses TRACE with content, of whatever length", function()
        local trace = plus()
        trace[1] = { ":method", "TRACE" }
        assert.equal("none", request(trace).framing)
        assert.equal("H1_FRAMING", refused(trace, false))
        trace[#trace + 1] = { "content-length", "5" }
        assert.equal("H1_FRAMING", refused(trace, false))
    end)

    it("heeds Expect only where content follows", function()
        assert.is_true(request(plus { "expect", "100-continue" }, false).expect)
        assert.is_false(request(plus { "expect", "100-continue" }).expect)
    end)

    it("refuses connection-specific fields", function()
        for _, f in ipairs { { "connection", "close" }, { "keep-alive", "x" },
            { "proxy-connection", "x" }, { "transfer-encoding", "chunked" },
            { "upgrade", "websocket" }, { "te", "gzip" }, { "te", "trailers, gzip" } } do
            assert.equal("H1_FIELD", refused(plus(f)), f[1])
        end
        assert.is_true(request(plus { "te", "trailers" }).te)
    end)

    it("refuses pseudo-header fields that are missing, repeated, unknown or misplaced", function()
        for i = 1, 3 do
            local list = plus()
            table.remove(list, i)
            assert.equal("H1_SYNTAX", refused(list), BASE[i][1])
        end
        assert.equal("H1_FIELD", refused(plus { ":path", "/again" }))
        assert.equal("H1_FIELD", refused(plus { ":status", "200" }))
        assert.equal("H1_FIELD", refused(plus { ":unknown", "x" }))
        assert.equal("H1_SYNTAX", refused(plus { ":protocol", "websocket" })) -- of a GET
    end)

    it("refuses targets and methods that are none", function()
        local function with(path, method)
            return refused { { ":method", method or "GET" }, BASE[2], { ":path", path }, BASE[4] }
        end
        assert.equal("H1_TARGET", with("http://a.test/"))
        assert.equal("H1_TARGET", with("p"))
        assert.equal("H1_TARGET", with("*"))
        assert.equal("H1_TARGET", with("/a b"))
        assert.equal("H1_TARGET", with("/a#b"))
        assert.equal("H1_METHOD", with("/", "GE T"))
        assert.equal("H1_METHOD", with("/", "G\r\nET"))
        assert.equal("H1_METHOD", with("/", ("M"):rep(33)))
        assert.is_nil(with("*", "OPTIONS"))
    end)

    it("takes CONNECT with an authority alone", function()
        local r = request({ { ":method", "CONNECT" }, { ":authority", "a.test:443" } }, false)
        assert.equal("a.test:443", r.target)
        assert.equal("none", r.framing)
        assert.equal(443, r.port)
        assert.equal("H1_SYNTAX", refused { { ":method", "CONNECT" }, BASE[2], BASE[3], BASE[4] })
        assert.equal("H1_SYNTAX", refused { { ":method", "CONNECT" } })
    end)

    it("makes an upgrade of an extended CONNECT for websocket", function()
        local list = { { ":method", "CONNECT" }, { ":protocol", "websocket" }, BASE[2], BASE[3],
            BASE[4], { "sec-websocket-version", "13" } }
        local r = request(list, false)
        assert.equal("GET", r.method)
        assert.is_true(r.upgrade)
        assert.equal("none", r.framing)
        assert.equal("upgrade: websocket", r.fields[3])
        local key = r.fields[2]:match("^sec%-websocket%-key: (.*)$")
        assert.equal(24, #key)
        assert.not_equal(key, request(list, false).fields[2]:match(": (.*)$"))
        list[2] = { ":protocol", "webtransport" }
        assert.equal("H1_CODING", refused(list, false))
    end)

    it("keeps to the limits", function()
        assert.equal("H1_URI_LONG", refused { BASE[1], BASE[2], { ":path", "/" .. ("p"):rep(1024) },
            BASE[4] })
        assert.equal("H1_HEAD_BIG", refused(plus { "x", ("v"):rep(4096) }))
        local many = plus()
        for i = 1, 21 do many[#many + 1] = { "x-" .. i, "v" } end
        assert.equal("H1_FIELDS_MANY", refused(many))
        assert.equal("H1_HEAD_BIG", refused(plus { ("n"):rep(70000), "v" }))
    end)

    it("lays fields out so that they go upstream in one piece, byte for byte", function()
        request(plus({ "x-a", "1" }, { "x-b", "" }, { "x-c", " inner  space " }))
        for i = 0, 2 do
            local f = msg.fields[i]
            assert.equal(": ", ffi.string(f.name + f.name_n, 2))
            assert.equal("\r\n", ffi.string(f.value + f.value_n, 2))
        end
    end)

    it("collects trailers, but not those that must not be trailers", function()
        C.rp_arena_reset(arena)
        C.rp_msg_init(msg, storage, ROOM, MAX)
        for _, f in ipairs { { "x-sum", "1" }, { "content-length", "5" }, { "host", "x" },
            { "authorization", "x" }, { "grpc-status", "0" } } do
            assert.equal(0, C.rp_h2_trailer_add(msg, arena, str(f[1]), str(f[2])))
        end
        assert.same({ "x-sum: 1", "grpc-status: 0" }, fields_of(msg))
    end)

    it("drops from responses what HTTP/2 does not have", function()
        local f = ffi.new("struct rp_field")
        local function dropped(id, n)
            f.id, f.name_n = id, n or 1
            return C.rp_h2_field_is_dropped(f)
        end
        for _, id in ipairs { "CONNECTION", "KEEP_ALIVE", "TRANSFER_ENCODING", "UPGRADE",
            "CONTENT_LENGTH" } do
            assert.is_true(dropped(C["RP_H_" .. id]), id)
        end
        assert.is_true(dropped(C.RP_H_OTHER, 0)) -- deleted
        assert.is_false(dropped(C.RP_H_OTHER))
        assert.is_false(dropped(C.RP_H_DATE))
    end)
end)
