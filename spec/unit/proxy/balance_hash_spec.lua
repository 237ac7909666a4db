-- SPDX-License-Identifier: MIT
--
-- balance_ring, balance_maglev, balance_rendezvous: shares, what moves when a peer comes or goes, and
-- the bound on load.

local balance = require("spec.support.balance")

local KEYS = 20000

local function peers(n, weight)
    local out = {}
    for i = 1, n do out[i] = { weight or 1, name = ("10.1.%d.%d:80"):format(i / 250, i % 250) } end
    return out
end

local function open(policy, specs)
    local b = balance.new(specs)
    if policy ~= "rendezvous" then b:table(policy) end
    return b
end

-- Key -> name of its peer.
local function owners(policy, b, specs, opts)
    local out = {}
    opts = opts or {}
    for i = 1, KEYS do
        opts.hash = balance.key(i)
        local at = b:pick(policy, opts)
        out[i] = at and specs[at].name
    end
    return out
end

local function moved(a, b)
    local n = 0
    for i = 1, KEYS do if a[i] ~= b[i] then n = n + 1 end end
    return n / KEYS
end

-- Largest share of a peer against the mean one.
local function peak(taken, n)
    local counts, most = {}, 0
    for _, name in ipairs(taken) do counts[name] = (counts[name] or 0) + 1 end
    for _, count in pairs(counts) do most = math.max(most, count) end
    return most * n / KEYS
end

-- Standard deviation of a ring's shares is about 1 / sqrt(points); Maglev's are within 1%, and the
-- keys' own dice add to both.
local PEAK = { ring = 1.35, maglev = 1.15, rendezvous = 1.15 }
-- What moves beyond the share of the peer that went.
local EXTRA = { ring = 0, maglev = 0.02, rendezvous = 0 }

for _, policy in ipairs { "ring", "maglev", "rendezvous" } do
    describe(policy, function()
        it("gives a key the same peer each time, in any order of the peers", function()
            local specs = peers(12)
            local first = owners(policy, open(policy, specs), specs)
            assert.equal(0, moved(first, owners(policy, open(policy, specs), specs)))
            local turned = {}
            for i = 1, 12 do turned[i] = specs[13 - i] end
            local again = owners(policy, open(policy, turned), turned)
            assert.is_true(moved(first, again) <= EXTRA[policy])
        end)

        it("spreads the keys evenly", function()
            for _, n in ipairs { 3, 10, 50 } do
                local specs = peers(n)
                local p = peak(owners(policy, open(policy, specs), specs), n)
                assert.is_true(p < PEAK[policy] + (n == 50 and 0.1 or 0), ("%d peers: %.2f"):format(
                    n, p))
            end
        end)

        it("spreads by weight", function()
            local specs = peers(4)
            for i = 1, 4 do specs[i][1] = i end
            local taken = open(policy, specs):shares(policy, KEYS)
            for i = 1, 4 do
                local share = taken[i] / KEYS
                assert.is_true(math.abs(share - i / 10) < 0.035, ("%d: %.3f"):format(i, share))
            end
        end)

        it("moves a peer's own keys and hardly any other when it leaves or comes", function()
            local specs = peers(20)
            local before = owners(policy, open(policy, specs), specs)
            local gone = {}
            for i, spec in ipairs(specs) do if i ~= 7 then gone[#gone + 1] = spec end end
            local after = owners(policy, open(policy, gone), gone)
            local own = 0
            for i = 1, KEYS do if before[i] == specs[7].name then own = own + 1 end end
            local more = moved(before, after) - own / KEYS
            assert.is_true(more <= EXTRA[policy] and more >= 0, ("%.4f"):format(more))
        end)

        it("moves nobody else's keys when a peer is down, and spreads its own", function()
            local specs = peers(10)
            local b = open(policy, specs)
            local before = owners(policy, b, specs)
            local after = owners(policy, b:health(4, "DOWN"), specs)
            local to, own = {}, 0
            for i = 1, KEYS do
                if before[i] == specs[4].name then
                    own = own + 1
                    to[after[i]] = (to[after[i]] or 0) + 1
                else
                    assert.equal(before[i], after[i])
                end
            end
            local heirs = 0
            for _, n in pairs(to) do
                heirs = heirs + 1
                assert.is_true(n < own / 2, n)
            end
            assert.equal(9, heirs)
            assert.equal(0, moved(before, owners(policy, b:health(4, "UP"), specs)))
        end)

        it("never gives a peer more than the bound", function()
            local specs = peers(8)
            local b = open(policy, specs)
            local hot = { balance.key(1), balance.key(2) } -- two keys are all the traffic
            local load = 0
            for i = 1, 800 do
                local at = b:pick(policy, { hash = hot[i % 2 + 1], bound = 125 })
                assert.is_not_nil(at)
                b.peers[at - 1].in_flight = b.peers[at - 1].in_flight + 1
                load = load + 1
                assert.is_true(b.peers[at - 1].in_flight <= math.ceil(load * 1.25 / 8))
            end
            for i = 0, 7 do assert.is_true(b.peers[i].in_flight <= 125) end
        end)

        it("keeps to its own peer while the bound is not met", function()
            local specs = peers(8)
            local b = open(policy, specs)
            local free = owners(policy, b, specs)
            for i = 0, 7 do b.peers[i].in_flight = 10 end
            assert.equal(0, moved(free, owners(policy, b, specs, { bound = 200 })))
        end)

        it("passes over peers that were tried, and has none of none", function()
            local specs = peers(3)
            local b = open(policy, specs)
            local first = b:pick(policy, { hash = 5 })
            local second = b:pick(policy, { hash = 5, tried = { first } })
            assert.is_true(second and second ~= first)
            assert.is_nil(b:pick(policy, { hash = 5, tried = { 1, 2, 3 } }))
            assert.is_nil(open(policy, {}):pick(policy, { hash = 5 }))
            assert.is_nil(open(policy, { { 0 } }):pick(policy, { hash = 5 }))
        end)
    end)
end

describe("tables", function()
    it("of a thousand peers with extreme weights are made, and are bounded", function()
        local specs = peers(1000)
        specs[1][1], specs[2][1] = 65536, 65536
        local b = balance.new(specs):table("ring"):table("maglev")
        assert.is_true(b.view.ring_n <= 2 ^ 20)
        assert.equal(262147, b.view.maglev_n)
        assert.is_not_nil(b:pick("ring", { hash = 9 }))
        assert.is_not_nil(b:pick("maglev", { hash = 9 }))
    end)

    it("of Maglev are filled turn by turn, by weight", function()
        local weights = { 5, 1, 0, 3, 2, 5, 7 }
        local b = balance.new(weights):table("maglev")
        local size, walks, filled = b.view.maglev_n, {}, 0
        local mix = balance.C.rp_hash_mix
        for i = 1, #weights do
            local hash = mix(b.peers[i - 1].key)
            walks[i] = { at = tonumber(hash % size), skip = tonumber(mix(hash) % (size - 1)) + 1,
                credit = 0 }
        end
        local slots = {}
        while filled < size do -- the paper's way: everybody in each turn
            for i, w in ipairs(walks) do
                w.credit = w.credit + weights[i]
                if w.credit >= 7 and filled < size then
                    w.credit = w.credit - 7
                    while slots[w.at] do w.at = (w.at + w.skip) % size end
                    slots[w.at], filled = i - 1, filled + 1
                end
            end
        end
        for at = 0, size - 1 do assert.equal(slots[at], b.view.maglev[at]) end
    end)

    it("of many light peers and a heavy one are made at once", function()
        local specs = {}
        for i = 1, 10000 do specs[i] = { 1, name = "p" .. i } end
        specs[1][1] = 65535
        local b = balance.new(specs):table("maglev")
        assert.equal(1048583, b.view.maglev_n)
        assert.is_not_nil(b:pick("maglev", { hash = 9 }))
    end)

    it("are made anew without a leak", function()
        local b = balance.new { 1, 1 }
        for _ = 1, 10 do b:table("ring"):table("maglev") end
        b.peers[0].full_weight, b.peers[1].full_weight = 0, 0
        b:table("ring"):table("maglev")
        assert.is_nil(b:pick("ring", { hash = 1 }))
    end)
end)
