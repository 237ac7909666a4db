-- SPDX-License-Identifier: MIT
--
-- upstream_live: groups whose peers come and go, seen from inside.

local inproc = require("spec.support.inproc")

local C, c, ffi = inproc.C, inproc.c, inproc.ffi
c.load { "shm/members.h", "shm/zone.h" }

local OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

describe("a group with live members", function()
    local p, zone, boxes

    before_each(function()
        p = inproc.open { up = { live = 1, balance = 0 } }
        zone, boxes = ffi.new("struct rp_zone *[1]"), {}
        assert.equal(0, C.rp_zone_new(c.str("spec"), 2 * C.rp_members_bytes(16, 65536) + 4096, zone))
        for i, name in ipairs { "members", "orders" } do
            boxes[i] = ffi.new("struct rp_members *[1]")
            assert.equal(0, C.rp_members_new(zone[0], c.str(name), 16, 65536, p.raw.roster,
                boxes[i]))
        end
        C.rp_proxy_use_members(p.raw, boxes[1][0], boxes[2][0])
    end)

    after_each(function()
        C.rp_proxy_use_members(p.raw, nil, nil)
        p:close()
        for i = 1, 2 do C.rp_members_free(boxes[i]) end
        C.rp_zone_free(zone)
    end)

    local function group() return C.rp_groups_at(C.rp_groups_find(p.raw, p.conf), 0) end

    local function put(box, ...)
        local text = table.concat({ ... }, "\n")
        assert.equal(0, C.rp_members_put(boxes[box][0], group().conf.name,
            c.str(text == "" and "" or text .. "\n"), nil))
        C.rp_group_settle(group())
    end

    local function line(address, weight, more)
        return ("%s\t%d\t0\t0\t%s"):format(address, weight or 1, more or "\t")
    end

    local function names()
        local g, out = group(), {}
        for i = 0, g.peers_n - 1 do
            assert.equal(i, g.peers[i].index)
            out[i + 1] = c.lua(g.peers[i].conf.name):gsub("127%.0%.0%.1:", "")
        end
        return table.concat(out, " "):gsub(tostring(p.up_port), "site")
    end

    it("has the site's, the provider's and the operator's, less those that he took out", function()
        put(1, line("127.0.0.1:1"), line("127.0.0.1:2"))
        assert.equal("site 1 2", (names()))
        put(2, line("127.0.0.1:3"), "-127.0.0.1:1")
        assert.equal("site 2 3", (names()))
        put(1, line("127.0.0.1:1"), line("127.0.0.1:3", 7))
        assert.equal("site 3", (names()))
        assert.equal(1, group().peers[1].conf.weight) -- the operator's word is the last
        put(2, "-127.0.0.1:" .. p.up_port)
        assert.equal("1 3", (names()))
        put(2, "?127.0.0.1:" .. p.up_port .. "\t9\t0\t0\t\t", "?127.0.0.1:8\t9\t0\t0\t\t")
        assert.equal("site 1 3 8", (names()))
        assert.equal(1, group().peers[0].conf.weight) -- as the site describes it
        put(2)
        put(1)
        assert.equal("site", (names()))
    end)

    it("is forgotten a while after a reload that took its upstream away", function()
        local function of(box, name)
            local out = ffi.new("struct rp_buf")
            C.rp_buf_init(out, 65536)
            assert.equal(0, C.rp_members_get(boxes[box][0], c.str(name), out, nil))
            local text = c.lua(C.rp_buf_str(out)) or ""
            C.rp_buf_fini(out)
            return text
        end
        for box = 1, 2 do
            for _, name in ipairs { "gone", "=routes" } do
                assert.equal(0, C.rp_members_put(boxes[box][0], c.str(name), c.str("x\n"), nil))
            end
        end
        put(2, line("127.0.0.1:3"))
        C.rp_groups_beat(p.raw) -- no reload: nothing is looked at
        assert.equal("x\n", of(2, "gone"))
        p.raw.sweep_ms = 1
        C.rp_groups_beat(p.raw)
        assert.equal(0, tonumber(p.raw.sweep_ms))
        for box = 1, 2 do
            assert.equal("", of(box, "gone"))
            assert.equal("x\n", of(box, "=routes"))
        end
        assert.equal("site 3", (names()))
    end)

    it("keeps the objects of peers that stay, their settings may change", function()
        put(1, line("127.0.0.1:1"), line("127.0.0.1:2"), line("127.0.0.1:3"))
        local second, id = group().peers[2], group().peers[2].id
        local place = second.place
        put(1, line("127.0.0.1:2", 5, "eu\t\tv\t2"), line("127.0.0.1:9"))
        assert.equal("site 2 9", (names()))
        local now = group().peers[1]
        assert.same({ id, place, 5, "eu", 1 }, { now.id, now.place, now.conf.weight,
            c.lua(now.conf.zone), now.conf.meta_n })
        assert.is_true(now == second)
        assert.equal(5, group().view.peers[1].full_weight)
        local ref = ffi.new("struct rp_peer_ref", { id = id, index = 2 })
        assert.equal(1, C.rp_group_index_of(group(), ref))
        put(1, line("127.0.0.1:9"))
        assert.equal(-1, C.rp_group_index_of(group(), ref))
    end)

    it("keeps a peer that left until its last request is over", function()
        local client = p:client()
        client:send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        local up = p:accept()
        up:head()
        local peer = group().peers[0]
        local place = peer.place
        put(2, line("127.0.0.1:1"), "-127.0.0.1:" .. p.up_port)
        assert.equal("1", (names()))
        assert.equal(C.RP_PEER_LEFT, peer.index)
        assert.equal(1, C.rp_roster_in_flight(p.raw.roster, place))
        up:send(OK)
        client:recv_until("ok")
        p:idle()
        assert.equal(0, C.rp_roster_in_flight(p.raw.roster, place))
        assert.equal(0, group().active)
    end)

    it("passes over what cannot be read, and looks at nothing twice", function()
        put(1, line("127.0.0.1:1"), "nonsense", line("127.0.0.1:2"))
        assert.equal("site 1 2", (names()))
        local first = group().peers[1]
        put(1, line("127.0.0.1:1"), "nonsense", line("127.0.0.1:2"))
        C.rp_roster_touch(p.raw.roster)
        C.rp_group_settle(group())
        assert.is_true(first == group().peers[1])
    end)

    it("follows at the beat when nobody asks it", function()
        assert.equal(0, C.rp_members_put(boxes[1][0], group().conf.name,
            c.str(line("127.0.0.1:1") .. "\n"), nil))
        assert.equal(1, group().peers_n)
        C.rp_groups_beat(p.raw)
        assert.equal(2, group().peers_n)
    end)
end)
