-- SPDX-License-Identifier: MIT
--
-- metric: rp.metric: counters, gauges and histograms. A metric finds the cells of its label sets in
-- tables of its own; cells lie in the worker's shared page, so an increment is a load and a store.
--
-- A label set is made when it is first used. When a metric has as many as it may, further ones are
-- counted as one, whose labels are all "other".

local abi = require("rproxy.abi")
local chain = require("rproxy.chain")
local nearest = require("rproxy.config.nearest")
local object = require("rproxy.object")

local C, H, E = abi.C, abi.H, abi.E
local raise = object.raise

local M = {}

local COUNTER, GAUGE, GAUGE_MAX, HISTOGRAM = 1, 2, 3, 4 -- enum rp_metric_kind
local MOST_LABELS, MOST_BOUNDS = 4, 32
local MOST_DEFAULT = 1000
local ANY = 2 ^ 32 - 1
local CELL_REFUSED = 1 -- of the page: label sets over a cap
local BUCKETS = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10 } -- seconds

-- ---------------------------------------------------------------- label sets

local ESCAPES = { ["\\"] = "\\\\", ['"'] = '\\"', ["\n"] = "\\n" }

-- RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. One bad label is enough for
-- a reader to throw the whole page away. Longest first; what is found becomes a blank, so that
-- bytes on both sides of it do not become neighbours.
local TAIL = "[\128-\191]"
local UTF8 = {
    "\240[\144-\191]" .. TAIL .. TAIL, "[\241-\243]" .. TAIL .. TAIL .. TAIL,
    "\244[\128-\143]" .. TAIL .. TAIL,
    "\224[\160-\191]" .. TAIL, "[\225-\236\238\239]" .. TAIL .. TAIL, "\237[\128-\159]" .. TAIL,
    "[\194-\223]" .. TAIL,
}

-- What readers take: UTF-8 without control characters (bytes that are none become "?").
local function clean(text)
    if text:find("[\128-\255]") then
        local rest = text
        for _, pattern in ipairs(UTF8) do rest = rest:gsub(pattern, " ") end
        if rest:find("[\128-\255]") then text = text:gsub("[\128-\255]", "?") end
    end
    return (text:gsub("[%z\1-\9\11-\31\127]", "?"):gsub('[\\"\n]', ESCAPES))
end
M.clean = clean

local function label_text(self, values)
    local out = {}
    for i, name in ipairs(self.labels) do
        out[i] = ('%s="%s"'):format(name, clean(tostring(values[i])))
    end
    return table.concat(out, ",")
end

local function family_of(self)
    if not self.family then
        local family = C.rp_abi_metric_family(H, self.kind, self.name, #self.name, self.help,
            #self.help, self.bounds, self.bounds_n)
        if family == E.BUSY then return nil end
        self.family = family
    end
    return self.family >= 0 and self.family or nil
end

local function series(self, text, most)
    local family = family_of(self)
    if not family then return -1 end
    return C.rp_abi_metric_series(H, family, text, #text, most)
end

local function overflow(self)
    H.cells[CELL_REFUSED] = H.cells[CELL_REFUSED] + 1
    if not self.other then
        local values = {}
        for i = 1, #self.labels do values[i] = "other" end
        local cell = series(self, label_text(self, values), ANY)
        if cell < 0 then return nil end
        self.other = cell
    end
    return self.other
end

local function remember(self, values, cell)
    local n, at = #self.labels, self.at
    for i = 1, n - 1 do
        at[values[i]] = at[values[i]] or {}
        at = at[values[i]]
    end
    at[values[n]] = cell
    self.known = self.known + 1
end

-- The cell of a label set that has none here yet; nil: there is none (while the site is built).
local function resolve(self, ...)
    local n = #self.labels
    for i = 1, n do
        local value = (select(i, ...))
        if value == nil or value ~= value or type(value) == "table" then
            raise("metric %s: label %s: expected a string or number, got %s", self.name,
                self.labels[i], value ~= value and "not a number" or "a " .. type(value))
        end
    end
    if H.cells == nil then return nil end
    if n == 0 then
        local cell = series(self, "", ANY)
        if cell >= 0 then self.cell = cell end
        return cell >= 0 and cell or nil
    end
    local values, cell = { ... }, -1
    if self.known < self.most then cell = series(self, label_text(self, values), self.most) end
    if cell < 0 then return overflow(self) end
    remember(self, values, cell)
    return cell
end

-- ---------------------------------------------------------------- metrics

-- find(self, labels..) by number of labels: hot, so without varargs.
local FIND = {
    [0] = function(self) return self.cell or resolve(self) end,
    function(self, a) return self.at[a] or resolve(self, a) end,
    function(self, a, b)
        local at = self.at[a]
        return at and at[b] or resolve(self, a, b)
    end,
    function(self, a, b, c)
        local at = self.at[a]
        at = at and at[b]
        return at and at[c] or resolve(self, a, b, c)
    end,
    function(self, a, b, c, d)
        local at = self.at[a]
        at = at and at[b]
        at = at and at[c]
        return at and at[d] or resolve(self, a, b, c, d)
    end,
}

local Metric, CLASSES = {}, {} -- the latter by kind
local Counter, Gauge, Histogram = {}, {}, {}

local function check(self, value, least)
    if type(value) ~= "number" or value ~= value or value < least then
        raise("metric %s: expected a number%s, got %s", self.name, least == 0 and " from 0" or "",
            type(value) == "number" and tostring(value) or "a " .. type(value))
    end
end

local function bump(self, by, a, b, c, d)
    local at = self.find(self, a, b, c, d)
    if not at then return end
    local cells = H.cells
    cells[at] = cells[at] + by
end

--- One more.
--- phases: all   yields: no
function Counter:inc(a, b, c, d)
    bump(self, 1, a, b, c, d)
end

--- So many more.
--- phases: all   yields: no
--- @param value number  from 0
function Counter:add(value, a, b, c, d)
    check(self, value, 0)
    bump(self, value, a, b, c, d)
end

--- One more.
--- phases: all   yields: no
function Gauge:inc(a, b, c, d)
    bump(self, 1, a, b, c, d)
end

--- One less.
--- phases: all   yields: no
function Gauge:dec(a, b, c, d)
    bump(self, -1, a, b, c, d)
end

--- So many more, or less.
--- phases: all   yields: no
--- @param value number
function Gauge:add(value, a, b, c, d)
    check(self, value, -math.huge)
    bump(self, value, a, b, c, d)
end

--- What this worker has of it from now on.
--- phases: all   yields: no
--- @param value number
function Gauge:set(value, a, b, c, d)
    check(self, value, -math.huge)
    local at = self.find(self, a, b, c, d)
    if at then H.cells[at] = value end
end

--- Count a value.
--- phases: all   yields: no
--- @param value number
function Histogram:observe(value, a, b, c, d)
    check(self, value, -math.huge)
    local at = self.find(self, a, b, c, d)
    if at then C.rp_abi_metric_observe(H.cells + at, self.bounds, self.bounds_n, value) end
end

--- The same metric for one set of labels, which needs none then.
--- phases: all   yields: no
--- @return table metric
function Metric:with(...)
    if select("#", ...) ~= #self.labels then
        raise("metric %s has %d labels", self.name, #self.labels)
    end
    local of, values = self, { ... }
    local find = FIND[#self.labels]
    return setmetatable({ name = self.name, kind = self.kind, bounds = self.bounds,
        bounds_n = self.bounds_n, labels = {}, cell = false,
        other = false, find = function(bound)
            if bound.cell then return bound.cell end
            local at = find(of, unpack(values))
            if at and at ~= of.other then bound.cell = at end
            return at
        end }, CLASSES[self.kind])
end

local function class(methods)
    methods.with = Metric.with
    return { __index = function(_, name)
        local method = methods[name]
        if method == nil then
            raise("this metric has no %q%s", tostring(name),
                nearest.hint(tostring(name), nearest.names(methods)))
        end
        return method
    end, __metatable = "read-only" }
end

-- ---------------------------------------------------------------- definitions

local known = {} -- name -> metric
local all = setmetatable({}, { __mode = "k" })

--- The site is gone (rproxy.lab): cells are another one's.
function M.forget_site()
    for metric in pairs(all) do
        metric.at, metric.known, metric.cell, metric.other, metric.family = {}, 0, false, false,
            false
    end
    known = {}
end

local function is_list(list)
    return type(list) == "table" and (#list > 0 or next(list) == nil)
end

local function check_labels(what, labels)
    if not is_list(labels) or #labels > MOST_LABELS then
        raise("%s: labels is a list of at most %d names", what, MOST_LABELS)
    end
    local seen = {}
    for _, name in ipairs(labels) do
        if type(name) ~= "string" or not name:find("^[%a_][%w_]*$") or name:find("^__")
            or name == "le" or seen[name] then
            raise("%s: %s cannot be a label", what, tostring(name))
        end
        seen[name] = true
    end
end

local function check_bounds(what, list)
    if not is_list(list) or #list == 0 or #list > MOST_BOUNDS then
        raise("%s: buckets is a list of at most %d numbers", what, MOST_BOUNDS)
    end
    for i, bound in ipairs(list) do
        if type(bound) ~= "number" or not (bound > (list[i - 1] or -1e300) and bound < 1e300) then
            raise("%s: buckets are rising numbers", what)
        end
    end
end

local FIELDS = { [1] = "string", name = "string", help = "string", labels = "table",
    most = "number", over = "string", buckets = "table" }

local function check_fields(what, given, kind)
    for key, value in pairs(given) do
        local wanted = FIELDS[key]
        if key == "over" and kind ~= GAUGE or key == "buckets" and kind ~= HISTOGRAM then
            wanted = nil
        end
        if not wanted then
            raise("%s has no option %q%s", what, tostring(key), nearest.hint(tostring(key),
                { "name", "help", "labels", "most", "over", "buckets" }))
        elseif type(value) ~= wanted then
            raise("%s: %s is a %s, got a %s", what, tostring(key), wanted, type(value))
        end
    end
end

local function same(metric, kind, labels, buckets)
    if metric.kind ~= kind or table.concat(metric.labels, ",") ~= table.concat(labels, ",") then
        return false
    end
    return table.concat(metric.buckets, ",") == table.concat(buckets, ",")
end

-- What has no labels is shown from the start, as 0.
local function bind()
    for _, metric in pairs(known) do
        if #metric.labels == 0 then resolve(metric) else family_of(metric) end
    end
end

-- is_own: by the layer, whose names begin with rproxy_.
local function define(what, kind, given, is_own)
    if type(given) ~= "table" then raise("%s takes a table, got a %s", what, type(given)) end
    check_fields(what, given, kind)
    local name, labels = given[1] or given.name, given.labels or {}
    if type(name) ~= "string" or #name > 120 or not name:find("^[%a_:][%w_:]*$") then
        raise("%s takes a name of letters, digits and _", what)
    elseif name:find("^rproxy_") and not is_own then
        raise("%s: names that begin with rproxy_ are the proxy's own", what)
    end
    check_labels(what, labels)
    local buckets = kind == HISTOGRAM and (given.buckets or BUCKETS) or {}
    if kind == HISTOGRAM then check_bounds(what, buckets) end
    if given.over ~= nil and given.over ~= "sum" and given.over ~= "max" then
        raise('%s: over is "sum" or "max"', what)
    end
    if given.over == "max" then kind = GAUGE_MAX end
    local most = given.most or MOST_DEFAULT
    if most < 1 or most % 1 ~= 0 or most > 16384 then
        raise("%s: most is a whole number from 1 to 16384", what)
    end
    local before = known[name]
    if before then
        if same(before, kind, labels, buckets) then return before end
        raise("%s: %s is defined already, with another kind, labels or buckets", what, name)
    end
    if H.req ~= nil then raise("%s is called at load, not for a request", what) end
    if next(known) == nil then chain.on("start", bind, -1) end
    local copy, list = {}, {}
    for i, label in ipairs(labels) do copy[i] = label end
    for i, bound in ipairs(buckets) do list[i] = bound end
    local metric = setmetatable({ name = name, kind = kind, help = given.help or "", labels = copy,
        buckets = list, bounds = abi.new("double[?]", math.max(#list, 1), list), bounds_n = #list,
        most = most, find = FIND[#copy], at = {}, known = 0, cell = false, other = false,
        family = false }, CLASSES[kind])
    known[name], all[metric] = metric, true
    return metric
end

CLASSES[COUNTER], CLASSES[GAUGE] = class(Counter), class(Gauge)
CLASSES[HISTOGRAM], CLASSES[GAUGE_MAX] = class(Histogram), CLASSES[GAUGE]

--- A metric that only grows. One that is defined twice in the same way is one.
--- phases: load, start   yields: no
--- @param opts table  name (or [1]), help, labels: a list of at most 4 names, most: label sets it
---   may have (1000)
--- @return table counter  counter:inc(labels..), counter:add(n, labels..), counter:with(labels..)
function M.counter(opts)
    return define("rp.metric.counter", COUNTER, opts)
end

--- A metric that goes up and down. What workers have is added up, or with over = "max" the greatest
--- is taken; what a dead worker had is forgotten.
--- phases: load, start   yields: no
--- @param opts table  as of a counter, and over: "sum" or "max"
--- @return table gauge  gauge:set(v, labels..), :inc(..), :dec(..), :add(v, ..), :with(..)
function M.gauge(opts)
    return define("rp.metric.gauge", GAUGE, opts)
end

--- Counts values by size.
--- phases: load, start   yields: no
--- @param opts table  as of a counter, and buckets: at most 32 rising bounds (seconds from 0.005
---   to 10)
--- @return table histogram  histogram:observe(v, labels..), histogram:with(labels..)
function M.histogram(opts)
    return define("rp.metric.histogram", HISTOGRAM, opts)
end

--- A counter of the layer itself; for the layer only.
function M.own_counter(opts)
    return define("a counter", COUNTER, opts, true)
end

--- A gauge of the layer itself; for the layer only.
function M.own_gauge(opts)
    return define("a gauge", GAUGE, opts, true)
end

--- All metrics of all workers as Prometheus reads them (text format 0.0.4), the proxy's own and the
--- accounts of plugins included.
--- phases: all but load   yields: no
--- @return string|nil text, string|nil err
function M.text()
    if C.rp_abi_metric_text(H) ~= 0 then return nil, "there are no metrics yet" end
    return abi.string(H.out.ptr, H.out.len)
end

return M
