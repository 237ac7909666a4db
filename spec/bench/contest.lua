-- SPDX-License-Identifier: MIT
--
-- contest: the entries of a scenario, measured in turns.
--
-- All servers of a scenario run at once and are loaded one after the other, round by round, each round
-- beginning with another one. So what disturbs the machine for longer than a round disturbs all of
-- them, and figures are compared within rounds (stats.compare). A round in which the host or other
-- programs took the proxy's core away is measured again, at most as many times as there are rounds;
-- then those that were disturbed least count.

local loads = require("spec.bench.loads")
local machine = require("spec.bench.machine")
local posix = require("spec.support.posix")
local servers = require("spec.bench.servers")
local stats = require("spec.bench.stats")

local M = {}

local DISTURBED = 0.08 -- share of the core; /proc/stat counts by ticks of 10 ms
local SETTLE_SECONDS = 0.02
local WARM_SECONDS = 0.5

local function note(entry, why)
    machine.say("  %s skipped: %s", entry.name, (why:gsub("%s+$", "")))
    return { name = entry.name, why = (why:gsub("%s+", " "):sub(1, 200):gsub(" $", "")) }
end

--- Start those of the entries that can be; returns them and { name, why } of the others.
local function start_all(entries)
    local ready, skipped = {}, {}
    for i, entry in ipairs(entries) do
        entry.port = servers.base_port + 2 * i
        entry.tlsport = entry.port + 1
        local pid, why = servers.start(entry)
        entry.pid = pid
        local ok = pid ~= nil
        if pid then ok, why = loads.check(entry) end
        if ok then
            entry.idle_kb = posix.tree_cost(pid)
            entry.rounds = {}
            ready[#ready + 1] = entry
        else
            if pid then servers.stop(pid) end
            skipped[#skipped + 1] = note(entry, why or "?")
        end
    end
    return ready, skipped
end

local function measure(entry, seconds)
    local ticks, ns = machine.core_ticks(entry.cores), machine.cpu_ns(entry.pid)
    local result, err = loads.run(entry, seconds)
    if not result then return nil, err end
    local spent = machine.cpu_ns(entry.pid) - ns
    result.disturbed = machine.disturbed(ticks, machine.core_ticks(entry.cores), spent)
    result.cpu_us = (result.cpu_ns or spent) / 1000 / result.requests
    return result
end

-- One round: results by entry, and the worst disturbance among them.
local function round(entries, first, seconds)
    local results, worst = {}, 0
    for i = 0, #entries - 1 do
        local entry = entries[(first + i - 1) % #entries + 1]
        local result, err = measure(entry, entry.seconds or seconds)
        if result then
            results[entry] = result
            worst = math.max(worst, result.disturbed)
        else
            machine.say("  %s: %s", entry.name, err)
        end
        posix.sleep(SETTLE_SECONDS)
    end
    return { results = results, disturbed = worst }
end

-- As many as asked for, undisturbed if possible.
local function rounds_of(entries, n, seconds)
    local all, clean = {}, 0
    while clean < n and #all < 2 * n do
        all[#all + 1] = round(entries, #all + 1, seconds)
        if all[#all].disturbed <= DISTURBED then clean = clean + 1 end
    end
    local again = #all - n
    table.sort(all, function(a, b) return a.disturbed < b.disturbed end)
    for i = #all, n + 1, -1 do all[i] = nil end
    return all, again
end

local FIELDS = { "cpu_us", "rate", "p50_us", "p99_us", "p999_us" }

local function values(entry, field)
    local list = {}
    for _, result in ipairs(entry.rounds) do
        if result and result[field] then list[#list + 1] = result[field] end
    end
    return list
end

local function summarize(entry)
    local out = { name = entry.name, server = entry.server, point = entry.point,
        idle_kb = entry.idle_kb, loaded_kb = posix.tree_cost(entry.pid),
        processes = entry.processes > (entry.workers or 1) and entry.processes or nil }
    for _, field in ipairs(FIELDS) do out[field] = stats.median(values(entry, field)) end
    out.cpu_low, out.cpu_high = stats.interval(values(entry, "cpu_us"))
    for _, result in ipairs(entry.rounds) do
        if result then out.trouble = out.trouble or result.trouble end
    end
    return out
end

-- ---------------------------------------------------------------- comparing

local function series(entry, field)
    local list = {}
    for i, result in ipairs(entry.rounds) do list[i] = result and result[field] or false end
    return list
end

local function best_of(entries, names, field)
    local best, least
    for _, entry in ipairs(entries) do
        local value = names[entry.name] and stats.median(values(entry, field))
        if value and (not least or value < least) then best, least = entry, value end
    end
    return best
end

local function find(entries, name)
    for _, entry in ipairs(entries) do
        if entry.name == name then return entry end
    end
end

-- One figure of an entry, beside its goal.
local function value_of(entry, want)
    local value = entry.idle_kb / 1024
    return { of = entry.name, by = "value", field = want.field, value = value, goal = want.at_most,
        verdict = value <= want.at_most and "met" or "missed" }
end

--- What a comparison { of, to, by, field, at_most } comes to. `to` may be a set of names: the
--- best of these.
local function compare(entries, want)
    local field = want.field or "cpu_us"
    local of = find(entries, want.of)
    if want.by == "value" then return of and value_of(of, want) end
    local to = type(want.to) == "table" and best_of(entries, want.to, field) or
        find(entries, want.to)
    if not of or not to or of == to then return nil end
    local cmp = stats.compare(series(of, field), series(to, field), want.by or "ratio")
    if not cmp then return nil end
    cmp.of, cmp.to, cmp.by, cmp.field = of.name, to.name, want.by or "ratio", field
    cmp.best = type(want.to) == "table" or nil
    if want.at_most then
        cmp.goal, cmp.verdict = want.at_most, stats.judge(cmp, want.at_most)
    end
    return cmp
end

--- Run a scenario (scenarios.expand): { name, about, entries, skipped, compared, again, disturbed }.
function M.run(scenario)
    local entries, skipped = start_all(scenario.entries)
    if scenario.warm ~= 0 then
        for _, entry in ipairs(entries) do loads.warm(entry, scenario.warm or WARM_SECONDS) end
    end
    local rounds, again = rounds_of(entries, scenario.rounds, scenario.seconds)
    local out = { name = scenario.name, about = scenario.about, entries = {}, skipped = skipped,
        compared = {}, again = again, rounds = scenario.rounds, seconds = scenario.seconds,
        curve = scenario.curve, disturbed = 0 }
    for i, one in ipairs(rounds) do
        for _, entry in ipairs(entries) do entry.rounds[i] = one.results[entry] or false end
        out.disturbed = math.max(out.disturbed, one.disturbed)
    end
    for _, entry in ipairs(entries) do
        if #values(entry, "cpu_us") > 0 then
            out.entries[#out.entries + 1] = summarize(entry)
        end
    end
    for _, want in ipairs(scenario.compare) do
        out.compared[#out.compared + 1] = compare(entries, want)
    end
    for _, entry in ipairs(entries) do servers.stop(entry.pid) end
    return out
end

return M
