-- SPDX-License-Identifier: MIT
--
-- upstreams: `rproxy upstreams`: the peers of a running instance, once or again and again.

local args = require("rproxy.cli.args")
local cli = require("rproxy.cli")
local columns = require("rproxy.cli.columns")
local json = require("rproxy.json")

local M = {}

M.SPEC = {
    usage = "upstreams -p site.lua [--watch SECONDS] [--json] [--worker N] [UPSTREAM]",
    about = [[Print the peers of upstreams as all workers see them: state (up, down, drain, maint)
        and why, requests under way, requests and failures since the start, requests a second and
        quantiles of the time to a response head over the last minute, the last check, and how often
        the peer rested. Below them, circuits and limits of upstreams and routes, if there are any.

        Exit status: 0, 1 when a peer is down or a circuit open, 2 trouble.]],
    site = "needed",
    words = { 0, 1 },
    options = {
        { "watch", short = "w", value = "SECONDS", doc = "print it again and again, as top does" },
        { "worker", value = "N", doc = "instead, what the balancer of that worker (or of the "
            .. "agent) sees: each peer's weight as it is set and as it counts now, its health, and "
            .. "whether it may be chosen" },
        { "json", doc = "one JSON object per peer, and per circuit, and line" },
    },
}

local SECONDS = 10
local TEXTS = { upstream = true, peer = true, state = true, why = true, from = true, check = true,
    kind = true, name = true, circuit = true }

-- Rows of a table whose first line names the columns; what is not known ("-") is left out.
local function read_rows(text)
    local names, rows = nil, {}
    for line in text:gmatch("[^\n]+") do
        local row, cells = {}, {}
        for cell in (line .. "\t"):gmatch("(.-)\t") do cells[#cells + 1] = cell end
        for i, cell in ipairs(names and cells or {}) do
            row[names[i]] = TEXTS[names[i]] and cell or tonumber(cell)
        end
        if names then rows[#rows + 1] = row else names = cells end
    end
    return rows
end

local function ask(what, wanted)
    local status, text = cli.order(what, SECONDS)
    if status ~= 0 then cli.fail(text) end
    local rows = {}
    for _, row in ipairs(read_rows(text)) do
        if wanted(row) then rows[#rows + 1] = row end
    end
    return rows
end

-- Requests a second since the look before, where there was one: it is nearer than that of a minute.
local function rate_of(row, before, seconds)
    local was = before and before[row.upstream .. "\t" .. row.peer]
    row.rps = was and math.max(0, (row.requests - was) / seconds) or row.rate
end

local function show_check(row)
    if row.check == "-" then return "-" end
    return ("%s, %.0f s ago"):format(row.check, row.check_age_ms / 1000)
end

local PEERS = { "upstream", "peer", "state", "why", "in flight", "requests", "req/s", "p50", "p99",
    "failures", "ejections", "last check", "from", left = 4 }

local function peer_cells(row)
    return { row.upstream, row.peer, row.state, row.why, tostring(row.in_flight),
        tostring(row.requests), row.rps and ("%.1f"):format(row.rps) or "-",
        columns.time(row.p50_us), columns.time(row.p99_us), tostring(row.failures),
        row.noticed > 0 and ("%d (%d noticed)"):format(row.ejections, row.noticed)
            or tostring(row.ejections), show_check(row), row.from or "-" }
end

local GATES = { "", "name", "circuit", "bad", "slow", "opened", "refused", "in flight", "limit",
    "calm", left = 3 }

local function show_circuit(row)
    if row.circuit ~= "open" then return row.circuit end
    return ("open %.0f s"):format(math.ceil(row.open_ms / 1000))
end

local function gate_cells(row)
    local has = row.circuit ~= "-"
    local limit = row.limit or row.max_requests
    return { row.kind, row.name, show_circuit(row),
        has and ("%d of %d"):format(row.bad, row.attempts) or "-",
        has and tostring(row.slow) or "-", has and tostring(row.opened) or "-",
        tostring(row.refused), tostring(row.in_flight),
        limit and tostring(limit) or "-", columns.time(row.calm_us) }
end

local function write_table(heads, cells_of, rows)
    local lines = { heads }
    for _, row in ipairs(rows) do lines[#lines + 1] = cells_of(row) end
    columns.write(lines, function(i) return i > heads.left end)
end

local function write_json(rows)
    for _, row in ipairs(rows) do io.stdout:write(json.encode(row), "\n") end
end

local function write_all(opts, peers, gates)
    if opts.json then
        write_json(peers)
        write_json(gates)
    else
        write_table(PEERS, peer_cells, peers)
        if #gates > 0 then
            io.stdout:write("\n")
            write_table(GATES, gate_cells, gates)
        end
    end
    io.stdout:flush()
end

local function look(opts, only, before, seconds)
    local counts, down = {}, false
    local peers = ask("upstreams", function(row) return not only or row.upstream == only end)
    local gates = ask("circuits", function(row)
        return not only or (row.kind == "upstream" and row.name == only)
    end)
    for _, row in ipairs(peers) do
        rate_of(row, before, seconds)
        counts[row.upstream .. "\t" .. row.peer] = row.requests
        down = down or row.state == "down"
    end
    for _, row in ipairs(gates) do down = down or row.circuit == "open" end
    write_all(opts, peers, gates)
    return down, counts, #peers
end

function M.main(argv)
    local opts, words = args.read(argv, M.SPEC)
    local every = opts.watch and tonumber(opts.watch)
    if opts.watch and not (every and every >= 0.1) then
        cli.fail("--watch takes seconds, from 0.1 on")
    end
    cli.connect(opts.site, opts.overrides)
    if opts.worker then
        if not words[1] then cli.fail("--worker needs an upstream") end
        local status, text = cli.ask(opts.worker, "peers " .. words[1], SECONDS)
        if status ~= 0 then cli.fail(text) end
        io.stdout:write(text)
        return 0
    end
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
