-- SPDX-License-Identifier: MIT
--
-- upstreams: `rproxy upstreams`: the peers of a running instance, once or again and again.

local args = require("rproxy.cli.args")
local cli = require("rproxy.cli")
local json = require("rproxy.json")

local M = {}

M.SPEC = {
    usage = "upstreams -p site.lua [--watch SECONDS] [--json] [UPSTREAM]",
    about = [[Print the peers of upstreams as all workers see them: state (up, down, drain, maint)
        and why, requests under way, requests and failures since the start, requests a second since
        the last look, and the mean time to a response head.

        Exit status: 0, 1 when a peer is down, 2 trouble.]],
    site = "needed",
    words = { 0, 1 },
    options = {
        { "watch", short = "w", value = "SECONDS", doc = "print it again and again, as top does" },
        { "json", doc = "one JSON object per peer and line" },
    },
}

local SECONDS = 10
local NUMBERS = { in_flight = true, requests = true, failures = true, latency_us = true }

local function read_rows(text, only)
    local names, rows = {}, {}
    for line in text:gmatch("[^\n]+") do
        local row, i = {}, 0
        for field in (line .. "\t"):gmatch("(.-)\t") do
            i = i + 1
            if #rows == 0 and not names.done then names[i] = field
            else row[names[i]] = NUMBERS[names[i]] and tonumber(field) or field end
        end
        if not names.done then names.done = true
        elseif not only or row.upstream == only then rows[#rows + 1] = row end
    end
    return rows
end

local function ask(only)
    local status, text = cli.order("upstreams", SECONDS)
    if status ~= 0 then cli.fail(text) end
    return read_rows(text, only)
end

local function show_time(us)
    if us == 0 then return "-" end
    if us < 1000 then return us .. " us" end
    if us < 1e6 then return ("%.1f ms"):format(us / 1000) end
    return ("%.1f s"):format(us / 1e6)
end

-- Requests a second since the look before; nil at the first.
local function rate_of(row, before, seconds)
    local was = before and before[row.upstream .. "\t" .. row.peer]
    if was then row.rps = math.max(0, (row.requests - was) / seconds) end
end

local COLUMNS = { "upstream", "peer", "state", "why", "in flight", "requests", "req/s", "failures",
    "latency" }

local function cells_of(row)
    return { row.upstream, row.peer, row.state, row.why, tostring(row.in_flight),
        tostring(row.requests), row.rps and ("%.1f"):format(row.rps) or "-",
        tostring(row.failures), show_time(row.latency_us) }
end

local function write_table(rows)
    local lines, widths = { COLUMNS }, {}
    for _, row in ipairs(rows) do lines[#lines + 1] = cells_of(row) end
    for _, cells in ipairs(lines) do
        for i, cell in ipairs(cells) do widths[i] = math.max(widths[i] or 0, #cell) end
    end
    for _, cells in ipairs(lines) do
        local out = {}
        for i, cell in ipairs(cells) do
            local pad = (" "):rep(widths[i] - #cell)
            out[i] = i > 4 and pad .. cell or cell .. pad
        end
        io.stdout:write((table.concat(out, "  "):gsub("%s+$", "")), "\n")
    end
end

local function write_json(rows)
    for _, row in ipairs(rows) do io.stdout:write(json.encode(row), "\n") end
end

local function look(opts, only, before, seconds)
    local rows, counts, down = ask(only), {}, false
    for _, row in ipairs(rows) do
        rate_of(row, before, seconds)
        counts[row.upstream .. "\t" .. row.peer] = row.requests
        down = down or row.state == "down"
    end
    if opts.json then write_json(rows) else write_table(rows) end
    io.stdout:flush()
    return down, counts, #rows
end

function M.main(argv)
    local opts, words = args.read(argv, M.SPEC)
    local every = opts.watch and tonumber(opts.watch)
    if opts.watch and not (every and every >= 0.1) then
        cli.fail("--watch takes seconds, from 0.1 on")
    end
    cli.connect(opts.site, opts.overrides)
    local down, counts, n = look(opts, words[1])
    if words[1] and n == 0 then cli.fail(("no upstream %q"):format(words[1])) end
    while every do
        cli.pause(every)
        if not opts.json then io.stdout:write("\27[H\27[2J") end
        down, counts = look(opts, words[1], counts, every)
    end
    return down and 1 or 0
end

return M
