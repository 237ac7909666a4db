-- SPDX-License-Identifier: MIT
--
-- schema: the small language in which plugins and rproxy itself say what a configuration table may
-- hold, and the check of a table against it.
--
--   schema = {
--       rate   = { "number", required = true, min = 0.001, doc = "tokens per second" },
--       window = { "duration", default = "1m" },
--       key    = { "enum", { "ip", "consumer" }, default = "ip" },
--       hosts  = { "list", of = "string" },
--       add    = "map<string>",
--       redis  = { host = "string", port = { "integer", default = 6379 } },   -- nested
--   }
--
-- Fields of a row: required, default, min, max, match (a Lua pattern), of (list and map), doc,
-- unit, since, or_false (false is taken too), check(value) -> true | nil, what is expected. A row
-- that begins with a string is a type; one that does not is a nested table.
--
-- Types that name a place ("url", "address", "host" with port = the field of its port, "path" with
-- access = "read", "write" or "both") tell ctx:place(list, rule): what the site's author wrote
-- there is granted to the instance (ctx.places), what is only a default must be (ctx.wanted).
--
-- A compiled schema is a tree of nodes { kind, ... }; checking returns a new table with defaults
-- filled in and units converted, and notes every mistake, not only the first.

local nearest = require("rproxy.config.nearest")
local rules = require("rproxy.grant_rules")
local units = require("rproxy.config.units")

local M = {}

-- ---------------------------------------------------------------- values in messages

--- A value as a message shows it: short, on one line, never a whole table.
--- @param value any
--- @return string
function M.show(value)
    if type(value) == "string" then
        local text = value:gsub("[%c\\\"]", function(ch)
            return ch == '"' and '\\"' or ch == "\\" and "\\\\" or ("\\%d"):format(ch:byte())
        end)
        if #text > 60 then text = text:sub(1, 57) .. "..." end
        return '"' .. text .. '"'
    end
    local kind = type(value)
    if kind == "number" or kind == "boolean" or kind == "nil" then return tostring(value) end
    return "a " .. kind
end

local function join(path, key)
    if type(key) == "number" then return ("%s[%d]"):format(path, key) end
    local text = tostring(key)
    if not text:find("^[%a_][%w_]*$") then return ('%s["%s"]'):format(path, text) end
    return path == "" and text or path .. "." .. text
end
M.join = join

-- ---------------------------------------------------------------- errors of one check

local Context = {}

-- Sets of rules come to be when somebody asks for them: most checks have none.
function Context.__index(ctx, key)
    if key == "places" or key == "wanted" then
        local set = rules.new()
        rawset(ctx, key, set)
        return set
    end
    return Context[key]
end

function Context:fail(path, fmt, ...)
    self.errors[#self.errors + 1] = { path = path, text = fmt:format(...) }
end

function Context:place(list, rule)
    local set = self.in_default > 0 and self.wanted or self.places
    set[list][#set[list] + 1] = rule
end

--- A collector of mistakes: ctx:fail(path, fmt, ...). `refs` takes names to be looked up later.
--- @return table ctx
function M.context()
    return setmetatable({ errors = {}, refs = {}, in_default = 0 }, Context)
end

-- ---------------------------------------------------------------- scalar types

-- A type: what (in messages), read(value, node, ctx, path) -> the value to keep | nil when wrong.
local TYPES = {}
M.types = TYPES

local function plain(kind)
    return function(value)
        if type(value) == kind then return value end
    end
end

TYPES.string = { what = "a string", read = plain("string") }
TYPES.boolean = { what = "true or false", read = plain("boolean") }
TYPES["function"] = { what = "a function", read = plain("function") }
TYPES.any = { what = "a value", read = function(value) return value end }

TYPES.number = { what = "a number", read = function(value)
    if type(value) == "number" and value == value then return value end
end }

TYPES.integer = { what = "a whole number", read = function(value)
    if type(value) == "number" and value % 1 == 0 and math.abs(value) < 2 ^ 53 then
        return value
    end
end }

TYPES.duration = {
    what = 'a duration (seconds, or a string such as "500ms", "10s", "5m", "2h", "1d")',
    read = units.duration, shown = units.show_duration,
}

TYPES.size = {
    what = 'a size (bytes, or a string such as "64k", "8m", "1g")',
    read = units.size, shown = units.show_size,
}

-- RFC 9110 §5.1: a field name is a token. Lower case is the one spelling inside.
TYPES.header = { what = "a header name", read = function(value)
    if type(value) == "string" and value:find("^[%w!#$%%&'*+%-.^_`|~]+$") then
        return value:lower()
    end
end }

-- "host", "host:80", "[::1]:80" as a rule of what may be connected to; nil: it is none.
local function place_of(authority, port)
    if not authority:find(":%d+$") or authority:find("%]$") then
        authority = authority .. ":" .. port
    end
    return rules.net(authority)
end

TYPES.url = { what = 'a URL such as "https://example.com/path"', read = function(value, _, ctx)
    if type(value) ~= "string" or value:find("[%s%c]") then return nil end
    local scheme, authority = value:match("^(%a[%w+.-]*)://([^/?#]+)")
    if not authority or (scheme ~= "http" and scheme ~= "https") then return nil end
    local rule = place_of(authority, scheme == "https" and 443 or 80)
    if rule and ctx then ctx:place("net", rule) end
    return value
end }

TYPES.address = { what = 'an address: "host:port", "[::1]:port" or "unix:/path"',
    read = function(value, _, ctx)
        local rule = type(value) == "string" and rules.net(value)
        if not rule or not (rule.unix or rule.name or rule.bits == 128) or value:find(":%*$") then
            return nil
        end
        ctx:place("net", rule)
        return value
    end }

-- With port = the name of the field beside it that has the port: that one place; else any port.
TYPES.host = { what = "a host name or an IP address", read = function(value)
    if type(value) ~= "string" then return nil end
    local text = value:find(":", 1, true) and "[" .. value:gsub("[%[%]]", "") .. "]" or value
    local rule = rules.net(text .. ":*")
    if rule and (rule.name or rule.bits == 128) then return value, rule end
end }

TYPES.path = { what = "the path of a file or a folder", read = function(value, node, ctx)
    local rule = rules.path(value)
    if not rule then return nil end
    local access = node.access or "read"
    if access ~= "write" then ctx:place("read", rule) end
    if access ~= "read" then ctx:place("write", rule) end
    return value
end }

-- Existence is known only when the whole site is: the name is noted, validate looks it up.
TYPES.upstream = { what = "the name of an upstream", read = function(value, _, ctx, path)
    if type(value) ~= "string" or value == "" then return nil end
    ctx.refs[#ctx.refs + 1] = { path = path, name = value }
    return value
end }

-- { "shared:buckets" }: the name of a zone of that kind; { "shared" }: of any.
TYPES.shared = { what = "the name of a zone of `shared`", read = function(value, node, ctx, path)
    if type(value) ~= "string" or value == "" then return nil end
    ctx.refs[#ctx.refs + 1] = { path = path, name = value, zone = node.zone or "" }
    return value
end }

--- Compiles the text of a "regex" row: (text) -> object | nil, err. Set where rp.regex is there;
--- without it the text itself is kept.
M.compile_regex = nil

TYPES.regex = { what = "a regular expression", read = function(value, _, ctx, path)
    if type(value) ~= "string" then return nil end
    if not M.compile_regex then return value end
    local called, regex, err = pcall(M.compile_regex, value)
    if called and regex then return regex end
    ctx:fail(path, "not a regular expression: %s", tostring(called and err or regex))
    return value
end }

TYPES.enum = { what = "one of the choices", read = function(value, node)
    for _, choice in ipairs(node.values) do
        if value == choice then return value end
    end
end }

-- A setting that has its place and is not there yet: refused, never ignored.
TYPES.unbuilt = { what = "nothing", read = function(value, node, ctx, path)
    ctx:fail(path, "not built yet: %s; remove it", node.doc)
    return value
end }

-- ---------------------------------------------------------------- compiling

local compile

local function compile_fields(spec, where)
    local fields = {}
    for name, row in pairs(spec) do
        if type(name) ~= "string" then
            error(("%s: a nested table has named fields, got [%s]"):format(where,
                tostring(name)), 0)
        end
        fields[name] = compile(row, join(where, name))
    end
    return { kind = "object", fields = fields, names = nearest.names(fields) }
end

-- "map<string>" and "list<string>" are short for { "map", of = "string" }.
local function split_type(name)
    local outer, inner = name:match("^(%a+)<(.+)>$")
    return outer or name, inner
end

local ROW_KEYS = { required = true, default = true, min = true, max = true, match = true, of = true,
    doc = true, unit = true, since = true, check = true, fields = true, values = true,
    optional = true, or_false = true, port = true, access = true }

local COMPOSED = { list = true, map = true, headers = true }

local function compile_row(row, where)
    local kind, inner = split_type(row[1])
    local zone = row[1]:match("^shared:(%a+)$")
    if zone then kind = "shared" end
    if kind == "object" then
        local node = compile_fields(row.fields or {}, where)
        for _, key in ipairs { "doc", "required", "check", "optional", "or_false" } do
            node[key] = row[key]
        end
        return node
    end
    if not COMPOSED[kind] and not TYPES[kind] then
        local known = nearest.names(TYPES)
        for _, name in ipairs(nearest.names(COMPOSED)) do known[#known + 1] = name end
        error(("%s: no type %s%s"):format(where, M.show(row[1]), nearest.hint(kind, known)), 0)
    end
    local node = { kind = kind, zone = zone }
    for key, value in pairs(row) do
        if type(key) == "string" and not ROW_KEYS[key] then
            error(("%s: a schema row has no %q%s"):format(where, key,
                nearest.hint(key, nearest.names(ROW_KEYS))), 0)
        end
        if type(key) == "string" then node[key] = value end
    end
    if kind == "enum" then
        node.values = row[2] or row.values
        if type(node.values) ~= "table" or #node.values == 0 then
            error(where .. ': an enum names its choices: { "enum", { "a", "b" } }', 0)
        end
    end
    if kind == "path" and row.access ~= nil and row.access ~= "read" and row.access ~= "write"
        and row.access ~= "both" then
        error(where .. ': access is "read", "write" or "both"', 0)
    end
    if kind == "list" or kind == "map" then node.of = compile(inner or row.of or "any", where) end
    return node
end

function compile(row, where)
    if type(row) == "string" then return compile_row({ row }, where) end
    if type(row) ~= "table" then
        error(("%s: a schema row is a type name or a table, got %s"):format(where, M.show(row)), 0)
    end
    if type(row[1]) == "string" then return compile_row(row, where) end
    return compile_fields(row, where)
end

local function check_defaults(node, where)
    if node.fields then
        for name, field in pairs(node.fields) do check_defaults(field, join(where, name)) end
    end
    if type(node.of) == "table" then check_defaults(node.of, where) end
    if node.default == nil or node.kind == "object" then return end
    local ctx = M.context()
    M.check(node, node.default, where, ctx)
    if ctx.errors[1] then
        error(("%s: its default: %s"):format(ctx.errors[1].path, ctx.errors[1].text), 0)
    end
end

--- Compile a schema; mistakes in it are the author's and raise.
--- @param spec table  fields by name
--- @param where string  what messages begin with
--- @return table node
function M.compile(spec, where)
    local node = compile_fields(spec, where)
    check_defaults(node, where)
    return node
end

-- ---------------------------------------------------------------- checking

--- What a node takes, in words.
function M.what(node)
    return M.what_true(node) .. (node.or_false and ", or false" or "")
end

function M.what_true(node)
    if node.kind == "enum" then
        local shown = {}
        for i, choice in ipairs(node.values) do shown[i] = M.show(choice) end
        return "one of " .. table.concat(shown, ", ")
    elseif node.kind == "list" then
        return "a list"
    elseif node.kind == "headers" then
        return "a table of header values by name"
    elseif node.kind == "map" or node.kind == "object" then
        return "a table"
    end
    return TYPES[node.kind].what
end

local function amount_of(value)
    return type(value) == "string" and #value or type(value) == "table" and #value or value
end

local function shown_in(node, amount)
    local shown = TYPES[node.kind] and TYPES[node.kind].shown
    return shown and shown(amount) or tostring(amount)
end

local function check_bounds(node, value, path, ctx)
    local amount = amount_of(value)
    if type(amount) ~= "number" then return end
    local of = type(value) == "string" and " bytes" or type(value) == "table" and " entries" or ""
    if node.min and amount < node.min then
        ctx:fail(path, "at least %s%s, got %s", shown_in(node, node.min), of,
            shown_in(node, amount))
    elseif node.max and amount > node.max then
        ctx:fail(path, "at most %s%s, got %s", shown_in(node, node.max), of,
            shown_in(node, amount))
    end
end

local function check_scalar(node, value, path, ctx)
    local kept = TYPES[node.kind].read(value, node, ctx, path)
    if kept == nil then
        ctx:fail(path, "expected %s, got %s", M.what(node), M.show(value))
        return nil
    end
    if node.kind == "size" and kept == math.huge and node.max then
        ctx:fail(path, "at most %s, got no limit", shown_in(node, node.max))
    else
        check_bounds(node, kept, path, ctx)
    end
    if node.match and type(value) == "string" and not value:find(node.match) then
        ctx:fail(path, "expected a string that matches the Lua pattern %s, got %s",
            M.show(node.match), M.show(value))
    end
    return kept
end

--- Is every key 1..n? The offending key otherwise.
local function not_a_list(value)
    local n = #value
    for key in pairs(value) do
        if type(key) ~= "number" or key < 1 or key > n or key % 1 ~= 0 then return key end
    end
end
M.not_a_list = not_a_list

local function check_list(node, value, path, ctx)
    local stray = not_a_list(value)
    if stray ~= nil then
        ctx:fail(path, "expected a list, got the key %s in it", M.show(stray))
        return {}
    end
    local out = {}
    for i, item in ipairs(value) do
        out[i] = M.check(node.of, item, join(path, i), ctx)
    end
    check_bounds(node, value, path, ctx)
    return out
end

local function check_map(node, value, path, ctx)
    local out = {}
    for key, item in pairs(value) do
        if type(key) == "string" then
            out[key] = M.check(node.of, item, join(path, key), ctx)
        else
            ctx:fail(path, "expected names as keys, got %s", M.show(key))
        end
    end
    return out
end

-- { ["x-name"] = "value" }: what may be sent (RFC 9110 §5.1, §5.5). Names become lower case.
local function check_headers(_, value, path, ctx)
    local out = {}
    for name, text in pairs(value) do
        local at, lower = join(path, name), TYPES.header.read(name)
        if not lower then
            ctx:fail(path, "expected header names as keys, got %s", M.show(name))
        elseif type(text) ~= "string" then
            ctx:fail(at, "expected a string, got %s", M.show(text))
        elseif text:find("[%z\1-\8\10-\31\127]") then
            ctx:fail(at, "expected a value without control bytes, got %s", M.show(text))
        elseif out[lower] then
            ctx:fail(at, "the same header twice, in different cases")
        else
            out[lower] = text
        end
    end
    return out
end

-- What an absent value becomes. A nested table comes to be when nothing in it is required.
local function default_of(node, path, ctx)
    if node.required then
        ctx:fail(path, "missing; expected %s", M.what(node))
    elseif node.kind == "object" and not node.optional then
        for _, field in pairs(node.fields) do
            if field.required then return nil end
        end
        return M.check(node, {}, path, ctx)
    elseif node.default ~= nil then
        ctx.in_default = ctx.in_default + 1
        local value = M.check(node, node.default, path, ctx)
        ctx.in_default = ctx.in_default - 1
        return value
    end
end

-- A host is a place together with its port, which is another field's: known when all are read.
local function note_hosts(node, given, out, ctx)
    for _, name in ipairs(node.names) do
        local field, value = node.fields[name], out[name]
        if field.kind == "host" and type(value) == "string" then
            local _, rule = TYPES.host.read(value)
            local port = field.port and out[field.port]
            if type(port) == "number" then
                rule.port, rule.text = port, rule.text:gsub("%*$", ("%d"):format(port))
            end
            local is_default = given[name] == nil and 1 or 0
            ctx.in_default = ctx.in_default + is_default
            ctx:place("net", rule)
            ctx.in_default = ctx.in_default - is_default
        end
    end
end

local function check_object(node, value, path, ctx)
    local out = {}
    for key in pairs(value) do
        if type(key) ~= "string" then
            ctx:fail(path, "expected named settings, got %s at [%s]; known: %s",
                M.show(value[key]), tostring(key), table.concat(node.names, ", "))
        elseif not node.fields[key] then
            ctx:fail(join(path, key), "unknown setting%s", nearest.hint(key, node.names))
        end
    end
    for _, name in ipairs(node.names) do
        local item, at = value[name], join(path, name)
        if item == nil then
            out[name] = default_of(node.fields[name], at, ctx)
        else
            out[name] = M.check(node.fields[name], item, at, ctx)
        end
    end
    note_hosts(node, value, out, ctx)
    return out
end

-- What a table of that node is when nothing is said: one for all who share it.
local function shared_defaults(node)
    if not node.defaults then
        node.defaults = { __index = check_object(node, {}, "", M.context()) }
    end
    return node.defaults
end

--- As check, of an object of which nothing is required, for those of which a site has thousands:
--- only what is given is in the result itself; the rest is read from a table of defaults that all
--- of them share and nobody may change. (`pairs` does not see it.)
--- @param node table  compiled
--- @param value table
--- @param path string
--- @param ctx table  M.context()
function M.check_lean(node, value, path, ctx)
    local out = {}
    for key in pairs(value) do
        if not node.fields[key] then return check_object(node, value, path, ctx) end -- complains
    end
    for _, name in ipairs(next(value) ~= nil and node.names or {}) do
        local item = value[name]
        if item ~= nil then
            out[name] = M.check(node.fields[name], item, join(path, name), ctx)
        end
    end
    return setmetatable(out, shared_defaults(node))
end

local CONTAINERS = { list = check_list, map = check_map, headers = check_headers,
    object = check_object }

--- Check one value. Mistakes go to ctx; the result is a copy with defaults and converted units.
--- @param node table  compiled
--- @param value any
--- @param path string  "plugins.ratelimit.rate"
--- @param ctx table  M.context()
function M.check(node, value, path, ctx)
    if value == false and node.or_false then return false end
    local container = CONTAINERS[node.kind]
    if container and type(value) ~= "table" then
        ctx:fail(path, "expected %s, got %s", M.what(node), M.show(value))
        return nil
    end
    local kept = (container or check_scalar)(node, value, path, ctx)
    if node.check and kept ~= nil then
        local ok, expected = node.check(kept)
        if not ok then ctx:fail(path, "expected %s, got %s", expected, M.show(value)) end
    end
    return kept
end

-- ---------------------------------------------------------------- frozen tables

local function refuse_new(_, key)
    error(("a plugin's configuration is read-only: cannot set %q"):format(tostring(key)), 2)
end

-- Optional settings are nil; a name that the schema does not know is a slip of the author.
local function refuse_unknown(node)
    return function(_, key)
        if type(key) == "string" and not node.fields[key] then
            error(("the schema has no setting %q%s"):format(key, nearest.hint(key, node.names)), 2)
        end
    end
end

--- Make a checked table read-only: new names raise, and unknown ones raise when read. Tables stay
--- plain ones (pairs, #, and no cost for what is there).
--- @param node table
--- @param value table
function M.freeze(node, value)
    if type(value) ~= "table" or getmetatable(value) ~= nil then return value end
    if node.kind == "object" then
        for name, field in pairs(node.fields) do M.freeze(field, rawget(value, name)) end
    elseif node.kind == "list" or node.kind == "map" then
        for _, item in pairs(value) do M.freeze(node.of, item) end
    elseif node.kind ~= "headers" then
        return value
    end
    return setmetatable(value, {
        __newindex = refuse_new,
        __index = node.kind == "object" and refuse_unknown(node) or nil,
        __metatable = "read-only", frozen = true,
    })
end

--- Was it made read-only by freeze? Then it is plain data.
function M.is_frozen(value)
    local mt = debug.getmetatable(value)
    return mt ~= nil and rawget(mt, "frozen") == true
end

return M
