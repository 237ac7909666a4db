-- SPDX-License-Identifier: MIT
--
-- answer: what hooks add to a response. A request waits here for its upstream while the spec plays the
-- hook; what the life makes of it is in spec/e2e/answers_spec.lua.

local inproc = require("spec.support.inproc")

local C, ffi, c = inproc.C, inproc.ffi, inproc.c

local NONE = ffi.cast("uint64_t", -1)
local MOST = 64 * 1024

describe("rp_answer", function()
    local p, client, r

    before_each(function()
        p = inproc.open {}
        client = p:client()
    end)
    after_each(function() p:close() end)

    local function ask(line, fields)
        client:send((line or "GET /x HTTP/1.1") .. "\r\nHost: a\r\n" .. (fields or "") .. "\r\n")
        p:accept():head()
        r = p.raw.live
    end

    local function begin(length, status)
        return c.err_name(C.rp_answer_begin(r, status or 200, length or NONE, 0, 0))
    end

    local function write(text)
        local used = ffi.new("size_t[1]")
        local name = c.err_name(C.rp_answer_write(r, c.str(text), used))
        return name, tonumber(used[0])
    end

    local function trailer(name, value)
        return c.err_name(C.rp_answer_trailer(r, c.str(name), value and c.str(value)
            or ffi.new("rp_str")))
    end

    local function hint(name, value)
        return c.err_name(C.rp_answer_hint(r, c.str(name), c.str(value)))
    end

    local function field(m, name)
        local f = C.rp_msg_find_name(m, c.str(name))
        return f ~= nil and c.lua(C.rp_field_value(f)) or nil
    end

    it("is none until somebody needs one, and is made once", function()
        ask()
        assert.is_true(r.answer == nil)
        local a = C.rp_answer_of(r)
        assert.is_true(a ~= nil)
        assert.is_true(C.rp_answer_of(r) == a)
    end)

    it("takes 64 KB and a piece, and the rest when there is room", function()
        ask()
        assert.equal("OK", begin())
        assert.same({ "OK", 0 }, { write("") })
        assert.same({ "OK", MOST - 1 }, { write(("x"):rep(MOST - 1)) })
        assert.same({ "OK", MOST }, { write(("x"):rep(MOST)) }) -- whole, or not at all
        assert.is_false(r.answer.cut)
        assert.same({ "AGAIN", 0 }, { write("x") })
        assert.is_false(r.answer.cut)
        assert.equal("AGAIN", c.err_name(C.rp_answer_flush(r)))
        C.rp_chain_clear(r.answer.pending)
        assert.same({ "AGAIN", MOST }, { write(("x"):rep(MOST + 1)) })
        assert.is_true(r.answer.cut)
        C.rp_chain_clear(r.answer.pending)
        assert.same({ "OK", 10 }, { write(("x"):rep(10)) })
        assert.is_false(r.answer.cut)
    end)

    it("keeps to the length announced", function()
        ask()
        assert.equal("OK", begin(5))
        assert.equal(5, tonumber(r.res.content_length))
        assert.same({ "OK", 3 }, { write("abc") })
        assert.same({ "TOO_BIG", 0 }, { write("abc") })
        assert.equal("INVALID", c.err_name(C.rp_answer_finish(r)))
        assert.same({ "OK", 2 }, { write("de") })
        assert.equal("OK", c.err_name(C.rp_answer_finish(r)))
        assert.same({ "CLOSED", 0 }, { write("") })
        assert.equal("CLOSED", c.err_name(C.rp_answer_finish(r)))
        assert.equal("CLOSED", c.err_name(C.rp_answer_flush(r)))
    end)

    it("has no body where HTTP has none", function()
        ask("HEAD /x HTTP/1.1")
        assert.equal("OK", begin())
        assert.equal("CLOSED", (write("x")))
        for _, status in ipairs { 204, 304 } do
            begin(nil, status)
            assert.equal("CLOSED", (write("x")))
        end
    end)

    it("is gone when another answer takes its place", function()
        ask()
        begin()
        write("abc")
        trailer("x-a", "1")
        assert.equal("OK", c.err_name(C.rp_req_answer(r, C.RP_FROM_PLUGIN, 404, ffi.new("rp_str"),
            c.str("no"))))
        assert.is_false(r.answer.streamed)
        assert.equal(0, tonumber(r.answer.pending.bytes))
        assert.equal(0, r.answer.trailers.fields_n)
        assert.equal("CLOSED", (write("x")))
    end)

    it("takes nothing before it begins", function()
        ask()
        assert.equal("CLOSED", (write("x")))
        C.rp_answer_of(r)
        assert.equal("CLOSED", (write("x")))
    end)

    it("checks trailers", function()
        ask()
        assert.equal("OK", trailer("X-Sum", "1"))
        assert.equal("OK", trailer("x-sum", "2"))
        assert.equal("2", field(r.answer.trailers, "x-sum"))
        assert.equal("BUSY", trailer("Content-Length", "1"))
        assert.equal("BUSY", trailer("transfer-encoding", "chunked"))
        assert.equal("INVALID", trailer("a b", "1"))
        assert.equal("INVALID", trailer("x-a", "1\r\n"))
        assert.equal("OK", trailer("x-sum", nil))
        assert.is_nil(field(r.answer.trailers, "x-sum"))
        local name
        for i = 1, 100 do
            name = trailer("x-" .. i, "v")
            if name ~= "OK" then break end
        end
        assert.equal("CAP", name)
    end)

    it("joins trailers with those of the upstream, and wins", function()
        ask()
        local theirs = ffi.new("struct rp_msg[1]")
        C.rp_msg_init(theirs, nil, 0, 2)
        for _, one in ipairs { "x-a", "x-b" } do
            assert.equal("OK", c.err_name(C.rp_msg_add(theirs, r.x.arena, 0, c.str(one), c.str("up"))))
        end
        r.x.res_trailers = theirs
        trailer("x-b", "hook")
        trailer("x-c", "hook")
        C.rp_answer_join_trailers(r)
        assert.equal("up", field(r.x.res_trailers, "x-a"))
        assert.equal("hook", field(r.x.res_trailers, "x-b"))
        assert.equal("hook", field(r.x.res_trailers, "x-c"))
        r.x.res_trailers = nil
        trailer("x-d", "alone")
        C.rp_answer_join_trailers(r)
        assert.equal("alone", field(r.x.res_trailers, "x-d"))
        r.x.res_trailers = nil
    end)

    it("sends hints, checked, and eight of them", function()
        ask()
        assert.equal("INVALID", c.err_name(C.rp_answer_send_hint(r)))
        assert.equal("BUSY", hint("Connection", "close"))
        assert.equal("BUSY", hint("Content-Length", "5"))
        assert.equal("INVALID", hint("x", "a\nb"))
        for i = 1, 8 do
            assert.equal("OK", hint("Link", "</" .. i .. ">"))
            assert.equal("OK", c.err_name(C.rp_answer_send_hint(r)))
            local head = client:recv_until("\r\n\r\n")
            assert.truthy(head:find("^HTTP/1%.1 103 Early Hints\r\nlink: </" .. i .. ">"), head)
        end
        hint("Link", "</9>")
        assert.equal("CAP", c.err_name(C.rp_answer_send_hint(r)))
    end)

    it("sends no hints to HTTP/1.0", function()
        ask("GET /x HTTP/1.0")
        hint("Link", "</a>")
        assert.equal("END", c.err_name(C.rp_answer_send_hint(r)))
        assert.equal(0, r.answer.hint.fields_n)
    end)

    it("makes strong validators weak and drops digests when the body changes", function()
        ask()
        begin()
        local function put(name, value)
            assert.equal("OK", c.err_name(C.rp_msg_set(r.res, r.x.arena, 0, c.str(name),
                c.str(value))))
        end
        put("ETag", '"a"')
        put("Content-MD5", "x")
        put("Repr-Digest", "x")
        put("Last-Modified", "x")
        C.rp_answer_note_changed(r)
        assert.equal('W/"a"', field(r.res, "etag"))
        assert.is_nil(field(r.res, "content-md5"))
        assert.is_nil(field(r.res, "repr-digest"))
        assert.equal("x", field(r.res, "last-modified"))
        C.rp_answer_note_changed(r)
        assert.equal('W/"a"', field(r.res, "etag"))
    end)
end)
