-- SPDX-License-Identifier: MIT
--
-- split: `rproxy split`: how requests are divided among upstreams, now, and other shares.

local args = require("rproxy.cli.args")
local cli = require("rproxy.cli")
local columns = require("rproxy.cli.columns")
local json = require("rproxy.json")
local splits = require("rproxy.config.splits")

local M = {}

M.SPEC = {
    usage = "split -p site.lua [--json] [SPLIT [WORD..]]",
    about = [[Print how the requests of splits are divided, what became of them, and where rollouts
        stand; or change it, at once and in all workers. A change is not written anywhere: reloads
        keep it as long as the site's own numbers stay the same, a restart does not.

        SIDE=PERCENT: that share; sides that are not named divide the rest as they did. All sides
        may also be given weights. SIDE alone: everything goes there (blue/green). site: what the
        site says.

        A rollout: pause, resume, promote (the next step at once), rollback (nothing for the
        canary). Setting shares pauses it.

        Exit status: 0 done, 1 no such split, side or word, 2 trouble.]],
    site = "needed",
    words = { 0, 12 },
    options = {
        { "json", doc = "one JSON object per side and line" },
    },
}

local SECONDS = 10
local WORDS = { pause = true, resume = true, rollback = true, promote = true, site = true }
local TEXTS = { split = true, upstream = true, role = true, state = true, why = true }

--- @param text string  what the master tells
--- @return table[] rows
function M.read_rows(text)
    local names, rows
    for line in text:gmatch("[^\n]+") do
        local fields, row = {}, {}
        for field in (line .. "\t"):gmatch("(.-)\t") do fields[#fields + 1] = field end
        if not names then
            names = fields
        else
            rows = rows or {}
            for i, name in ipairs(names) do
                row[name] = TEXTS[name] and fields[i] or tonumber(fields[i])
            end
            rows[#rows + 1] = row
        end
    end
    return rows or {}
end

-- ---------------------------------------------------------------- shares

local function read_words(words)
    local given = {}
    for _, word in ipairs(words) do
        local name, number = word:match("^(.-)=([%d.]+)%%?$")
        if not name then return nil, ("%q is no word here"):format(word) end
        if given[name] then return nil, ("%s is there twice"):format(name) end
        given[name] = tonumber(number)
        if not given[name] then return nil, ("%q is no number"):format(number) end
    end
    return given
end

-- Some are named: percentages, and the others keep their proportions in what is left; those that
-- have nothing get nothing, unless nobody has: then the base has it.
local function fill_up(sides, given)
    local sum, others, weights = 0, 0, {}
    for _, side in ipairs(sides) do
        if given[side.upstream] then sum = sum + given[side.upstream]
        else others = others + side.share end
    end
    if sum > 100 then return nil, ("%g%% are more than all"):format(sum) end
    local base_is_named
    for _, side in ipairs(sides) do
        base_is_named = base_is_named or (side.role == "base" and given[side.upstream] ~= nil)
    end
    if others == 0 and base_is_named and sum < 100 then
        return nil, ("%g%% are left for sides that have nothing; name them, too"):format(100 - sum)
    end
    for i, side in ipairs(sides) do
        weights[i] = given[side.upstream]
        if not weights[i] then
            local part = others > 0 and side.share / others or (side.role == "base" and 1 or 0)
            weights[i] = (100 - sum) * part
        end
    end
    return weights
end

--- The shares that words ask for.
--- @param sides table[]  rows of one split
--- @param words string[]
--- @return integer[]|nil shares, string|nil err
function M.shares(sides, words)
    local known, weights = {}, {}
    for _, side in ipairs(sides) do known[side.upstream] = true end
    if #words == 1 and known[words[1]] then words = { words[1] .. "=100" } end
    local given, err = read_words(words)
    if not given then return nil, err end
    local all, sum = true, 0
    for name in pairs(given) do
        if not known[name] then return nil, ("no side %q"):format(name) end
    end
    for i, side in ipairs(sides) do
        weights[i] = given[side.upstream]
        all = all and weights[i] ~= nil
        sum = sum + (weights[i] or 0)
    end
    if not all then
        weights, err = fill_up(sides, given)
        if not weights then return nil, err end
    elseif sum == 0 then
        return nil, "somebody must have a share"
    end
    return splits.portions(weights)
end

-- ---------------------------------------------------------------- printing

local function show_state(row)
    if row.steps == 0 then return row.share ~= row.site and "set by the operator" or "-" end
    if row.role == "base" then return "-" end
    local text = ("%s, step %d of %d"):format(row.state, row.step, row.steps)
    return row.why ~= "-" and text .. " (" .. row.why .. ")" or text
end

local COLUMNS = { "split", "upstream", "share", "site", "requests", "failures", "p50", "p99",
    "rollout" }

local function write_table(rows)
    local lines = { COLUMNS }
    for _, row in ipairs(rows) do
        lines[#lines + 1] = { row.split, row.upstream .. (row.role == "base" and " (base)" or ""),
            ("%.2f%%"):format(row.share / 100), ("%.2f%%"):format(row.site / 100),
            ("%d"):format(row.requests), ("%d"):format(row.failures), columns.time(row.p50_us),
            columns.time(row.p99_us), show_state(row) }
    end
    columns.write(lines, function(i) return i > 2 and i < #COLUMNS end)
end

local function sides_of(rows, name)
    local out = {}
    for _, row in ipairs(rows) do
        if row.split == name then out[#out + 1] = row end
    end
    return out
end

-- ---------------------------------------------------------------- whole

local function ask()
    local status, text = cli.order("splits", SECONDS)
    if status ~= 0 then cli.fail(text) end
    return M.read_rows(text)
end

local function order(name, sides, words)
    local text = words[1]
    if #words > 1 or not WORDS[text] then
        local shares, err = M.shares(sides, words)
        if not shares then cli.fail(("%s: %s"):format(name, err), 1) end
        text = "set\t" .. table.concat(shares, "\t")
    end
    local status, answer = cli.order(("split %s\t%s"):format(name, text), SECONDS)
    if status ~= 0 then cli.fail(answer, 1) end
    io.stdout:write(answer, "\n")
end

function M.main(argv)
    local opts, words = args.read(argv, M.SPEC)
    for _, word in ipairs(words) do
        if word:find("%c") then cli.fail(("%q has control bytes in it"):format(word), 1) end
    end
    cli.connect(opts.site, opts.overrides)
    local rows, name = ask(), table.remove(words, 1)
    local sides = name and sides_of(rows, name) or rows
    if name and #sides == 0 then
        cli.fail(("no split %q; rproxy split without words lists them"):format(name), 1)
    end
    if words[1] then
        order(name, sides, words)
    elseif opts.json then
        for _, row in ipairs(sides) do io.stdout:write(json.encode(row), "\n") end
    else
        write_table(sides)
    end
    return 0
end

return M
