-- SPDX-License-Identifier: MIT
--
-- docs: write the reference from what the program itself uses: the option table, the plugins'
-- schemas, the list of access log fields.
--
--   luajit tools/docs.lua            write docs/reference/{options,plugins}.md, the option tables
--                                    of plugins/*/README.md and types/rproxy.lua
--   luajit tools/docs.lua --check    only say which of them are out of date; exit status 1 if any

package.path = "./?.lua;./?/init.lua;./lua/?.lua;./lua/?/init.lua;" .. package.path

local nearest = require("rproxy.config.nearest")
local options = require("rproxy.config.options")
local emit = require("rproxy.schema_emit")
local plugin = require("rproxy.plugin")
local schema = require("rproxy.schema")
local call_types = require("tools.types")
local use = require("rproxy.config.use")

local M = {}

-- ---------------------------------------------------------------- small things

local function read(path)
    local file = io.open(path, "rb")
    if not file then return nil end
    local text = file:read("*a")
    file:close()
    return text
end

local function cell(text)
    return (text:gsub("|", "\\|"):gsub("\n", " "))
end

local function table_of(heads, rows)
    local out = { "| " .. table.concat(heads, " | ") .. " |",
        "|" .. (" --- |"):rep(#heads) }
    for _, row in ipairs(rows) do
        for i, text in ipairs(row) do row[i] = cell(text) end
        out[#out + 1] = "| " .. table.concat(row, " | ") .. " |"
    end
    return table.concat(out, "\n")
end

local function code(text)
    return "`" .. text .. "`"
end

-- A value as one would write it in site.lua.
local function literal(value)
    if type(value) ~= "table" then
        return type(value) == "string" and schema.show(value) or tostring(value)
    end
    local items = {}
    for i, item in ipairs(value) do items[i] = literal(item) end
    return #items == 0 and "{ }" or "{ " .. table.concat(items, ", ") .. " }"
end

-- What a compiled node takes, short enough for a table.
local function type_text(node)
    local text = node.kind
    if node.kind == "enum" then
        local choices = {}
        for i, choice in ipairs(node.values) do choices[i] = code(schema.show(choice)) end
        text = table.concat(choices, ", ")
    elseif node.kind == "list" or node.kind == "map" then
        text = node.kind .. " of " .. type_text(node.of)
    elseif node.kind == "headers" then
        text = "values by header name"
    elseif node.kind == "object" then
        text = "table"
    end
    return text .. (node.or_false and " or `false`" or "")
end

local function default_text(node, shown)
    if shown then return shown end
    if node.required then return "required" end
    if node.default == nil then return "" end
    return code(literal(node.default))
end

local function bounds_text(node)
    if not node.min and not node.max then return "" end
    local types = schema.types[node.kind]
    local function show(amount)
        return types and types.shown and types.shown(amount) or ("%.14g"):format(amount)
    end
    if node.min and node.max then
        return (" From %s to %s."):format(show(node.min), show(node.max))
    end
    return node.min and (" At least %s."):format(show(node.min))
        or (" At most %s."):format(show(node.max))
end

local function node_of(root, name)
    local node = root
    for part in name:gmatch("[^.]+") do node = node.fields[part] end
    return node
end

-- ---------------------------------------------------------------- options.md

local TITLES = {
    site = { "rp.site", "The whole configuration. `site.lua` returns it." },
    listen = { "rp.listen", "Addresses to listen on come first: `rp.listen { \"0.0.0.0:80\", "
        .. "\"[::]:80\" }`." },
    stream = { "rp.stream", "Connections and datagrams that are relayed as they are. Addresses "
        .. "come first: `rp.stream { \"127.0.0.1:5432\", upstream = \"pg\" }`; "
        .. "`\"udp:0.0.0.0:53\"` is one for datagrams." },
    tls = { "TLS of listeners", "`tls` of `rp.site`, and of `rp.listen` where it is a table." },
    coalesce = { "Coalescing", "`coalesce` of `rp.route` where it is a table." },
    upstream_tls = { "TLS to upstreams", "`tls` of `rp.upstream` where it is a table." },
    upstream = { "rp.upstream", "A group of servers that requests are passed to." },
    peer = { "Peers of an upstream", "After the address: as words (`\"host:port weight=2 "
        .. "backup\"`) or in a table (`{ \"host:port\", weight = 2, backup = true }`)." },
    health = { "Health checks", "`health` of `rp.upstream`. What they mean: "
        .. "[docs/guide/balancing.md](../guide/balancing.md#health-checks)." },
    discover = { "Discovery", "`discover` of `rp.upstream`: the provider's name comes first. These "
        .. "settings are every provider's. What they mean: "
        .. "[docs/guide/discovery.md](../guide/discovery.md)." },
    found_routes = { "Discovery: routes", "`discover` of `rp.site`: the provider's name comes "
        .. "first (docker, file, http, or one of your own), and its own options and those of "
        .. "[discovery](#discovery) are written beside these." },
    discover_file = { "Discovery: file", "`{ \"file\", path = \"members.json\" }`" },
    discover_dns = { "Discovery: dns", "`{ \"dns\", name = \"_http._tcp.api.example.com\" }`" },
    discover_consul = { "Discovery: consul", "`{ \"consul\", service = \"api\" }`" },
    discover_etcd = { "Discovery: etcd", "`{ \"etcd\", prefix = \"/services/api/\" }`" },
    discover_docker = { "Discovery: docker", "`{ \"docker\", network = \"front\" }`" },
    discover_kubernetes = { "Discovery: kubernetes", "`{ \"kubernetes\", service = \"api\" }`" },
    discover_http = { "Discovery: http",
        "`{ \"http\", url = \"https://cmdb.example.com/nodes\", path = \"data\" }`" },
    host = { "rp.host", "Names come first: `rp.host { \"example.com\", \"*.example.com\", "
        .. "routes = { ... } }`." },
    host_tls = { "TLS of a host", "`tls` of `rp.host`: rules for its clients' certificates." },
    shm = { "rp.shm.store, cache, buckets, counters, top, distinct", "Zones of `shared`. What "
        .. "they are for: [docs/guide/shared.md](../guide/shared.md)." },
    split = { "rp.split", "Requests of a route that are divided among upstreams, as `upstream` of "
        .. "`rp.route`: sides are `NAME = SHARE`, or `{ \"NAME\", SHARE }` in a list; shares are "
        .. "in proportion to each other. The base is the first of a list, else the side named "
        .. "`stable`, else the one with the largest share. See Traffic in the guide." },
    shm_set = { "rp.shm.set", "A zone of `shared` that is read from a file." },
    route = { "rp.route", "Methods and pattern come first: `rp.route { \"GET,POST /v1/{id}\", "
        .. "upstream = \"api\" }`. One of the four actions is needed." },
}

local function options_group(group)
    local rows, unbuilt = {}, {}
    for _, row in ipairs(options[group]) do
        local node = node_of(options.nodes[group], row.name)
        if row.type == "unbuilt" then
            unbuilt[#unbuilt + 1] = code(row.name)
        else
            rows[#rows + 1] = { code(row.name), row.takes or type_text(node),
                default_text(node, row.shown), row.doc .. bounds_text(node), row.since }
        end
    end
    local text = ("## %s\n\n%s\n\n%s\n"):format(TITLES[group][1], TITLES[group][2],
        table_of({ "name", "type", "default", "meaning", "since" }, rows))
    if #unbuilt > 0 then
        text = text .. ("\nNot built yet, and refused: %s.\n"):format(table.concat(unbuilt, ", "))
    end
    return text
end

local function access_fields()
    local rows = {}
    for line in (read("runtime/proxy/access.tbl") or ""):gmatch("[^\n]+") do
        local name, says = line:match('^A%([%w_]+, "([%w_]+)", "(.*)"%)')
        if name then rows[#rows + 1] = { code(name), says } end
    end
    return "## Fields of a json access log\n\nBeside these: `request.NAME` and `response.NAME` "
        .. "(the first value of a header) and `ctx.NAME` (what a hook left in `req.ctx`). What is "
        .. "absent is null.\n\n" .. table_of({ "name", "what it says" }, rows) .. "\n"
end

local INTRO = [[
# Options

Made from `lua/rproxy/config/options.lua` by `make docs`; do not edit. The guide to them is
[docs/guide/site.md](../guide/site.md).

* A *duration* is a number of seconds, or a string with a unit: `"500ms"`, `"10s"`, `"5m"`, `"2h"`,
  `"1d"`. A *size* is a number of bytes, or a string: `"64k"`, `"8m"`, `"1g"` (powers of 1024).
* A dot means a table in a table: `limits.body` is written `limits = { body = "1m" }`.
* A name that is not here is an error. Options of the site that hold one value can be set on the
  command line: `rproxy -p site.lua -g limits.body=1m`.

]]

function M.options_page()
    local parts = {}
    for i, group in ipairs(options.groups) do parts[i] = options_group(group) end
    parts[#parts + 1] = access_fields()
    return INTRO .. table.concat(parts, "\n")
end

-- ---------------------------------------------------------------- plugins

-- Built-in plugins need nothing of rproxy but these while they are loaded.
local function load_plugins()
    local site = require("rproxy.config.site")
    local before = package.loaded.rproxy
    package.loaded.rproxy = before or { plugin = plugin.define, site = site.site,
        header = function(name) return name end }
    local list = {}
    for i, name in ipairs(use.BUILT_IN) do
        list[i] = require("plugins." .. name:gsub("-", "_"))
    end
    package.loaded.rproxy = before
    return list
end

local function schema_rows(node, prefix, rows)
    for _, name in ipairs(node.names) do
        local field = node.fields[name]
        if field.kind == "object" then
            schema_rows(field, prefix .. name .. ".", rows)
        else
            rows[#rows + 1] = { code(prefix .. name), type_text(field), default_text(field),
                (field.doc or "") .. bounds_text(field) }
        end
    end
    return rows
end

local function plugin_table(made)
    local rows = schema_rows(made.node, "", {})
    rows[#rows + 1] = { code("on_error"), '`"500"`, `"open"`, `"closed"`',
        code(literal(made.on_error)),
        "What happens when a hook of the plugin raises: answer 500, go on without it, or refuse." }
    return table_of({ "name", "type", "default", "meaning" }, rows)
end

function M.plugins_page()
    local parts = { [[
# Plugins that come with rproxy

Made from the plugins' schemas by `make docs`; do not edit. How to use and write plugins:
[docs/guide/plugins.md](../guide/plugins.md). `rproxy schema NAME` prints the settings of a plugin
as JSON Schema.

## Every plugin

]] .. table_of({ "name", "type", "default", "meaning" }, schema_rows(plugin.common, "", {}))
        .. "\n" }
    for _, made in ipairs(load_plugins()) do
        local folder = "plugins/" .. made.name:gsub("-", "_")
        parts[#parts + 1] = ("## %s\n\n%s Version %s, stage %s; an example is in "
            .. "[its README](../../%s/README.md).\n\n%s\n"):format(made.name, made.doc,
            made.version, made.stage or "none", folder, plugin_table(made))
    end
    return table.concat(parts, "\n")
end

local BEGIN, END = "<!-- options: made by make docs -->", "<!-- end of options -->"

--- A README with its table of options renewed; nil when it has no place for one.
function M.readme(made, text)
    local from = text:find(BEGIN, 1, true)
    local to = text:find(END, 1, true)
    if not from or not to then return nil end
    return text:sub(1, from + #BEGIN - 1) .. "\n\n" .. plugin_table(made) .. "\n\n" .. text:sub(to)
end

-- ---------------------------------------------------------------- editor types

local CONSTRUCTORS = { "site", "listen", "upstream", "host", "route", "stream", "split" }

function M.types_file()
    local out = { "---@meta\n-- SPDX-License-Identifier: MIT\n--\n"
        .. "-- Editor types: of site.lua from the option table, of what hooks call from doc "
        .. "comments\n-- and docs/guide/api.md. Made by `make docs`; do not edit." }
    for _, group in ipairs(CONSTRUCTORS) do
        local docs = {}
        for _, row in ipairs(options[group]) do docs[row.name] = row.doc end
        emit.classes(options.nodes[group], "rproxy." .. emit.class_name(group), docs, "", out)
    end
    out[#out + 1] = emit.common_types(plugin.common)
    for _, made in ipairs(load_plugins()) do out[#out + 1] = emit.types(made) end
    out[#out + 1] = "---@class rproxy\nlocal rp = {}"
    for _, group in ipairs(CONSTRUCTORS) do
        out[#out + 1] = ("---@param given rproxy.%s\n---@return table\nfunction rp.%s(given) end")
            :format(emit.class_name(group), group)
    end
    out[#out + 1] = call_types.calls()
    out[#out + 1] = "return rp"
    return table.concat(out, "\n\n") .. "\n"
end

-- ---------------------------------------------------------------- all files

--- Path -> what it should hold.
function M.files()
    local files = {
        ["docs/reference/options.md"] = M.options_page(),
        ["docs/reference/plugins.md"] = M.plugins_page(),
        ["types/rproxy.lua"] = M.types_file(),
    }
    for _, made in ipairs(load_plugins()) do
        local path = "plugins/" .. made.name:gsub("-", "_") .. "/README.md"
        files[path] = M.readme(made, read(path) or "")
            or error(path .. " has no lines " .. BEGIN .. " and " .. END)
    end
    return files
end

--- Paths whose file differs from what it should hold, sorted.
function M.stale()
    local stale, files = {}, M.files()
    for _, path in ipairs(nearest.names(files)) do
        if read(path) ~= files[path] then stale[#stale + 1] = path end
    end
    return stale, files
end

local function write(path, text)
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
end

if arg and arg[0] and arg[0]:find("tools/docs%.lua$") then
    local stale, files = M.stale()
    for _, path in ipairs(stale) do
        if arg[1] == "--check" then
            print("out of date: " .. path .. "; run make docs")
        else
            write(path, files[path])
            print("wrote " .. path)
        end
    end
    os.exit(arg[1] == "--check" and #stale > 0 and 1 or 0)
end

return M
