-- SPDX-License-Identifier: MIT
--
-- page: docs/reference/performance.md, made from the results of a run (run.lua) and from the history in
-- the page as it was. Pure.
--
-- A history row is of one day and version; a later run of the same day takes its place. Nothing of
-- the page but that is read, so words are changed here.

local report = require("spec.bench.report")

local M = {}

local HISTORY = "<!-- history: rows below this line are kept by `make bench-page` -->"

local INTRO = [[
# Performance

Measured by `make bench`, written by `make bench-page`; do not edit. What is measured and how is in
`spec/bench/run.lua`, what with in `spec/bench/scenarios.lua` and `spec/bench/conf`. Run it on your
own machine: only figures of one run on one machine can be compared. Where the cost of a request lies,
what was tried, and what is left where a goal is missed, is told in [costs](../internals/costs.md).

* The figure that counts is *CPU time of the proxy per request*, in microseconds: what its whole
  process tree spent on processors, by the kernel's own account, divided by the requests that were
  answered. It hardly depends on how fast the load comes.
* Every proxy has one worker, which is pinned to a processor that nothing else of the measurement
  uses; the origin (nginx) and the load (wrk, h2load, and an open loop of our own, which does not
  forgive stalls) have another one. Everything goes over loopback, connections are kept on both
  sides unless a scenario says otherwise, and nobody writes an access log.
* Before anything is measured, each server must give the right answers: the body byte for byte, the
  headers where the scenario is about them, and the refusals of the policy where there is one.
* *floor* is a program that parses nothing: it copies bytes from one socket to another in one epoll
  loop. What it costs is what the kernel's TCP costs.
* Servers take turns, round by round. A ratio is the median of the ratios within rounds, and beside
  it stands the interval in which the true one lies (by the sign test, at the level that is told).
  A goal of which the interval lies on both sides is *unsure*.]]

local TRIAL_DISTURBED, TRIAL_ROUNDS = 0.25, 2

local SCALE_INTRO = [[
## As things grow

CPU microseconds per request at each point, and in brackets its ratio to the first point of the row.]]

local CURVE_NOTES = {
    routes = "Requests ask for up to 1,000 of the routes in turn.",
    connections = "All connections are open and have asked once before.",
    idle = "All connections are open and have asked once before.",
    bodies = "The body of 100 MB comes at 6 requests a second.",
    uploads = "The origin takes the whole body before it answers; nginx passes bodies on as they come.",
    headers = "So many headers in each request, and so many more in each answer.",
    heap = "The 99th percentile of latency at half load; each request leaves garbage in the Lua heap.",
}

-- ---------------------------------------------------------------- tables

local function row(cells)
    return "| " .. table.concat(cells, " | ") .. " |"
end

local function header(cells)
    local rule = {}
    for i = 1, #cells do rule[i] = i == 1 and "---" or "---:" end
    return row(cells) .. "\n" .. row(rule)
end

local function rounded(value, format)
    return value and (format or "%.0f"):format(value) or ""
end

local function ratio_text(cmp)
    if cmp.by == "value" then return ("%.1f MB"):format(cmp.value) end
    return ("%.2f%s (%.2f to %.2f, %.0f%%)"):format(cmp.value, cmp.by == "ratio" and "" or " us", cmp.low,
        cmp.high, cmp.level * 100)
end

local NAMES = { cpu_us = "CPU time", p99_us = "p99", p50_us = "p50" }

local function wording(cmp)
    if cmp.by == "value" then return "memory of " .. cmp.of .. " at rest" end
    return ("%s of %s %s %s%s"):format(NAMES[cmp.field] or cmp.field, cmp.of,
        cmp.by == "ratio" and "relative to" or "beyond", cmp.to, cmp.best and ", the best peer" or "")
end

local function goals(all)
    local out = { header { "scenario", "what", "measured", "goal", "" } }
    for _, s in ipairs(all.scenarios) do
        for _, cmp in ipairs(s.compared) do
            if cmp.goal then
                out[#out + 1] = row { s.name, wording(cmp), ratio_text(cmp),
                    ("at most %g"):format(cmp.goal), cmp.verdict }
            end
        end
    end
    out[1] = out[1]:gsub("\n.*", "\n| --- | --- | ---: | ---: | --- |")
    return table.concat(out, "\n")
end

local function entry_table(s)
    local out = { header { "server", "CPU us", "req/s", "p50 us", "p99 us", "p99.9 us", "MB idle",
        "MB loaded" } }
    for _, e in ipairs(s.entries) do
        out[#out + 1] = row { e.name, report.time(e.cpu_us), rounded(e.rate), rounded(e.p50_us),
            rounded(e.p99_us), rounded(e.p999_us), rounded(e.idle_kb / 1024, "%.1f"),
            rounded(e.loaded_kb / 1024, "%.1f") }
    end
    return table.concat(out, "\n")
end

local function others(s)
    local out = {}
    for _, cmp in ipairs(s.compared) do
        if not cmp.goal and (cmp.best or cmp.by == "difference") then
            out[#out + 1] = ("%s: %s."):format(wording(cmp), ratio_text(cmp))
        end
    end
    return out
end

local function left_out(s)
    local out = {}
    for _, skip in ipairs(s.skipped) do
        out[#out + 1] = ("Left out: %s, %s."):format(skip.name, M.without_paths(skip.why))
    end
    if s.disturbed > 0.1 then
        out[#out + 1] = ("Other programs had up to %.0f%% of the processor in one of the rounds.")
            :format(s.disturbed * 100)
    end
    return out
end

--- Text of others without the folders of this machine.
function M.without_paths(text)
    return (text:gsub("/[%w._-]+/[%w._/-]*", function(path) return path:match("[^/]*$") end))
end

local function paragraph(out, lines)
    if #lines > 0 then
        out[#out + 1] = ""
        out[#out + 1] = table.concat(lines, " ")
    end
end

-- ---------------------------------------------------------------- curves

local function points_of(s)
    local servers, points, cells, seen = {}, {}, {}, {}
    for _, e in ipairs(s.entries) do
        if not cells[e.server] then
            cells[e.server] = {}
            servers[#servers + 1] = e.server
        end
        if not seen[e.point] then
            seen[e.point] = true
            points[#points + 1] = e.point
        end
        cells[e.server][e.point] = e
    end
    return servers, points, cells
end

local function compared(s, of, to, field)
    for _, cmp in ipairs(s.compared) do
        if cmp.of == of and cmp.to == to and cmp.field == field then return cmp end
    end
end

local function curve_cell(s, first, e, field)
    if not e then return "" end
    local value = field == "cpu_us" and report.time(e.cpu_us) or rounded(e[field]) .. " us"
    local cmp = compared(s, e.name, first.name, field)
    local workers = e.processes and (", %d workers"):format(e.processes) or ""
    return cmp and ("%s (%.2f%s)"):format(value, cmp.value, workers) or value
end

local function curve_table(s)
    local servers, points, cells = points_of(s)
    local field = s.name == "heap" and "p99_us" or "cpu_us"
    local out = { header { s.curve, unpack(points) } }
    for _, server in ipairs(servers) do
        local line, first = { server }, cells[server][points[1]]
        for _, point in ipairs(points) do
            line[#line + 1] = curve_cell(s, first or {}, cells[server][point], field)
        end
        out[#out + 1] = row(line)
    end
    return table.concat(out, "\n")
end

-- ---------------------------------------------------------------- history

-- column -> scenario, of, by, best peer or to, field
local COLUMNS = {
    { "x floor", "floor", of = "rproxy", to = "floor" },
    { "1k", "1k", best = true },
    { "conn", "conn", best = true },
    { "noop +us", "luacost", of = "luanoop", to = "plain" },
    { "noop5 +us", "luacost", of = "luanoop5", to = "plain" },
    { "lua +us", "luacost", of = "lua", to = "plain" },
    { "x OpenResty", "openresty", of = "rproxy lua", to = "openresty lua" },
    { "100k", "100k", best = true },
    { "big", "big", best = true },
    { "tls", "tls", best = true },
    { "tlsnew", "tlsnew", best = true },
    { "h2", "h2", best = true },
    { "p99", "latency", best = true },
    { "heap p99", "heap", of = "rproxy 100 MB", to = "rproxy 0 MB" },
}

local function scenario_of(all, name)
    for _, s in ipairs(all.scenarios) do
        if s.name == name then return s end
    end
end

local function history_value(all, column)
    local s = scenario_of(all, column[2])
    for _, cmp in ipairs(s and s.compared or {}) do
        if column.best and cmp.best or (cmp.of == column.of and cmp.to == column.to) then
            return ("%.2f"):format(cmp.value)
        end
    end
    return ""
end

local function history_row(all)
    local m = all.machine
    local cells = { all.date:match("^%S+"), all.versions.rproxy or "?",
        ("%s, %d cores"):format(m.cpu, m.cores) }
    for _, column in ipairs(COLUMNS) do cells[#cells + 1] = history_value(all, column) end
    return row(cells)
end

--- Rows of the history in a page, oldest first.
function M.history_of(text)
    local rows = {}
    local at = text and select(2, text:find(HISTORY, 1, true))
    for line in (at and text:sub(at + 1) or ""):gmatch("[^\n]+") do
        if line:find("^| %d%d%d%d%-") then rows[#rows + 1] = line end
    end
    return rows
end

local function history(all, old)
    local cells = { "date", "version", "machine" }
    for _, column in ipairs(COLUMNS) do cells[#cells + 1] = column[1] end
    local out, new = { HISTORY, "", header(cells) }, history_row(all)
    local key = new:match("^| %S+ | %S+ |")
    for _, line in ipairs(M.history_of(old)) do
        if line:sub(1, #key) ~= key then out[#out + 1] = line end
    end
    out[#out + 1] = new
    return table.concat(out, "\n")
end

-- ---------------------------------------------------------------- the page

-- Few rounds, or a machine that had other work: figures that show the order of size and no more.
local function is_trial(all)
    for _, s in ipairs(all.scenarios) do
        local few = s.rounds and s.rounds < TRIAL_ROUNDS
        if few or s.disturbed > TRIAL_DISTURBED then return true end
    end
    return false
end

local function machine_lines(all)
    local names, m = {}, all.machine
    for name in pairs(all.versions) do names[#names + 1] = name end
    table.sort(names)
    local versions = {}
    for i, name in ipairs(names) do versions[i] = name .. " " .. all.versions[name] end
    local trial = is_trial(all) and "**A trial**: few rounds, or other programs worked on the machine "
        .. "meanwhile. The figures show the order of size, not more.\n\n" or ""
    return { "## The run", "",
        trial .. ("%s, %s, %d cores%s, %d GB, Linux %s. Load average at its start: %.2f.")
        :format(all.date, m.cpu, m.cores, m.virtual and " (a virtual machine)" or "", m.memory_gb,
        m.kernel, m.load), "", "Versions: " .. table.concat(versions, ", ") .. ".", "",
        ("The open loops came at %d requests a second."):format(all.rate) }
end

local function add_scenario(out, s)
    out[#out + 1] = ("\n### %s: %s\n"):format(s.name, s.about)
    out[#out + 1] = s.curve and curve_table(s) or entry_table(s)
    local about = { CURVE_NOTES[s.name] }
    for _, line in ipairs(others(s)) do about[#about + 1] = line end
    for _, line in ipairs(left_out(s)) do about[#about + 1] = line end
    paragraph(out, about)
end

--- The page for a run; `old`: the page as it is, for its history.
function M.text(all, old)
    local out = { INTRO, "", table.concat(machine_lines(all), "\n"), "",
        "![CPU microseconds per request](performance.svg)", "", "## Goals", "", goals(all), "",
        "## Scenarios" }
    local curves = {}
    for _, s in ipairs(all.scenarios) do
        if s.curve then curves[#curves + 1] = s else add_scenario(out, s) end
    end
    if #curves > 0 then out[#out + 1] = "\n" .. SCALE_INTRO end
    for _, s in ipairs(curves) do add_scenario(out, s) end
    out[#out + 1] = "\n## History\n\nRatios to the best peer, or as the column says. One row per day and "
        .. "version.\n"
    out[#out + 1] = history(all, old)
    return table.concat(out, "\n") .. "\n"
end

return M
