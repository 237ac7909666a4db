-- SPDX-License-Identifier: MIT
--
-- report: the results of a scenario (contest.run) as text for a terminal. Pure.

local M = {}

local function number(value, format)
    return value and (format or "%.0f"):format(value) or "-"
end

--- CPU time with as many digits as mean something: "12.34", "203.4", "5485".
function M.time(us)
    if not us then return "-" end
    return (us < 100 and "%.2f" or us < 1000 and "%.1f" or "%.0f"):format(us)
end

local function row(e)
    local span = e.cpu_low and ("%s..%s"):format(M.time(e.cpu_low), M.time(e.cpu_high)) or ""
    local notes = {}
    if e.processes then notes[#notes + 1] = e.processes .. " workers" end
    if e.trouble then notes[#notes + 1] = "! " .. e.trouble end
    return ("  %-18s %9s %-17s %9s %8s %8s %8s %6.1f/%6.1f  %s"):format(e.name, M.time(e.cpu_us), span,
        number(e.rate), number(e.p50_us), number(e.p99_us), number(e.p999_us), e.idle_kb / 1024,
        e.loaded_kb / 1024, table.concat(notes, ", ")):gsub("%s+$", "")
end

local WORDS = { cpu_us = "CPU", p99_us = "p99", p50_us = "p50" }

local function value(cmp)
    return ("%s, memory at rest: %.1f MB, goal %g: %s"):format(cmp.of, cmp.value, cmp.goal, cmp.verdict)
end

--- One comparison: "lua - plain: 0.81 us (0.70..0.92, 96%), goal 1: met".
function M.comparison(cmp)
    if cmp.by == "value" then return value(cmp) end
    local is_ratio = cmp.by == "ratio"
    local format = is_ratio and "%.3f" or "%.2f"
    local text = ("%s %s %s%s, %s: %s%s (%s..%s, %.0f%%)"):format(cmp.of, is_ratio and "/" or "-",
        cmp.to, cmp.best and " (best peer)" or "", WORDS[cmp.field] or cmp.field,
        format:format(cmp.value), is_ratio and "" or " us", format:format(cmp.low),
        format:format(cmp.high), cmp.level * 100)
    if not cmp.goal then return text end
    return ("%s, goal %g: %s"):format(text, cmp.goal, cmp.verdict)
end

--- Lines of a whole scenario.
function M.lines(result)
    local out = { ("  %-18s %9s %-17s %9s %8s %8s %8s %13s"):format("", "cpu us", "", "req/s", "p50 us",
        "p99 us", "p99.9", "PSS MB") }
    for _, e in ipairs(result.entries) do out[#out + 1] = (row(e)) end
    for _, cmp in ipairs(result.compared) do out[#out + 1] = "    " .. M.comparison(cmp) end
    if result.disturbed > 0.1 then
        out[#out + 1] = ("    disturbed: others had up to %.0f%% of the proxy's core in a round")
            :format(result.disturbed * 100)
    end
    return out
end

return M
