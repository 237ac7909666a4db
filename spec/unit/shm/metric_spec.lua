-- SPDX-License-Identifier: MIT
--
-- metric: families, series and cells in shared memory, between processes and over kills; the text for
-- Prometheus; what a wild worker's bytes do to readers.

local c = require("spec.support.c")
local posix = require("spec.support.posix")

local ffi, s = c.ffi, c.str
local C = c.load { "shm/metric.h" }

local COUNTER, GAUGE, GAUGE_MAX, HISTOGRAM, INSTANCE = 1, 2, 3, 4, 5
local ANY = 2 ^ 32 - 1
local WORKERS = 4

describe("metric", function()
    local zone, metrics, n

    before_each(function()
        zone = ffi.new("struct rp_zone *[1]")
        metrics = ffi.new("struct rp_metrics *[1]")
        n = ffi.new("uint32_t[1]")
        local bytes = C.rp_metric_bytes(WORKERS)
        assert.equal(0, C.rp_zone_new(s "zone", bytes, zone))
        assert.equal(0, C.rp_metric_new(zone[0], s "metrics", WORKERS, metrics))
    end)

    after_each(function()
        C.rp_metric_free(metrics)
        C.rp_zone_free(zone)
    end)

    local function family(name, kind, opt)
        opt = opt or {}
        local bounds = opt.bounds and ffi.new("double[?]", #opt.bounds, opt.bounds) or nil
        local f = ffi.new("struct rp_metric_family", { name = s(name), help = s(opt.help or ""),
            kind = kind, bounds = bounds, bounds_n = opt.bounds and #opt.bounds or 0,
            generation = opt.generation or 1 })
        local e = C.rp_metric_add_family(metrics[0], f, n)
        return e == 0 and n[0] or c.err_name(e)
    end
    local function series(of, labels, most)
        local e = C.rp_metric_add_series(metrics[0], of, s(labels), most or ANY, n)
        return e == 0 and n[0] or c.err_name(e)
    end
    local function page(worker)
        C.rp_metric_start(metrics[0], worker)
        return C.rp_metric_page(metrics[0], worker)
    end
    local function sum(cell) return C.rp_metric_sum(metrics[0], cell) end
    local function text(what, now)
        local buf = ffi.new("struct rp_buf")
        C.rp_buf_init(buf, 2 ^ 24)
        if what == "table" then C.rp_metric_table(metrics[0], now or 0, buf)
        else C.rp_metric_text(metrics[0], nil, now or 0, buf) end
        local out = ffi.string(buf.ptr or "", buf.len)
        C.rp_buf_fini(buf)
        return out
    end
    local function shown() -- without the accounts and what is always there
        return (text():gsub("# HELP rproxy_metrics.*refused_total %d+\n", ""))
    end

    it("gives a family and a series their numbers once, and keeps them", function()
        local f = family("hits", COUNTER)
        assert.equal(f, family("hits", COUNTER))
        local a, b = series(f, 'x="1"'), series(f, 'x="2"')
        assert.is_true(a ~= b)
        assert.equal(a, series(f, 'x="1"'))
        assert.equal(b, series(f, 'x="2"'))
        local other = ffi.new("struct rp_metrics *[1]")
        assert.equal(0, C.rp_metric_new(zone[0], s "metrics", WORKERS, other))
        assert.equal(0, C.rp_metric_add_series(other[0], f, s 'x="2"', ANY, n))
        assert.equal(b, n[0])
        C.rp_metric_free(other)
    end)

    it("refuses names, kinds and bounds that make no metric", function()
        for _, name in ipairs { "", "1a", "a-b", "a b", "a{", ("x"):rep(121) } do
            assert.equal("INVALID", family(name, COUNTER), name)
        end
        assert.is_number(family(("x"):rep(120), COUNTER))
        assert.equal("INVALID", family("a", 0))
        assert.equal("INVALID", family("a", 6))
        assert.equal("INVALID", family("a", HISTOGRAM))
        assert.equal("INVALID", family("a", COUNTER, { bounds = { 1 } }))
        for _, bounds in ipairs { { 2, 1 }, { 1, 1 }, { 0 / 0 }, { 1 / 0 } } do
            assert.equal("INVALID", family("a", HISTOGRAM, { bounds = bounds }))
        end
        assert.equal("INVALID", series(77, ""))
        local f = family("a", COUNTER)
        assert.equal("TOO_BIG", series(f, ("x"):rep(189)))
        assert.is_number(series(f, ("x"):rep(188)))
    end)

    it("has a cap for each family, and one for all", function()
        local f = family("hits", COUNTER)
        for i = 1, 3 do assert.is_number(series(f, "v=" .. i, 3)) end
        assert.equal("CAP", series(f, "v=4", 3))
        assert.is_number(series(f, "v=2", 3))
        assert.is_number(series(f, "v=other", ANY))
        local wide = family("wide", HISTOGRAM, { bounds = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 } })
        local i = 0
        while type(series(wide, "w=" .. i)) == "number" do i = i + 1 end
        assert.equal("CAP", series(wide, "w=" .. i))
        assert.is_true(i > 5000)
        assert.is_number(series(f, "v=1")) -- what is there is found
    end)

    it("keeps room for accounts of instances, whatever labels come", function()
        local wide = family("wide", HISTOGRAM, { bounds = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 } })
        local hits, accounts = family("hits", COUNTER), family("rproxy_plugin", INSTANCE)
        for _, of in ipairs { wide, hits } do
            local i = 0
            while series(of, "w=" .. i, 16384) ~= "CAP" do i = i + 1 end
            assert.is_true(i > 4000 or of == hits) -- which finds the cells taken
        end
        for i = 1, 200 do assert.is_number(series(accounts, "plugin" .. i, 4096)) end
        assert.is_number(series(wide, "w=other", ANY))
        assert.is_number(series(hits, "w=other", ANY))
    end)

    it("adds workers up, takes the greatest, and forgets the gauges of a dead one", function()
        local hits = series(family("hits", COUNTER), "")
        local now = series(family("now", GAUGE), "")
        local most = series(family("most", GAUGE_MAX), "")
        for w = 0, 2 do
            local p = page(w)
            p[hits], p[now], p[most] = p[hits] + 10, w + 1, w * 5
        end
        assert.equal(30, sum(hits))
        assert.equal(6, sum(now))
        assert.matches("\nmost 10\n", text())
        C.rp_metric_forget(metrics[0], 2)
        assert.equal(30, sum(hits))
        assert.equal(3, sum(now))
        assert.matches("\nmost 5\n", text())
        assert.equal(0, sum(2 ^ 32 - 1))
    end)

    it("writes the text of Prometheus, sorted, families together", function()
        local f = family("b_total", COUNTER, { help = "Two\nlines \\ \"q\"" })
        local g = family("a", GAUGE)
        page(0)[series(f, 'x="2"')] = 2
        page(0)[series(g, "")] = -1.5
        page(0)[series(f, 'x="1"')] = 2 ^ 40
        assert.equal([[
# TYPE a gauge
a -1.5
# HELP b_total Two\nlines \\ "q"
# TYPE b_total counter
b_total{x="1"} 1099511627776
b_total{x="2"} 2
]], shown())
    end)

    it("writes histograms with rising sums", function()
        local f = family("took", HISTOGRAM, { bounds = { 0.5, 1 } })
        local p, cell = page(0), series(f, 'x="1"')
        p[cell], p[cell + 1], p[cell + 2], p[cell + 3] = 1, 2, 3, 9.25
        assert.equal([[
# TYPE took histogram
took_bucket{x="1",le="0.5"} 1
took_bucket{x="1",le="1"} 3
took_bucket{x="1",le="+Inf"} 6
took_sum{x="1"} 9.25
took_count{x="1"} 6
]], shown())
    end)

    it("shows of two families of one name the one of the younger generation", function()
        local old = family("took", HISTOGRAM, { bounds = { 1 } })
        page(0)[series(old, "")] = 5
        local new = family("took", HISTOGRAM, { bounds = { 2 }, generation = 2 })
        page(0)[series(new, "")] = 1
        assert.equal([[
# TYPE took histogram
took_bucket{le="2"} 1
took_bucket{le="+Inf"} 1
took_sum 0
took_count 1
]], shown())
        family("took", HISTOGRAM, { bounds = { 1 }, generation = 3 }) -- it came back
        assert.matches('took_bucket{le="1"} 5\n', shown())
    end)

    it("writes numbers that are none", function()
        local p, f = page(0), family("odd", GAUGE)
        p[series(f, 'v="a"')], p[series(f, 'v="b"')], p[series(f, 'v="c"')] = 0 / 0, 1 / 0, -1 / 0
        local out = shown()
        assert.matches('odd{v="a"} NaN\n', out)
        assert.matches('odd{v="b"} %+Inf\n', out)
        assert.matches('odd{v="c"} %-Inf\n', out)
    end)

    it("has accounts of instances, with most time first, their names escaped", function()
        local f = family("rproxy_plugin", INSTANCE)
        local a, b = series(f, 'a"\\'), series(f, "b")
        local p = page(1)
        p[a], p[a + 4] = 7, 0.25
        p[b + 4] = 1
        assert.matches('rproxy_plugin_calls_total{instance="a\\"\\\\"} 7\n', (text():gsub("\\", "\\")))
        local rows = {}
        for line in text("table"):gmatch("[^\n]+") do rows[#rows + 1] = line end
        assert.equal(3, #rows)
        assert.matches("1%.000 .* b$", rows[2])
        assert.matches("0%.250 +7 ", rows[3])
    end)

    describe("the word of a breaker", function()
        local until_ms = ffi.new("uint64_t[1]")
        local function now(word, at)
            return tonumber(C.rp_metric_breaker_now(word, at, until_ms)), tonumber(until_ms[0])
        end

        it("is open until a moment, then half open", function()
            local word = C.rp_metric_breaker_word(1, 1000, 7)
            assert.same({ 1, 1000 }, { now(word, 999) })
            assert.same({ 2, 1000 }, { now(word, 1000) })
            assert.equal(7, C.rp_metric_breaker_generation(word))
            assert.equal(0, (now(C.rp_metric_breaker_word(0, 0, 2 ^ 20 + 7), 0)))
            assert.equal(7, C.rp_metric_breaker_generation(C.rp_metric_breaker_word(0, 0,
                2 ^ 20 + 7)))
        end)

        it("is heard by everybody", function()
            local cell = series(family("rproxy_plugin", INSTANCE), "x")
            C.rp_metric_set_word(metrics[0], cell, C.rp_metric_breaker_word(1, 50, 1))
            assert.equal(1, (now(C.rp_metric_word(metrics[0], cell), 49)))
            assert.matches("open +x\n", text("table", 49))
            assert.matches("trying +x\n", text("table", 51))
            assert.equal(0, tonumber(C.rp_metric_word(metrics[0], 2 ^ 31)))
        end)
    end)

    it("is whole after kills at any moment", function()
        local f = family("hits", COUNTER)
        for round = 1, 6 do
            local pid = posix.C.fork()
            if pid == 0 then
                local p, i = page(1), 0
                while true do
                    i = i + 1
                    local cell = series(f, ("r=%d,%d"):format(round, i % 500))
                    p[cell] = p[cell] + 1
                end
            end
            posix.poll(function() return sum(series(f, ("r=%d,%d"):format(round, 3))) > 0 end)
            posix.kill(pid, "KILL")
            posix.wait(pid, 5)
        end
        local seen = {}
        for round = 1, 6 do
            for i = 0, 499 do
                local cell = series(f, ("r=%d,%d"):format(round, i))
                assert.is_number(cell)
                assert.is_nil(seen[cell])
                seen[cell] = true
            end
        end
        assert.matches("# TYPE hits counter\n", text())
    end)

    it("survives reading whatever a wild worker wrote", function()
        local f = family("hits", COUNTER)
        series(f, 'a="1"')
        series(family("rproxy_plugin", INSTANCE), "x")
        series(family("took", HISTOGRAM, { bounds = { 1 } }), "")
        local bytes = tonumber(C.rp_metric_bytes(WORKERS))
        local base = ffi.cast("uint8_t *", C.rp_metric_page(metrics[0], 0))
            - (bytes - WORKERS * 65536 * 8) -- where the part begins
        math.randomseed(7)
        for _ = 1, 30 do
            for _ = 1, 3000 do base[math.random(64, 500000)] = math.random(0, 255) end
            local words = ffi.cast("uint32_t *", base)
            words[2], words[3] = math.random(0, 2 ^ 31), math.random(0, 2 ^ 31)
            text()
            text("table")
            C.rp_metric_forget(metrics[0], 1)
        end
    end)
end)
