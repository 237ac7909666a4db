-- SPDX-License-Identifier: MIT
--
-- roster_text: peers as metrics: names with odd bytes, names that were cut, and sums of several.

local c = require("spec.support.c")
local ffi = c.ffi
local metrics = require("spec.support.metrics")
local C = c.load { "shm/roster.h", "shm/roster_text.h", "base/buf.h" }

describe("metrics of a roster", function()
    local box, out

    before_each(function()
        box = ffi.new("struct rp_roster *[1]", C.rp_roster_own(256))
        out = ffi.new("struct rp_buf")
        C.rp_buf_init(out, 1024 * 1024)
    end)

    after_each(function()
        C.rp_buf_fini(out)
        C.rp_roster_free(box)
    end)

    local function hold(up, peer)
        local place, fresh = ffi.new("uint32_t[1]"), ffi.new("bool[1]")
        assert.equal(0, C.rp_roster_hold(box[0], 0, c.str(up), c.str(peer), place, fresh))
        return place[0]
    end

    local function text()
        C.rp_buf_clear(out)
        C.rp_roster_text(box[0], 1000, out)
        local s = C.rp_buf_str(out)
        return ffi.string(s.ptr, s.len)
    end

    it("are none without peers", function()
        assert.equal("", text())
    end)

    it("escape names", function()
        hold('a"b\\c', "x\ny:1")
        local all = text()
        assert.truthy(all:find([[rproxy_peer_up{upstream="a\"b\\c",peer="x\ny:1"} 1]], 1, true), all)
    end)

    it("are cut between characters", function()
        local euro = "\226\130\172"
        hold(("u"):rep(46) .. euro, ("p"):rep(77) .. euro)
        local labels = ('{upstream="%s",peer="%s"}'):format(("u"):rep(46), ("p"):rep(77))
        assert.truthy(text():find("rproxy_peer_up" .. labels, 1, true), text())
        hold(("v"):rep(44) .. euro, "a" .. ("\128"):rep(90)) -- exactly so long; not UTF-8 at all
        assert.truthy(text():find(('{upstream="%s",peer="a'):format(("v"):rep(44) .. euro), 1, true))
    end)

    it("are one of peers whose names were cut to the same", function()
        local long = ("u"):rep(60)
        local one, two = hold(long .. "1", "p:1"), hold(long .. "2", "p:1")
        C.rp_roster_enter(box[0], 0, one)
        C.rp_roster_enter(box[0], 0, two)
        C.rp_roster_leave(box[0], 0, two, true)
        local labels = ('{upstream="%s",peer="p:1"}'):format(("u"):rep(47))
        local all = metrics.parse(text()) -- raises when a sample is there twice
        assert.equal(2, all["rproxy_peer_requests_total" .. labels])
        assert.equal(1, all["rproxy_peer_failures_total" .. labels])
        assert.equal(1, all["rproxy_peer_in_flight" .. labels])
        assert.equal(2, all["rproxy_peer_up" .. labels])
        assert.is_nil(all["rproxy_peer_state" .. labels:gsub("}", ',state="up"}')])
    end)

    it("tell states", function()
        local drained, failing = hold("u", "d:1"), hold("u", "f:1")
        C.rp_roster_set_order(box[0], drained, 1, 1000)
        C.rp_roster_set_health(box[0], failing, 2, 1000)
        local all = metrics.parse(text())
        assert.equal(1, all['rproxy_peer_state{upstream="u",peer="d:1",state="drain"}'])
        assert.equal(1, all['rproxy_peer_state{upstream="u",peer="f:1",state="down"}'])
        assert.equal(0, all['rproxy_peer_up{upstream="u",peer="f:1"}'])
    end)
end)
