-- SPDX-License-Identifier: MIT
--
-- rp.metric: what it refuses, and that increments are machine code. What it counts: e2e/metrics_spec.

local ffi = require("ffi")
local library = ffi.load(os.getenv("RP_TEST_LIB") or "build/librproxy_test.so", true)
local c = require("spec.support.c")

c.load { "script/abi.h", "script/host.h" }

-- A host that is only as much as these calls touch.
local host_bytes = ffi.new("char[65536]")
package.loaded["rproxy.host"] = package.loaded["rproxy.host"] or { spawn = print, park = print,
    null = false, face = ffi.cast("void *", host_bytes) }

local abi = require("rproxy.abi")
local metric = require("rproxy.metric")

local cells = ffi.new("double[1024]")

local function interpreted(fn)
    local loop = assert(loadstring("local fn, n = ... for _ = 1, n do fn() end"))
    local count = 0
    jit.flush()
    for _ = 1, 5 do loop(fn, 1000) end
    debug.sethook(function() count = count + 1 end, "", 1)
    loop(fn, 4000)
    debug.sethook()
    return count / 4000
end

describe("rp.metric", function()
    local function says(words, what, opts)
        local ok, err = pcall(metric[what], opts)
        assert.is_false(ok)
        assert.truthy(err:find(words, 1, true), err)
    end

    it("refuses what is no metric", function()
        says("takes a table", "counter", "hits")
        says("takes a name", "counter", {})
        says("takes a name", "counter", { "a-b" })
        says("takes a name", "counter", { ("x"):rep(121) })
        says("the proxy's own", "counter", { "rproxy_hits" })
        says('no option "lables"; did you mean "labels"?', "counter", { "a", lables = {} })
        says("help is a string", "counter", { "a", help = 1 })
        says("at most 4 names", "counter", { "a", labels = { "a", "b", "c", "d", "e" } })
        says("at most 4 names", "counter", { "a", labels = { x = "y" } })
        for _, label in ipairs { "le", "__x", "a b", "1", "" } do
            says("cannot be a label", "counter", { "a", labels = { label } })
        end
        says("cannot be a label", "counter", { "a", labels = { "x", "x" } })
        says('no option "buckets"', "counter", { "a", buckets = { 1 } })
        says('no option "over"', "counter", { "a", over = "max" })
        says('"sum" or "max"', "gauge", { "a", over = "min" })
        says("rising numbers", "histogram", { "a", buckets = { 2, 1 } })
        says("rising numbers", "histogram", { "a", buckets = { "x" } })
        says("at most 32 numbers", "histogram", { "a", buckets = {} })
        says("from 1 to 16384", "counter", { "a", most = 0 })
    end)

    it("is one metric when it is defined twice alike, and refused otherwise", function()
        local first = metric.counter { "twice_total", labels = { "x" } }
        assert.equal(first, metric.counter { "twice_total", labels = { "x" }, help = "more" })
        says("defined already", "counter", { "twice_total" })
        says("defined already", "gauge", { "twice_total", labels = { "x" } })
        metric.histogram { "twice_seconds", buckets = { 1 } }
        says("defined already", "histogram", { "twice_seconds", buckets = { 1, 2 } })
    end)

    it("has labels that every reader takes, whatever clients send", function()
        for _, text in ipairs { "\195\188", "\226\130\172", "\240\159\154\128", "\237\159\191",
            "\238\128\128", "\244\143\191\191" } do
            assert.equal(text, metric.clean(text))
        end
        for _, text in ipairs { "\237\160\128", "\224\128\175", "\240\128\128\128", "\244\144\128\128",
            "\192\175", "\195", "\128", "\255", "\195\237\160\128", "\240\195\188\144\128\128" } do
            assert.equal(("?"):rep(#text), metric.clean(text))
        end
        assert.equal("??\\n?", metric.clean("\1\r\n\127"))
    end)

    it("counts nothing while the site is built, and still checks", function()
        local hits = metric.counter { "early_total", labels = { "x" } }
        hits:inc("a")
        for _, value in ipairs { {}, 0 / 0 } do
            assert.is_false(pcall(hits.inc, hits, value))
        end
        assert.is_false(pcall(hits.inc, hits))
        assert.is_false(pcall(hits.add, hits, -1, "a"))
        assert.is_false(pcall(hits.add, hits, "1", "a"))
        assert.is_false(pcall(function() hits:incr() end))
        assert.is_false(pcall(hits.with, hits))
    end)

    describe("increments", function()
        local plain = metric.counter { "plain_total" }
        local one = metric.counter { "one_total", labels = { "a" } }
        local two = metric.counter { "two_total", labels = { "a", "b" } }
        local level = metric.gauge { "level" }
        local took = metric.histogram { "took_seconds" }
        local bound = two:with("x", "y")

        setup(function()
            assert.is_not_nil(library)
            abi.H.cells = cells
            rawset(plain, "cell", 16)
            one.at.x = 17
            two.at.x = { y = 18 }
            rawset(level, "cell", 19)
            rawset(took, "cell", 20)
        end)
        teardown(function() abi.H.cells = nil end)

        for what, fn in pairs {
            ["of a counter"] = function() plain:inc() end,
            ["by more"] = function() plain:add(2.5) end,
            ["with a label"] = function() one:inc("x") end,
            ["with two labels"] = function() two:inc("x", "y") end,
            ["of one label set"] = function() bound:inc() end,
            ["of a gauge"] = function() level:set(7) end,
            ["of a histogram"] = function() took:observe(0.2) end,
        } do
            it(what .. " are machine code", function()
                local n = interpreted(fn)
                assert.is_true(n < 1, n)
            end)
        end

        it("arrive", function()
            local before = cells[17]
            one:inc("x")
            one:add(0.5, "x")
            assert.equal(before + 1.5, cells[17])
            level:inc()
            level:dec()
            assert.equal(7, cells[19])
            took:observe(0.3)
            assert.is_true(cells[20 + 6] >= 1) -- up to 0.5
        end)
    end)
end)
