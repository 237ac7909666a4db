-- SPDX-License-Identifier: MIT
--
-- gates: what the operator is told of circuits and limits.

local c = require("spec.support.c")
local ffi = c.ffi
local C = c.load { "process/gates.h", "proxy/circuit.h", "proxy/limit.h", "base/buf.h" }

describe("the table of gates", function()
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

    local function gate(kind, name)
        local place = ffi.new("uint32_t[1]")
        assert.equal(0, C.rp_roster_hold_gate(box[0], 0, kind, c.str(name), place))
        return place[0]
    end

    local function put(g, which, value) C.rp_roster_put_word(box[0], g, which, value) end

    local function rows(now)
        C.rp_buf_clear(out)
        C.rp_gates_table(box[0], now, out)
        local s, found = C.rp_buf_str(out), {}
        for line in ffi.string(s.ptr, s.len):gmatch("[^\n]+") do found[#found + 1] = line end
        return found
    end

    it("has a line for each, upstreams first, and what is not there is left out", function()
        put(gate(C.RP_GATE_UPSTREAM, "web"), C.RP_GATE_MOST, 7)
        gate(C.RP_GATE_UPSTREAM, "api")
        put(gate(C.RP_GATE_ROUTE, "a /x"), C.RP_GATE_REFUSED, 3)
        local found = rows(1000)
        assert.same({
            "upstream\tapi\t-\t-\t-\t-\t-\t-\t0\t0\t-\t-\t-",
            "upstream\tweb\t-\t-\t-\t-\t-\t-\t0\t0\t7\t-\t-",
            "route\ta /x\t-\t-\t-\t-\t-\t-\t3\t0\t-\t-\t-",
        }, { found[2], found[3], found[4] })
        assert.equal(select(2, found[1]:gsub("\t", "")), select(2, found[2]:gsub("\t", "")))
    end)

    it("tells the state of a circuit as it is for who comes now", function()
        local g = gate(C.RP_GATE_UPSTREAM, "api")
        put(g, C.RP_GATE_SETTINGS, C.RP_GATE_HAS_CIRCUIT)
        put(g, C.RP_GATE_CELL_MS, 100)
        C.rp_roster_count_end(box[0], g, 1000, 100, true, false)
        C.rp_roster_count_end(box[0], g, 1000, 100, false, true)
        C.rp_roster_add_word(box[0], g, C.RP_GATE_OPENED)
        local function state(s)
            put(g, C.RP_GATE_CIRCUIT, C.rp_circuit_word(ffi.new("struct rp_circuit_state", s)))
            return rows(1000)[2]:match("^upstream\tapi\t(.-\t.-)\t2\t1\t1\t1\t0\t0\t")
        end
        assert.equal("closed\t0", state {})
        assert.equal("open\t500", state { state = C.RP_CIRCUIT_OPEN, at = 1500 })
        assert.equal("half-open\t0", state { state = C.RP_CIRCUIT_OPEN, at = 1000 })
        assert.equal("half-open\t0", state { state = C.RP_CIRCUIT_HALF, at = 900 })
    end)

    it("tells the limit that was found", function()
        local g = gate(C.RP_GATE_UPSTREAM, "api")
        put(g, C.RP_GATE_SETTINGS, C.RP_GATE_HAS_LIMIT)
        put(g, C.RP_GATE_LIMIT, C.rp_limit_word(ffi.new("struct rp_limit_state", { limit = 42,
            kept = 9, phase = 1 })))
        put(g, C.RP_GATE_RTT, 1234)
        C.rp_roster_enter(box[0], 0, g)
        assert.matches("\t1\t%-\t42\t1234$", rows(1000)[2])
    end)

    it("keeps hostile names on their line", function()
        gate(C.RP_GATE_ROUTE, "a\tb\nc")
        local found = rows(1000)
        assert.equal(2, #found)
        assert.equal(12, select(2, found[2]:gsub("\t", "")))
    end)
end)
