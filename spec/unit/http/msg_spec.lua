-- SPDX-License-Identifier: MIT
--
-- msg: the field array and its edits.

local c = require("spec.support.c")
local message = require("spec.support.msg")

local ffi = c.ffi
local C = c.load { "http/msg.h" }

local NONE = ffi.new("rp_str")

describe("msg", function()
    local arena, msg, keep

    local function start(room, max)
        local fields = room > 0 and ffi.new("struct rp_field[?]", room) or nil
        keep = { fields }
        C.rp_msg_init(msg, fields, room, max)
    end

    local function view(s)
        local v = c.str(s)
        keep[#keep + 1] = v
        return v
    end

    local function add(name, value, id)
        return c.err_name(C.rp_msg_add(msg, arena, id or 0, view(name), view(value)))
    end

    local function set(name, value)
        return c.err_name(C.rp_msg_set(msg, arena, 0, view(name), view(value)))
    end

    local function live(m) return table.concat(message.fields(m or msg, "="), " ") end

    before_each(function()
        arena, msg = ffi.new("struct rp_arena"), ffi.new("struct rp_msg")
        C.rp_arena_init(arena, nil, 0, 64 * 1024)
        start(4, 100)
    end)

    after_each(function()
        C.rp_arena_reset(arena)
    end)

    it("keeps fields in order and finds them in any case", function()
        add("Host", "a")
        add("X-One", "1")
        add("cookie", "c")
        add("x-one", "2")
        assert.equal("Host=a X-One=1 cookie=c x-one=2", live())
        assert.equal(C.RP_H_HOST, msg.fields[0].id)
        assert.equal("a", c.lua(C.rp_msg_get(msg, C.RP_H_HOST)))
        assert.is_nil(c.lua(C.rp_msg_get(msg, C.RP_H_DATE)))
        assert.is_true(C.rp_msg_find(msg, C.RP_H_DATE) == nil)
        local f = C.rp_msg_find_name(msg, view("X-ONE"))
        assert.equal("1", c.lua(C.rp_field_value(f)))
        f = C.rp_msg_find_next(msg, f)
        assert.equal("2", c.lua(C.rp_field_value(f)))
        assert.is_true(C.rp_msg_find_next(msg, f) == nil)
        assert.equal("c", c.lua(C.rp_field_value(C.rp_msg_find_name(msg, view("COOKIE")))))
        assert.is_true(C.rp_msg_find_name(msg, view("x-on")) == nil)
    end)

    it("grows up to its limit", function()
        start(2, 40)
        for i = 1, 40 do
            assert.equal("OK", add("x-" .. i, tostring(i)))
        end
        assert.equal("CAP", add("x-41", "41"))
        assert.equal("40", c.lua(C.rp_field_value(C.rp_msg_find_name(msg, view("x-40")))))
        assert.equal(40, msg.fields_n)
    end)

    it("grows from nothing", function()
        start(0, 3)
        assert.equal("OK", add("a", "1"))
        assert.equal("OK", add("b", "2"))
        assert.equal("OK", add("c", "3"))
        assert.equal("CAP", add("d", "4"))
        assert.equal("a=1 b=2 c=3", live())
    end)

    it("uses the places of deleted fields when it is full", function()
        start(4, 4)
        for i = 1, 4 do add("x-" .. i, "v") end
        assert.equal(1, C.rp_msg_del(msg, 0, view("X-2")))
        assert.equal("OK", add("y", "w"))
        assert.equal("x-1=v x-3=v x-4=v y=w", live())
        for i = 1, 1000 do
            assert.equal(1, C.rp_msg_del(msg, 0, view("y")))
            assert.equal("OK", add("y", tostring(i)))
        end
        assert.equal("CAP", add("z", "z"))
    end)

    it("says CAP when the arena is exhausted", function()
        local small = ffi.new("struct rp_arena")
        C.rp_arena_init(small, nil, 0, 32)
        start(0, 1000)
        assert.equal("CAP", c.err_name(C.rp_msg_add(msg, small, 0, view("a"), view("b"))))
        assert.equal(0, msg.fields_n)
        C.rp_arena_reset(small)
    end)

    it("refuses names that fit no field", function()
        assert.equal("INVALID", add("", "v"))
        assert.equal("INVALID", add(("n"):rep(65536), "v"))
        assert.equal("OK", add(("n"):rep(65535), "v"))
    end)

    it("replaces the first field and deletes the others", function()
        add("a", "1")
        add("Set-Cookie", "x")
        add("b", "2")
        add("set-cookie", "y")
        add("SET-COOKIE", "z")
        set("set-cookie", "new")
        assert.equal("a=1 Set-Cookie=new b=2", live())
        set("B", "3")
        assert.equal("a=1 Set-Cookie=new b=3", live())
        set("c", "4")
        assert.equal("a=1 Set-Cookie=new b=3 c=4", live())
        assert.equal("OK", c.err_name(C.rp_msg_set(msg, arena, C.RP_H_HOST, view("host"),
            view("h"))))
        assert.equal("h", c.lua(C.rp_msg_get(msg, C.RP_H_HOST)))
    end)

    it("deletes by id or name and says how many", function()
        add("via", "1")
        add("x", "2")
        add("Via", "3")
        add("X", "4")
        assert.equal(2, C.rp_msg_del(msg, C.RP_H_VIA, NONE))
        assert.equal(0, C.rp_msg_del(msg, C.RP_H_VIA, NONE))
        assert.equal("x=2 X=4", live())
        assert.equal(2, C.rp_msg_del(msg, 0, view("x")))
        assert.equal("", live())
        assert.is_true(C.rp_msg_find_name(msg, view("x")) == nil)
    end)

    it("clones into an array of its own", function()
        add("a", "1")
        add("b", "2")
        msg.status = 204
        local copy = ffi.new("struct rp_msg")
        assert.equal("OK", c.err_name(C.rp_msg_clone(copy, msg, arena)))
        assert.equal(204, copy.status)
        C.rp_msg_del(copy, 0, view("a"))
        assert.equal("b=2", live(copy))
        assert.equal("a=1 b=2", live())
        start(0, 10)
        assert.equal("OK", c.err_name(C.rp_msg_clone(copy, msg, arena)))
        assert.equal("", live(copy))
    end)

    describe("connection options", function()
        before_each(function()
            start(8, 100)
            add("Host", "h")
            add("Connection", "close, X-Hop,host")
            add("x-hop", "1")
            add("connection", "authorization, x-two")
            add("Authorization", "secret")
            add("X-Two", "2")
            add("x-three", "3")
        end)

        it("name only fields that token.tbl does not know", function()
            msg.conn_options = true
            local named = {}
            for i = 0, msg.fields_n - 1 do
                if C.rp_msg_is_conn_option(msg, msg.fields[i]) then
                    named[#named + 1] = ffi.string(msg.fields[i].name, msg.fields[i].name_n)
                end
            end
            assert.equal("x-hop X-Two", table.concat(named, " "))
        end)

        it("count for nothing when the flag is down", function()
            assert.is_false(C.rp_msg_is_conn_option(msg, msg.fields[2]))
            C.rp_msg_drop_conn_options(msg)
            assert.is_true(C.rp_msg_find_name(msg, view("x-hop")) ~= nil)
        end)

        it("are dropped once, so a field added later stays", function()
            msg.conn_options = true
            C.rp_msg_drop_conn_options(msg)
            assert.is_false(msg.conn_options)
            add("x-hop", "mine")
            assert.is_false(C.rp_msg_is_conn_option(msg, C.rp_msg_find_name(msg, view("x-hop"))))
            assert.equal("Host=h Connection=close, X-Hop,host connection=authorization, x-two "
                .. "Authorization=secret x-three=3 x-hop=mine", live())
        end)
    end)

    it("knows reason phrases", function()
        local rows = { [100] = "Continue", [200] = "OK", [204] = "No Content", [404] = "Not Found",
            [431] = "Request Header Fields Too Large", [511] = "Network Authentication Required",
            [502] = "Bad Gateway", [0] = "Unknown", [99] = "Unknown", [299] = "Unknown",
            [999] = "Unknown" }
        for status, want in pairs(rows) do
            assert.equal(want, c.lua(C.rp_msg_reason(status)))
        end
    end)

    it("has a reason for every status that the error table answers", function()
        for line in io.lines("runtime/base/err.tbl") do
            local status = tonumber(line:match("^X%([%u%d_]+, (%d+),"))
            if status and status > 0 then
                assert.not_equal("Unknown", c.lua(C.rp_msg_reason(status)), status)
            end
        end
    end)
end)
