-- SPDX-License-Identifier: MIT
--
-- docs/guide/api.md names each public field and method of req, res, up, req.conn and rp, and what
-- the operator's pages list is what the program has. The lists are read from the sources: a name
-- added there and not here fails this spec.

local posix = require("spec.support.posix")

local read = posix.read_file

-- The text under the heading "## title", up to the next heading of its level.
local function section(page, title)
    local from = assert(page:find("\n## " .. title .. "\n", 1, true), "no section " .. title)
    local to = page:find("\n## ", from + 4, true)
    return page:sub(from, to)
end

-- Names that rows of a section's tables begin with: "| `name` |", "| `req.name` |", "| `up:name(x)` |".
local function rows(text)
    local names = {}
    for cell in text:gmatch("\n| ([^\n]-) |") do
        for code in cell:gmatch("`([^`]+)`") do
            local name = code:match("^[%w_]+[.:]([%w_]+)") or code:match("^[%w_]+")
            if name then names[name] = true end
        end
    end
    return names
end

local function sorted(set)
    local list = {}
    for name in pairs(set) do list[#list + 1] = name end
    table.sort(list)
    return list
end

-- Names that a source defines by "function list.name", "list.name = " for the lists named.
local function defined(path, ...)
    local source, names = read(path), {}
    for _, list in ipairs { ... } do
        for name in source:gmatch("\nfunction " .. list .. "[.:]([%w_]+)") do
            names[name] = true
        end
        for targets in source:gmatch("\n(" .. list .. "%.[^\n=]-) = ") do
            for name in targets:gmatch(list .. "%.([%w_]+)") do names[name] = true end
        end
    end
    assert(next(names), path .. ": nothing found")
    return names
end

local function missing(from, within)
    local list = {}
    for _, name in ipairs(sorted(from)) do
        if not within[name] then list[#list + 1] = name end
    end
    return list
end

local function same_names(wanted, written)
    assert.same({}, missing(wanted, written), "not documented")
    assert.same({}, missing(written, wanted), "documented, and not there")
end

-- The members of `local rp = { ... }` and `function rp.name` of init.lua.
local function members_of_rp()
    local source, names = read("lua/rproxy/init.lua"), {}
    local body = assert(source:match("\nlocal rp = {\n(.-)\n}\n"))
    body = body:gsub("%-%-[^\n]*", ""):gsub("= {[^}]*}", "= table")
    for name in body:gmatch("([%w_]+) =") do names[name] = true end
    for name in source:gmatch("\nfunction rp%.([%w_]+)") do names[name] = true end
    return names
end

local function add(names, prefix, more)
    for name in pairs(more) do names[prefix .. name] = true end
    return names
end

local PAGE = read("docs/guide/api.md")

describe("docs/guide/api.md", function()
    it("has the fields and methods of req", function()
        local names = defined("lua/rproxy/request.lua", "get", "set", "methods")
        add(names, "", defined("lua/rproxy/request_body.lua", "get", "methods"))
        add(names, "", defined("lua/rproxy/answer.lua", "methods"))
        add(names, "", defined("lua/rproxy/events.lua", "methods"))
        same_names(names, rows(section(PAGE, "req")))
    end)

    it("has the fields and methods of written answers", function()
        local names = defined("lua/rproxy/answer.lua", "shown", "out_methods")
        add(names, "", defined("lua/rproxy/events.lua", "events_get", "events_methods"))
        same_names(names, rows(section(PAGE, "Written answers")))
    end)

    it("has the fields and methods of req.up", function()
        same_names(defined("lua/rproxy/up.lua", "get", "set", "methods"),
            rows(section(PAGE, "req.up")))
    end)

    it("has the fields and methods of res", function()
        same_names(defined("lua/rproxy/response.lua", "get", "set", "methods"),
            rows(section(PAGE, "res")))
    end)

    it("has the fields of req.conn", function()
        same_names(defined("lua/rproxy/request.lua", "conn_get"),
            rows(section(PAGE, "req.conn")))
    end)

    it("leads to the page that has what hooks of the TLS handshake see", function()
        local text = section(read("docs/guide/tls.md"), "Hooks of the handshake")
        for name in pairs(defined("lua/rproxy/guest.lua", "get", "set", "methods")) do
            assert.truthy(text:find("`" .. name .. "`", 1, true)
                or text:find("conn:" .. name .. "(", 1, true), name .. " is not documented")
        end
    end)

    it("has the members of rp, and of its libraries", function()
        local written = {}
        for name in section(PAGE, "rp"):gmatch("`rp%.([%w_]+)") do written[name] = true end
        same_names(members_of_rp(), written)
        written = {}
        for name in section(PAGE, "rp"):gmatch("`rp%.([%w_]+%.[%w_]+)") do written[name] = true end
        local wanted = { ["tls.certificate"] = true, ["tcp.connect"] = true,
            ["unix.connect"] = true, ["udp.connect"] = true, ["dns.resolve"] = true,
            ["http.client"] = true, ["uri.escape"] = true, ["uri.escape_path"] = true,
            ["uri.unescape"] = true, ["jit.report"] = true, ["regex.set"] = true,
            ["shm.store"] = true, ["shm.cache"] = true, ["shm.buckets"] = true,
            ["shm.counters"] = true, ["shm.set"] = true, ["shm.top"] = true,
            ["shm.distinct"] = true, ["metric.counter"] = true, ["metric.gauge"] = true,
            ["metric.histogram"] = true, ["metric.text"] = true }
        for _, level in ipairs { "debug", "info", "notice", "warn", "error" } do
            wanted["log." .. level] = true
        end
        add(wanted, "log.", defined("lua/rproxy/log.lua", "M"))
        add(wanted, "json.", defined("lua/rproxy/json.lua", "M"))
        add(wanted, "crypto.", defined("lua/rproxy/crypto.lua", "M"))
        add(wanted, "jwt.", defined("lua/rproxy/jwt.lua", "M"))
        add(wanted, "jwe.", defined("lua/rproxy/jwe.lua", "M"))
        add(wanted, "date.", defined("lua/rproxy/date.lua", "M"))
        add(wanted, "uuid.", defined("lua/rproxy/uuid.lua", "M"))
        add(wanted, "fs.", defined("lua/rproxy/fs.lua", "M"))
        add(wanted, "form.", defined("lua/rproxy/text.lua", "M%.form"))
        same_names(wanted, written)
    end)

    it("leads to the page that has the methods of shared zones", function()
        local text = read("docs/guide/shared.md")
        for name in pairs(defined("lua/rproxy/shared.lua", "Store", "Cache", "Buckets")) do
            assert.truthy(text:find("zone:" .. name .. "(", 1, true)
                or text:find(":" .. name .. "(", 1, true), name .. " is not documented")
        end
    end)

    it("has the methods of sockets, tasks, regular expressions and caches", function()
        local text = section(PAGE, "rp")
        for class, path in pairs { Socket = "socket", Udp = "socket", Task = "task", Client = "http",
            Response = "http", Regex = "regex", Lru = "lru" } do
            for name in pairs(defined("lua/rproxy/" .. path .. ".lua", class)) do
                if name ~= "__index" then
                    assert.truthy(text:find("`" .. class:lower() .. ":" .. name, 1, true),
                        class:lower() .. ":" .. name .. " is not documented")
                end
            end
        end
    end)

    it("leads to the pages that have the calls of clients, queues and locks", function()
        for page, list in pairs { redis = { "redis", "Client", "Subscription", "Script" },
            background = { "queue", "Queue" }, ["background "] = { "lock", "Lock", "Semaphore",
                "Seat" } } do
            local text = read("docs/guide/" .. page:gsub(" ", "") .. ".md")
            for name in pairs(defined("lua/rproxy/" .. list[1] .. ".lua", unpack(list, 2))) do
                if not name:find("^__") and name ~= "call" then
                    assert.truthy(text:find(":" .. name .. "(", 1, true), name .. " is missing")
                end
            end
        end
    end)

    it("has the hooks that plugins may have", function()
        local hooks = {}
        local list = assert(read("lua/rproxy/plugin.lua"):match("M%.HOOKS = {(.-)}"))
        for name in list:gmatch('"([%w_]+)"') do hooks[name] = true end
        local text = section(read("docs/guide/plugins.md"), "Hooks")
        same_names(hooks, rows(text))
    end)

    it("has the types that settings may have", function()
        local kinds = { list = true, map = true, headers = true }
        local source = read("lua/rproxy/schema.lua")
        for name in source:gmatch("\nTYPES%.([%w_]+) =") do kinds[name] = true end
        kinds["function"], kinds.unbuilt = true, nil
        local text = section(read("docs/guide/plugins.md"), "Settings")
        for _, name in ipairs(sorted(kinds)) do
            assert.truthy(text:find('"' .. name .. '[<"]'), "type " .. name .. " is missing")
        end
    end)
end)

describe("the operator's pages", function()
    -- First columns of an X-macro table: X(NAME, "word" or word, ...).
    local function column(path, pattern)
        local names = {}
        for name in read(path):gmatch(pattern) do names[name] = true end
        assert(next(names), path)
        return names
    end

    it("list each field of the access log", function()
        same_names(column("runtime/proxy/access.tbl", '\nA%([%u_%d]+, "([%w_]+)"'),
            rows(section(read("docs/reference/options.md"), "Fields of a json access log")))
    end)

    it("list each counter of rproxy status", function()
        same_names(column("runtime/process/stats.tbl", '\nX%("([%w_]+)"'),
            rows(section(read("docs/guide/operations.md"), "Counters")))
    end)

    it("say of each reason in the access log what to do", function()
        same_names(column("runtime/base/err.tbl", '\nX%([%u_%d]+, %d+, %w+, "([%w_]+)"'),
            rows(section(read("docs/guide/troubleshooting.md"), "The reason in the access log")))
    end)
end)
