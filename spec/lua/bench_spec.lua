-- SPDX-License-Identifier: MIT
--
-- The parts of spec/bench that measure nothing.

local chart = require("spec.bench.chart")
local machine = require("spec.bench.machine")
local page = require("spec.bench.page")
local report = require("spec.bench.report")
local scenarios = require("spec.bench.scenarios")
local stats = require("spec.bench.stats")

local function close_to(want, got)
    assert.is_true(math.abs(want - got) < 1e-9, ("%s is not %s"):format(got, want))
end

describe("spec.bench.stats", function()
    it("finds the middle of odd and even numbers of values, and nothing of none", function()
        assert.equal(2, stats.median { 3, 1, 2 })
        assert.equal(2.5, stats.median { 4, 1, 2, 3 })
        assert.is_nil(stats.median {})
    end)

    it("leaves the list as it was", function()
        local list = { 3, 1, 2 }
        stats.median(list)
        stats.interval(list)
        assert.same({ 3, 1, 2 }, list)
    end)

    it("gives the sign test's interval, as tables have it", function()
        local list = {}
        for i = 1, 15 do list[i] = 16 - i end
        local low, high, level = stats.interval(list)
        assert.same({ 4, 12 }, { low, high })
        close_to(1 - 2 * 576 / 32768, level) -- 1 + 15 + 105 + 455 of 2^15
    end)

    it("takes all there is when that is too little, and tells the level it reaches", function()
        local low, high, level = stats.interval { 5, 1, 3 }
        assert.same({ 1, 5, 0.75 }, { low, high, level })
        low, high, level = stats.interval { 7 }
        assert.same({ 7, 7, 0 }, { low, high, level })
        assert.is_nil(stats.interval {})
    end)

    it("is not moved by one wild value", function()
        local calm, wild = {}, {}
        for i = 1, 15 do calm[i], wild[i] = i, i end
        wild[15] = 1e9
        assert.same({ stats.interval(calm) }, { stats.interval(wild) })
    end)

    it("compares within rounds: what disturbs both is not seen", function()
        local cmp = stats.compare({ 11, 111, 1011 }, { 10, 110, 1010 }, "difference")
        assert.same({ 1, 1, 1, 3 }, { cmp.value, cmp.low, cmp.high, cmp.n })
        assert.equal(2, stats.compare({ 2, 4, 20 }, { 1, 2, 10 }, "ratio").value)
    end)

    it("leaves out rounds that one of them missed", function()
        local cmp = stats.compare({ 1, false, 3, 9 }, { 1, 5, false, 3 }, "ratio")
        assert.equal(2, cmp.n)
        assert.equal(2, cmp.value)
        assert.is_nil(stats.compare({ false }, { 1 }, "ratio"))
        assert.is_nil(stats.compare({ 1 }, { 0 }, "ratio"))
    end)

    it("says met and missed only when the interval does, too", function()
        local function verdict(value, low, high, level)
            return stats.judge({ value = value, low = low, high = high, level = level or 0.95 }, 1)
        end
        assert.equal("met", verdict(0.9, 0.8, 1))
        assert.equal("met, unsure", verdict(0.9, 0.8, 1.1))
        assert.equal("missed, unsure", verdict(1.1, 0.9, 1.2))
        assert.equal("missed", verdict(1.1, 1.05, 1.2))
        assert.equal("met, unsure", verdict(0.9, 0.9, 0.9, 0.5))
    end)
end)

describe("spec.bench.machine", function()
    it("counts as disturbance what others ran and what the host took, not what was measured", function()
        local function at(all, busy, stolen) return { all = all, busy = busy, stolen = stolen } end
        local half_second = 0.5e9 -- 50 ticks
        close_to(0.12, machine.disturbed(at(100, 10, 1), at(200, 70, 6), half_second))
        close_to(0, machine.disturbed(at(0, 0, 0), at(100, 52, 0), half_second)) -- chance
        close_to(0, machine.disturbed(at(5, 5, 0), at(5, 5, 0), 0))
    end)

    it("fills in values, and raises for one that is missing", function()
        assert.equal("a 1 %s", machine.fill("a %(n) %s", { n = 1 }))
        assert.has_error(function() machine.fill("%(n)", {}) end, "no value for n")
    end)
end)

describe("spec.bench.scenarios", function()
    it("names each scenario of a group once, in order", function()
        assert.same({ "tls", "routes", "connections", "idle", "workers", "bodies", "uploads", "headers",
            "heap" }, scenarios.names { "tls", "scale", "routes" })
        assert.is_false(scenarios.knows("nonsense"))
    end)

    it("makes an entry of each server, or of each server at each point", function()
        local plain = scenarios.expand("plain", { servers = { nginx = true, rproxy = true } })
        assert.equal(2, #plain.entries)
        local routes = scenarios.expand("routes", { rounds = 2 })
        assert.equal(6, #routes.entries)
        assert.equal(2, routes.rounds)
        assert.equal("rproxy 10k", routes.entries[6].name)
        assert.equal(10000, routes.entries[6].load.paths)
        assert.equal("/plain", routes.entries[6].load.path)
    end)

    it("asks only for comparisons of entries that it has, each with another one", function()
        for _, name in ipairs(scenarios.names { "all", "single" }) do
            local scenario = scenarios.expand(name, {})
            local names = {}
            for _, entry in ipairs(scenario.entries) do
                assert.is_nil(names[entry.name], name .. ": " .. entry.name .. " twice")
                names[entry.name] = true
                assert.truthy(entry.load.path and entry.load.bytes and entry.load.conns, name)
            end
            for _, want in ipairs(scenario.compare) do
                assert.truthy(names[want.of], name)
                assert.not_equal(want.of, want.to)
            end
        end
    end)
end)

-- ---------------------------------------------------------------- report, chart and page

local function entry(name, server, cpu, point)
    return { name = name, server = server, point = point, cpu_us = cpu, cpu_low = cpu, cpu_high = cpu,
        rate = 1000, idle_kb = 2048, loaded_kb = 4096, p50_us = 10, p99_us = 20 }
end

local function results(date, version)
    return { date = date or "2026-01-02 03:04 UTC", rate = 5000,
        machine = { cpu = "Some <CPU>", cores = 2, kernel = "6.1", memory_gb = 4, load = 0.1 },
        versions = { nginx = "1.2", rproxy = version or "0.1.0" },
        scenarios = {
            { name = "conn", about = "a & b", disturbed = 0, skipped = {
                { name = "caddy", why = "does not start: /srv/some/build/caddy.conf:4: no" } },
                entries = { entry("nginx", "nginx", 10), entry("rproxy", "rproxy", 8) },
                compared = { { of = "rproxy", to = "nginx", by = "ratio", field = "cpu_us", best = true,
                    value = 0.8, low = 0.7, high = 0.85, level = 0.96, goal = 0.9, verdict = "met" } } },
            { name = "routes", about = "routes", curve = "routes", disturbed = 0, skipped = {},
                entries = { entry("rproxy 1", "rproxy", 8, "1"), entry("rproxy 10", "rproxy", 9, "10") },
                compared = { { of = "rproxy 10", to = "rproxy 1", by = "ratio", field = "cpu_us",
                    value = 1.125, low = 1, high = 1.2, level = 0.96 } } },
        } }
end

describe("spec.bench.report", function()
    it("writes a line per entry and per comparison", function()
        local lines = report.lines(results().scenarios[1])
        assert.equal(4, #lines)
        assert.truthy(lines[3]:find("rproxy", 1, true) and lines[3]:find("8.00", 1, true))
        assert.equal("    rproxy / nginx (best peer), CPU: 0.800 (0.700..0.850, 96%), goal 0.9: met",
            lines[4])
    end)

    it("gives times as many digits as mean something", function()
        assert.same({ "9.99", "100.0", "5485", "-" },
            { report.time(9.991), report.time(99.999 + 0.001), report.time(5485.2), report.time(nil) })
    end)
end)

describe("spec.bench.chart", function()
    it("has a bar per entry, as long as its time, and escapes text", function()
        local svg = chart.svg({ results().scenarios[1] }, "CPU <us>")
        local widths = {}
        for width in svg:gmatch('<rect [^>]-width="([%d.]+)"') do widths[#widths + 1] = tonumber(width) end
        assert.equal(2, #widths)
        close_to(0.8, math.floor(widths[2] / widths[1] * 100 + 0.5) / 100)
        assert.truthy(svg:find("CPU &lt;us&gt;", 1, true) and svg:find("a &amp; b", 1, true))
        assert.is_nil(svg:find("a & b", 1, true))
    end)

    it("leaves out a scenario in which nobody answered", function()
        local svg = chart.svg({ { name = "gone", about = "", entries = {} } }, "t")
        assert.is_nil(svg:find("gone", 1, true))
    end)
end)

describe("spec.bench.page", function()
    it("shows goals, scenarios, curves with their ratios, and who was left out", function()
        local text = page.text(results(), nil)
        assert.truthy(text:find("| conn | CPU time of rproxy relative to nginx, the best peer "
            .. "| 0.80 (0.70 to 0.85, 96%) | at most 0.9 | met |", 1, true))
        assert.truthy(text:find("| rproxy | 8.00 | 9.00 (1.12) |", 1, true) or
            text:find("| rproxy | 8.00 | 9.00 (1.13) |", 1, true))
        assert.truthy(text:find("Left out: caddy, does not start: caddy.conf:4: no.", 1, true))
    end)

    it("says so when the machine had other work or rounds were few", function()
        local all = results()
        assert.is_nil(page.text(all, nil):find("**A trial**", 1, true))
        all.scenarios[1].disturbed = 0.5
        assert.truthy(page.text(all, nil):find("**A trial**", 1, true))
        all.scenarios[1].disturbed, all.scenarios[2].rounds = 0, 1
        assert.truthy(page.text(all, nil):find("**A trial**", 1, true))
    end)

    it("names no folder of the machine", function()
        assert.is_nil(page.text(results(), nil):find("/srv", 1, true))
        assert.equal("a b.c d", page.without_paths("a /x/y/b.c d"))
    end)

    it("keeps one history row per day and version, oldest first", function()
        local text = page.text(results("2026-01-02 03:04 UTC", "0.1.0"), nil)
        text = page.text(results("2026-01-02 13:14 UTC", "0.1.0"), text)
        assert.equal(1, #page.history_of(text))
        text = page.text(results("2026-01-03 03:04 UTC", "0.1.0"), text)
        text = page.text(results("2026-01-03 03:04 UTC", "0.2.0"), text)
        local rows = page.history_of(text)
        assert.equal(3, #rows)
        assert.truthy(rows[1]:find("^| 2026%-01%-02 | 0.1.0 |"))
        assert.truthy(rows[3]:find("^| 2026%-01%-03 | 0.2.0 |"))
        assert.truthy(rows[1]:find("| 0.80 |", 1, true))
    end)

    it("is the same when it is made again", function()
        local text = page.text(results(), nil)
        assert.equal(text, page.text(results(), text))
    end)
end)
