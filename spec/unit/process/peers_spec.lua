-- SPDX-License-Identifier: MIT
--
-- peers: what the operator is told of peers, and what he may say about them.

local c = require("spec.support.c")
local ffi = c.ffi
local C = c.load { "process/peers.h", "shm/roster.h", "shm/members.h", "shm/zone.h", "base/buf.h",
    "base/log.h" }

describe("peers", function()
    local box, out, zone, orders, all, names, plan

    before_each(function()
        C.rp_log_threshold = C.RP_LOG_alert -- orders are logged
        box = ffi.new("struct rp_roster *[1]", C.rp_roster_own(256))
        zone = ffi.new("struct rp_zone *[1]")
        orders = ffi.new("struct rp_members *[1]")
        assert.equal(0, C.rp_zone_new(c.str("spec"), C.rp_members_bytes(16, 65536), zone))
        assert.equal(0, C.rp_members_new(zone[0], c.str("orders"), 16, 65536, box[0], orders))
        names = ffi.new("rp_str[2]", { c.str("api"), c.str("two words") })
        plan = ffi.new("struct rp_plan", { upstreams = names, upstreams_n = 2 })
        all = ffi.new("struct rp_peers", { roster = box[0], orders = orders[0], plan = plan })
        out = ffi.new("struct rp_buf")
        C.rp_buf_init(out, 1024 * 1024)
    end)

    after_each(function()
        C.rp_buf_fini(out)
        C.rp_members_free(orders)
        C.rp_zone_free(zone)
        C.rp_roster_free(box)
    end)

    local function hold(upstream, peer)
        local place, fresh = ffi.new("uint32_t[1]"), ffi.new("bool[1]")
        assert.equal(0, C.rp_roster_hold(box[0], 0, c.str(upstream), c.str(peer), place, fresh))
        return place[0]
    end

    local function facts(place) return C.rp_roster_facts(box[0], place) end

    local function text()
        local s = C.rp_buf_str(out)
        return ffi.string(s.ptr, s.len)
    end

    local function order(words)
        C.rp_buf_clear(out)
        return c.err_name(C.rp_peers_order(all, c.str(words), 1000, out)), text()
    end

    local function lines(now)
        C.rp_buf_clear(out)
        C.rp_peers_table(box[0], now or 1000, out)
        local found = {}
        for line in text():gmatch("[^\n]+") do found[#found + 1] = line end
        return found
    end

    it("are told in the order of their names, with what is the matter", function()
        local a, b = hold("web", "a:1"), hold("api", "b:1")
        local d, e = hold("api", "a:1"), hold("api", "c:1")
        C.rp_roster_rest(box[0], a, 1000, 4500)
        C.rp_roster_set_health(box[0], b, C.RP_ROSTER_FAILING, 1000)
        C.rp_roster_fail(box[0], d)
        C.rp_roster_enter(box[0], 0, d)
        C.rp_roster_set_weight(box[0], e, 7)
        assert.same({
            "upstream\tpeer\tstate\twhy\tin_flight\trequests\tfailures\tlatency_us\tfrom\trate"
                .. "\tp50_us\tp99_us\tcheck\tcheck_age_ms\tejections\tnoticed",
            "api\ta:1\tup\t1 failures in a row\t1\t1\t0\t0\tsite\t-\t-\t-\t-\t-\t0\t0",
            "api\tb:1\tdown\tcheck failed\t0\t0\t0\t0\tsite\t-\t-\t-\t-\t-\t0\t0",
            "api\tc:1\tup\tweight 7 by operator\t0\t0\t0\t0\tsite\t-\t-\t-\t-\t-\t0\t0",
            "web\ta:1\tdown\trests 4 s\t0\t0\t0\t0\tsite\t-\t-\t-\t-\t-\t1\t0",
        }, lines())
        assert.matches("\tup\t", lines(4500)[5])
    end)

    it("take orders by upstream and name, and nothing else", function()
        local a, b = hold("api", "a:1"), hold("web", "a:1")
        assert.equal("OK", (order("api a:1 drain")))
        assert.equal(C.RP_ROSTER_DRAIN, facts(a).order)
        assert.equal(C.RP_ROSTER_READY, facts(b).order)
        assert.equal("OK", (order("  api   a:1  maint ")))
        assert.equal(C.RP_ROSTER_MAINT, facts(a).order)
        assert.equal("OK", (order("api a:1 ready")))
        assert.equal(1000, tonumber(facts(a).up_since_ms))
        assert.equal("OK", (order("api a:1 weight=0")))
        assert.equal(0, facts(a).weight)
        assert.equal("OK", (order("api a:1 weight=65535")))
        assert.equal("OK", (order("api a:1 weight=auto")))
        assert.equal(0xffffffff, facts(a).weight)
        for _, bad in ipairs { "", "api", "api a:1", "api a:1 drain now", "api a:1 Drain",
            "api a:1 weight=", "api a:1 weight=-1", "api a:1 weight=65536", "api a:1 weight=1x",
            "api a:1 weight=99999999999999999999" } do
            assert.equal("INVALID", (order(bad)), bad)
        end
        local err, why = order("api z:1 drain")
        assert.same({ "NOT_FOUND", 'no peer "z:1" in upstream "api" (rproxy upstreams lists them)' },
            { err, why })
        assert.equal(C.RP_ROSTER_READY, facts(a).order)
    end)

    it("are told apart by their whole names", function()
        local long = ("u"):rep(60)
        local a, b = hold(long .. "1", "a:1"), hold(long .. "2", "a:1")
        assert.equal("OK", (order(long .. "2 a:1 drain")))
        assert.same({ C.RP_ROSTER_READY, C.RP_ROSTER_DRAIN }, { facts(a).order, facts(b).order })
        assert.equal("NOT_FOUND", (order(long:sub(1, 47) .. " a:1 drain")))
        C.rp_roster_drop(box[0], 0, b)
        assert.equal("NOT_FOUND", (order(long .. "2 a:1 ready")))
    end)

    -- What the operator's set of an upstream says.
    local function set(upstream)
        C.rp_buf_clear(out)
        assert.equal(0, C.rp_members_get(orders[0], c.str(upstream), out, nil))
        return text()
    end

    it("with blanks in their names are told in quotes", function()
        local place = hold("two words", 'unix:/run/my "app"')
        assert.equal("OK", (order([["two words" "unix:/run/my \"app\"" drain]])))
        assert.equal(C.RP_ROSTER_DRAIN, facts(place).order)
        for _, bad in ipairs { '"two words unix:/x drain', '"two words"x unix:/x drain',
            'api "" drain', [["two words" "unix:/run/my \" drain]] } do
            assert.are_not.equal("OK", (order(bad)), bad)
        end
    end)

    it("are added and taken out", function()
        assert.equal("OK", (order("api 10.0.0.1:80 add weight=3 zone=a max_conns=9 meta.v=2 meta.a=b")))
        assert.equal("10.0.0.1:80\t3\t0\t9\ta\t\ta\tb\tv\t2\n", set("api"))
        assert.equal("INVALID", (order("api 10.0.0.1:80 add")))
        assert.equal("OK", (order("api 10.0.0.2:80 add backup")))
        assert.equal("OK", (order("api 10.0.0.1:80 remove")))
        assert.equal("10.0.0.2:80\t1\t15\t0\t\t\n", set("api"))
        assert.equal("NOT_FOUND", (order("api 10.0.0.1:80 remove")))
        assert.equal("NOT_FOUND", (order("web 10.0.0.1:80 add")))
        for _, bad in ipairs { "add weight=0", "add weight=x", "add weight", "add priority=15",
            "add zone=", "add meta.=x", "add meta.a=b meta.a=c", "add backup priority=1",
            "add size=1", "remove now" } do
            assert.equal("INVALID", (order("api 10.0.0.3:80 " .. bad)), bad)
        end
        assert.equal("INVALID", (order("api 10.0.0.3 add")))
        assert.equal("10.0.0.2:80\t1\t15\t0\t\t\n", set("api"))
    end)

    it("of the site are taken out by a line that add takes away again", function()
        hold("api", "10.0.0.1:80")
        assert.equal("INVALID", (order("api 10.0.0.1:80 add")))
        assert.equal("OK", (order("api 10.0.0.1:80 remove")))
        assert.equal("-10.0.0.1:80\n", set("api"))
        assert.equal("NOT_FOUND", (order("api 10.0.0.1:80 remove")))
        assert.equal("OK", (order("api 10.0.0.1:80 add")))
        assert.equal("?10.0.0.1:80\t1\t0\t0\t\t\n", set("api"))
        assert.equal("OK", (order("api 10.0.0.1:80 remove")))
        assert.equal("OK", (order("api 10.0.0.1:80 add weight=7")))
        assert.equal("-10.0.0.1:80\n10.0.0.1:80\t7\t0\t0\t\t\n", set("api"))
        assert.equal("OK", (order("api 10.0.0.1:80 remove")))
        assert.equal("-10.0.0.1:80\n", set("api"))
    end)

    it("begin anew when they are reset, but for the operator's word", function()
        local place = hold("api", "a:1")
        order("api a:1 drain")
        C.rp_roster_enter(box[0], 0, place)
        C.rp_roster_leave(box[0], 0, place, true)
        C.rp_roster_fail(box[0], place)
        C.rp_roster_rest(box[0], place, 1000, 9000)
        assert.equal("OK", (order("api a:1 reset")))
        local totals = C.rp_roster_totals(box[0], place)
        assert.same({ 0, 0 }, { tonumber(totals.requests), tonumber(totals.failures) })
        assert.same({ 0, 0, 0, C.RP_ROSTER_DRAIN }, { facts(place).fails, facts(place).ejections,
            tonumber(facts(place).rest_until_ms), facts(place).order })
        C.rp_roster_enter(box[0], 0, place)
        assert.equal(1, tonumber(C.rp_roster_totals(box[0], place).requests))
    end)

    it("whose names are hostile stay on their line", function()
        hold("a\tb\nc", "x\27y:1")
        local found = lines()
        assert.equal(2, #found)
        assert.equal(15, select(2, found[2]:gsub("\t", "")))
    end)
end)
