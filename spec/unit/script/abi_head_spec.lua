-- SPDX-License-Identifier: MIT
--
-- abi_head: names that are looked at once, values that are looked at each time, and the lines that
-- become of both.

local c = require("spec.support.c")
local message = require("spec.support.msg")

local ffi = c.ffi
local C = c.load { "script/abi.h", "script/host.h", "http/field.h" }

local PAD = ("\0"):rep(tonumber(C.RP_ABI_NAME_PAD))
local SET, ADD, DEL = 0, 1, 2 -- enum rp_edit_kind
local ACCESS, HEADER_FILTER = tonumber(C.RP_PHASE_ACCESS), tonumber(C.RP_PHASE_HEADER_FILTER)

describe("abi_head", function()
    local r, anchors

    before_each(function()
        r, anchors = ffi.new("struct rp_req"), {}
        local conf, host = ffi.new("struct rp_conf"), ffi.new("char[65536]") -- a host's face
        local at = ffi.cast("char *", host)
        local fields = ffi.new("struct rp_field[?]", 4)
        anchors[1], anchors[2], anchors[3] = conf, host, fields
        conf.script, r.conf = at + (64 - ffi.cast("uintptr_t", at) % 64) % 64, conf
        C.rp_arena_init(r.x.arena, r.x.arena_first, 2048, 1024 * 1024)
        C.rp_msg_init(r.res, fields, 4, 1000)
        C.rp_msg_init(r.x.head, nil, 0, 1000)
        r.up_head = r.x.head
        r.phase = HEADER_FILTER
    end)

    after_each(function()
        C.rp_arena_reset(r.x.arena)
        assert.is_not_nil(anchors)
    end)

    local function name_of(text)
        local line, name = text .. ": " .. PAD, ffi.new("struct rp_abi_name")
        C.rp_abi_name_read(name, line, #text)
        anchors[#anchors + 1] = line
        return name
    end

    local function edit(kind, name, value)
        return c.err_name(C.rp_abi_res_edit(r, kind, name_of(name), value, #value))
    end

    local function live(m) return table.concat(message.fields(m, "="), " ") end

    it("reads names", function()
        assert.equal(C.RP_H_ACCEPT, name_of("Accept").id)
        assert.equal(0, name_of("x-one").id)
        for _, bad in ipairs { "", "a b", "a:", "a\r\nb", "a\0", "\128", ("n"):rep(65536) } do
            local name = name_of(bad)
            assert.equal("INVALID", c.err_name(name.refused))
            assert.equal(0, name.n)
            assert.equal("INVALID", edit(SET, bad, "v"))
            assert.equal("INVALID", edit(DEL, bad, ""))
        end
        for _, ours in ipairs { "connection", "Content-Length", "TRANSFER-ENCODING", "trailer",
            "te", "upgrade", "keep-alive", "proxy-connection" } do
            assert.equal("BUSY", edit(SET, ours, "v"))
            assert.equal("BUSY", edit(DEL, ours, ""))
        end
        assert.equal("", live(r.res))
    end)

    it("puts lines of all lengths, in one piece", function()
        for n = 1, 40 do
            local name = ("n"):rep(n)
            for m = 0, 40 do
                local value = ("v"):rep(m)
                assert.equal("OK", edit(SET, name, value))
                local f = r.res.fields[n - 1]
                assert.equal(name, ffi.string(f.name, f.name_n))
                assert.equal(value, ffi.string(f.value, f.value_n))
                if m == 0 then
                    assert.equal(name .. ": \r\n", ffi.string(f.name, n + 4))
                end
            end
        end
        assert.equal(40, r.res.fields_n)
    end)

    it("refuses the values that a parser would, wherever the byte is", function()
        for n = 1, 40 do
            for at = 1, n do
                for _, byte in ipairs { 0, 9, 10, 13, 31, 32, 33, 126, 127, 128, 160, 255 } do
                    local value = ("a"):rep(at - 1) .. string.char(byte) .. ("a"):rep(n - at)
                    local good = C.rp_field_is_value(c.str(value))
                    local blank = (byte == 9 or byte == 32) and (at == 1 or at == n)
                    local control = byte < 32 and byte ~= 9 or byte == 127
                    assert.equal(not (blank or control), good)
                    local before = r.res.fields_n
                    assert.equal(good and "OK" or "INVALID", edit(ADD, "x", value))
                    assert.equal(before + (good and 1 or 0), r.res.fields_n)
                    if good then
                        local f = r.res.fields[before]
                        assert.equal(value, ffi.string(f.value, f.value_n))
                    end
                    C.rp_arena_reset(r.x.arena)
                    C.rp_msg_init(r.res, anchors[3], 4, 1000)
                end
            end
        end
    end)

    it("replaces the first of a name and takes the others away", function()
        for _, name in ipairs { "x-a", "accept" } do
            C.rp_msg_init(r.res, anchors[3], 4, 1000)
            edit(ADD, name, "1")
            edit(ADD, "x-b", "2")
            edit(ADD, name:upper(), "3")
            edit(ADD, name, "4")
            assert.equal("OK", edit(SET, name:upper(), "new"))
            assert.equal(name .. "=new x-b=2", live(r.res))
            assert.equal("OK", edit(DEL, name:upper(), ""))
            assert.equal("x-b=2", live(r.res))
            assert.equal("OK", edit(SET, name, "5"))
            assert.equal("x-b=2 " .. name .. "=5", live(r.res))
        end
    end)

    it("edits what goes upstream in a copy, and never its Host", function()
        r.phase = ACCESS
        assert.equal("BUSY", c.err_name(C.rp_abi_up_edit(r, SET, name_of("host"), "v", 1)))
        assert.equal(0, C.rp_abi_up_edit(r, SET, name_of("x-a"), "v", 1))
        assert.equal("x-a=v", live(r.up_head))
        assert.equal("", live(r.x.head))
        r.phase = HEADER_FILTER
        assert.equal("PHASE", c.err_name(C.rp_abi_up_edit(r, SET, name_of("x-a"), "v", 1)))
    end)

    it("says CAP when there is no room", function()
        local long = ("v"):rep(2 * 1024 * 1024)
        assert.equal("CAP", edit(SET, "x", long))
        C.rp_msg_init(r.res, anchors[3], 4, 4)
        for i = 1, 4 do assert.equal("OK", edit(SET, "x-" .. i, "v")) end
        assert.equal("CAP", edit(SET, "x-5", "v"))
        assert.equal("OK", edit(SET, "x-4", "w"))
    end)
end)
