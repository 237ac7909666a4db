-- SPDX-License-Identifier: MIT
--
-- splits: one rp.split as the model that build hands over. The same rp.split in several routes is
-- one split. Shares are whole numbers of PARTS in all.

local balance = require("rproxy.config.balance")
local conditions = require("rproxy.config.conditions")
local locate = require("rproxy.config.locate")
local options = require("rproxy.config.options")
local schema = require("rproxy.schema")

local M = {}

M.PARTS = 10000
local SIDES_MOST = 8
local WEIGHT_MOST = 1e6

local function largest_of(shares)
    local at = 1
    for i, share in ipairs(shares) do if share > shares[at] then at = i end end
    return at
end

--- Whole numbers that add up to PARTS, in proportion to weights; what cutting leaves over goes to
--- those that lost most by it. A weight above zero gets one at least.
--- @param weights number[]  not all zero
--- @return integer[] shares
function M.portions(weights)
    local sum, left, shares, order = 0, M.PARTS, {}, {}
    for _, weight in ipairs(weights) do sum = sum + weight end
    for i, weight in ipairs(weights) do
        local exact = weight / sum * M.PARTS
        shares[i] = math.floor(exact + 1e-9)
        left = left - shares[i]
        order[i] = { at = i, rest = exact - shares[i] }
    end
    table.sort(order, function(a, b)
        if a.rest ~= b.rest then return a.rest > b.rest end
        return a.at < b.at
    end)
    for i = 1, left do shares[order[i].at] = shares[order[i].at] + 1 end
    for i, weight in ipairs(weights) do
        if weight > 0 and shares[i] == 0 then
            local from = largest_of(shares)
            shares[from], shares[i] = shares[from] - 1, 1
        end
    end
    return shares
end

-- ---------------------------------------------------------------- sides

local function add_side(split, name, weight, complain)
    if type(name) ~= "string" or name == "" then
        complain('rp.split: a side is NAME = SHARE or { "NAME", SHARE }, got %s',
            schema.show(name))
    elseif type(weight) ~= "number" or weight ~= weight or weight < 0 or weight > WEIGHT_MOST then
        complain("rp.split: share of %s: expected a number from 0 to %d, got %s", name,
            WEIGHT_MOST, schema.show(weight))
    else
        for _, side in ipairs(split.sides) do
            if side.name == name then return complain("rp.split: %s is there twice", name) end
        end
        split.sides[#split.sides + 1] = { name = name, weight = weight }
    end
end

-- Positional ones in their order, then those by name, sorted. What is left are options.
local function read_sides(split, given, complain)
    local named, names = {}, {}
    for i, side in ipairs(given) do
        if type(side) == "table" then add_side(split, side[1], side[2], complain)
        else complain('rp.split[%d]: expected { "NAME", SHARE }, got %s', i, schema.show(side)) end
    end
    for key, value in pairs(given) do
        if type(key) == "string" and type(value) == "number" then names[#names + 1] = key
        elseif type(key) == "string" then named[key] = value
        elseif type(key) ~= "number" or key < 1 or key > #given or key % 1 ~= 0 then
            complain("rp.split: expected names and a list, got the key %s", schema.show(key))
        end
    end
    table.sort(names)
    for _, name in ipairs(names) do add_side(split, name, given[name], complain) end
    return named
end

local function check_sides(split, complain)
    local sum = 0
    for _, side in ipairs(split.sides) do sum = sum + side.weight end
    if #split.sides == 0 or #split.sides > SIDES_MOST then
        complain("rp.split: expected 1 to %d sides such as stable = 95, canary = 5, got %d",
            SIDES_MOST, #split.sides)
    elseif sum <= 0 then
        complain("rp.split: all shares are 0; nobody would get a request")
    end
end

-- The one that is said; the first of a list; the one named "stable"; the largest.
local function find_base(split, given, complain)
    local base
    for i, side in ipairs(split.sides) do
        if split.opts.base and side.name == split.opts.base then return i end
        if side.name == "stable" then base = i end
    end
    if split.opts.base then
        complain("rp.split.base: %s is none of the sides", schema.show(split.opts.base))
        return 1
    end
    if given[1] ~= nil then return 1 end
    if base then return base end
    base = 1
    for i, side in ipairs(split.sides) do
        if side.weight > split.sides[base].weight then base = i end
    end
    return base
end

-- ---------------------------------------------------------------- rules, rollout

local RULE = schema.compile({
    header = { "map", of = { "any" }, default = {} },
    query = { "map", of = { "any" }, default = {} },
    cookie = { "map", of = { "any" }, default = {} }, source = { "list<string>", default = {} },
    upstream = { "string", required = true },
}, "when")

local function read_rules(split, given, at, report)
    if given == nil then return end
    if type(given) ~= "table" or schema.not_a_list(given) ~= nil then
        report:add(at, "rp.split.when: expected a list of rules such as "
            .. '{ header = { ["x-canary"] = "1" }, upstream = "canary" }, got %s',
            schema.show(given))
        return
    end
    for i, item in ipairs(given) do
        local path, ctx = ("when[%d]"):format(i), schema.context()
        if type(item) ~= "table" then item = {} end
        local checked = schema.check(RULE, item, path, ctx)
        report:add_context(at, ctx, "rp.split")
        local rule = { upstream = checked.upstream, conds = {} }
        if not ctx.errors[1] then
            conditions.read(rule.conds, checked, path, false, function(...) report:add(at, ...) end)
            if #rule.conds == 0 then
                report:add(at, "rp.split.%s: no condition; it would take every request", path)
            end
            split.rules[#split.rules + 1] = rule
        end
    end
end

local function read_rollout(split, complain)
    local r = split.opts.rollout
    if not r then return end
    if not r.canary and #split.sides == 2 then
        r.canary = split.sides[3 - split.base].name
    end
    for i, side in ipairs(split.sides) do
        if side.name == r.canary and i ~= split.base then split.canary = i end
    end
    if not split.canary then
        complain("rp.split.rollout.canary: expected one of the sides that are not the base, got %s",
            schema.show(r.canary))
        return
    end
    for i, side in ipairs(split.sides) do
        if i ~= split.base and i ~= split.canary and side.weight > 0 then
            complain("rp.split.rollout: while a canary grows there is it and the base; %s has a "
                .. "share, too", side.name)
        end
    end
    split.steps = {}
    for i, step in ipairs(r.steps) do split.steps[i] = math.floor(step * 100 + 0.5) end
    split.rollout = r
end

local function check_sticky(split, complain)
    local s = split.opts.sticky
    if not s or s.cookie then return end
    for _, name in ipairs { "secret", "max_age", "domain" } do
        if s[name] then
            complain("rp.split.sticky.%s: of which cookie? sticky.cookie is its name", name)
        end
    end
end

local function read_by(split, given, at, report)
    if given == nil then return end
    local parts, err = balance.read_key(given)
    if parts then split.parts = parts
    else report:add(at, "rp.split.by: expected %s", err) end
end

-- ---------------------------------------------------------------- whole

local known = setmetatable({}, { __mode = "k" })

--- @param node table  what rp.split returned
--- @param report table
--- @return table split
function M.read(node, report)
    if known[node] then return known[node] end
    local split = { at = node.at, sides = {}, rules = {}, parts = {} }
    known[node] = split
    local function complain(...) report:add(node.at, ...) end
    local named = read_sides(split, node.given, complain)
    local ctx = schema.context()
    split.opts = schema.check(options.nodes.split, named, "", ctx)
    report:add_context(function(path) return locate.place(node, path) end, ctx, "rp.split")
    check_sides(split, complain)
    split.name = split.opts.name
    split.base = find_base(split, node.given, complain)
    check_sticky(split, complain)
    read_by(split, named.by, locate.place(node, "by"), report)
    read_rules(split, named.when, locate.place(node, "when"), report)
    if not ctx.errors[1] and #split.sides > 0 then read_rollout(split, complain) end
    return split
end

--- The shares that the split begins with.
--- @return integer[]
function M.shares(split)
    local weights = {}
    for i, side in ipairs(split.sides) do weights[i] = side.weight end
    if split.steps then
        for i in ipairs(weights) do weights[i] = 0 end
        weights[split.canary] = split.steps[1]
        weights[split.base] = M.PARTS - split.steps[1]
    end
    return M.portions(weights)
end

--- All upstreams that requests may be sent to: (name, what) by (name, what).
function M.upstreams_of(split)
    return coroutine.wrap(function()
        for _, side in ipairs(split.sides) do coroutine.yield(side.name, "rp.split") end
        for i, rule in ipairs(split.rules) do
            coroutine.yield(rule.upstream, ("rp.split.when[%d].upstream"):format(i))
        end
    end)
end

--- "stable 95%, canary 5%"
function M.describe(split)
    local shares, parts = M.shares(split), {}
    for i, side in ipairs(split.sides) do
        parts[i] = ("%s %g%%"):format(side.name, shares[i] / 100)
    end
    return table.concat(parts, ", ") .. (split.rollout and ", with a rollout" or "")
end

-- ---------------------------------------------------------------- hand-over

local function set_cookie(builder, split)
    local s, sink = split.opts.sticky, builder.sink
    local more = { "; Path=" .. s.path }
    if s.domain then more[#more + 1] = "; Domain=" .. s.domain end
    if s.max_age then more[#more + 1] = ("; Max-Age=%d"):format(s.max_age) end
    more[#more + 1] = "; HttpOnly; SameSite=" .. s.same_site
    local function set(key, value)
        builder:try(split.at, "rp.split.sticky", sink:set_split_text(split.index, key, value))
    end
    set("cookie", s.cookie)
    set("cookie_more", table.concat(more))
    if s.secret then
        local digest = require("rproxy.crypto").sha256(s.secret)
        set("key", require("rproxy.text").hex(digest):sub(1, 32))
    end
end

local function index_of(builder, name)
    local up = builder.model.upstream_by_name[name]
    return up and up.index
end

local function build_rules(builder, split)
    local sink = builder.sink
    for _, rule in ipairs(split.rules) do
        local index = index_of(builder, rule.upstream)
        if index then
            builder:try(split.at, "rp.split.when", sink:split_rule(split.index, index))
            for _, c in ipairs(rule.conds) do
                builder:try(split.at, "rp.split.when", sink:split_cond(split.index, c.kind, c.op,
                    c.negate, c.name, c.value))
            end
        end
    end
end

--- Hand a split over, once.
--- @param builder table  of config/build.lua
--- @param split table
--- @param route table  that uses it: the first one gives it its name
--- @return integer|nil index
function M.build(builder, split, route)
    if split.index or split.failed then return split.index end
    local sink, what = builder.sink, "rp.split"
    builder.split_names = builder.split_names or {}
    split.name = split.name or route.id
    if builder.split_names[split.name] then
        builder.report:add(split.at, "rp.split: %s is the name of the split of %s; name one of "
            .. "them, or use one rp.split for both", schema.show(split.name),
            builder.split_names[split.name])
    end
    builder.split_names[split.name] = split.at
    split.index = builder:try(split.at, what, sink:split(split.name))
    split.failed = split.index == nil
    if split.failed then return nil end
    local shares = M.shares(split)
    for i, side in ipairs(split.sides) do
        local index = index_of(builder, side.name)
        if not index then return split.index end -- reported already
        builder:try(split.at, what, sink:split_side(split.index, index, shares[i]))
    end
    builder:try(split.at, what, sink:set_split(split.index, "base", split.base - 1))
    for _, part in ipairs(split.parts) do
        builder:try(split.at, what, sink:split_hash(split.index, part.part, part.name))
    end
    build_rules(builder, split)
    if split.opts.sticky.cookie then set_cookie(builder, split) end
    if split.rollout then
        builder:try(split.at, what, sink:set_split(split.index, "canary", split.canary - 1))
        for _, step in ipairs(split.steps) do
            builder:try(split.at, what, sink:split_step(split.index, step))
        end
        builder.rollouts = builder.rollouts or {}
        builder.rollouts[#builder.rollouts + 1] = { index = split.index, name = split.name,
            canary = split.sides[split.canary].name, base = split.sides[split.base].name,
            steps = split.steps, settings = split.rollout }
    end
    return split.index
end

--- All splits are built: have the agent judge those that want it.
function M.finish(builder)
    if not builder.rollouts then return end
    local list = builder.rollouts
    require("rproxy.chain").on("agent", function() require("rproxy.rollout").start(list) end, -1)
    builder:try(builder.model.at, "agent", builder.sink:number("agent", 1))
end

return M
