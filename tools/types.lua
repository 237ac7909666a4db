-- SPDX-License-Identifier: MIT
--
-- types: editor types (LuaCATS) of calls, made from the doc comments of the modules that have them,
-- and for all else from the tables of docs/guide/api.md, which a spec compares with the program.
-- tools/docs.lua puts them behind those of site.lua.
--
-- A doc comment is the lines "--- .." right above "function NAME(ARGS)". Several results stand in
-- one @return line, with commas; words behind two blanks are a remark.

local M = {}

-- Module, the list its functions are in, and what it is called there: a class, or a place below rp.
local SOURCES = {
    { "task", "M", { sleep = "rp", spawn = "rp", all = "rp", any = "rp", deadline = "rp",
        detach = "rp", after = "rp", once = "rp" } },
    { "task", "Task", "rproxy.Task" },
    { "socket", "M", { connect = "rp.tcp", connect_unix = "rp.unix.connect",
        connect_udp = "rp.udp.connect", resolve = "rp.dns" } },
    { "socket", "Socket", "rproxy.Socket" },
    { "socket", "Udp", "rproxy.Udp" },
    { "http", "M", { client = "rp.http" } },
    { "http", "Client", "rproxy.HttpClient" },
    { "http", "Response", "rproxy.HttpResponse" },
    { "http", "methods", "rproxy.HttpHeaders" },
    { "schedule", "M", { every = "rp" } },
    { "redis", "M", { new = "=rp.redis" } },
    { "redis", "Client", "rproxy.RedisClient" },
    { "redis", "Subscription", "rproxy.RedisSubscription" },
    { "redis", "Script", "rproxy.RedisScript" },
    { "queue", "M", { new = "=rp.queue" } },
    { "queue", "Queue", "rproxy.Queue" },
    { "metric", "M", { counter = "rp.metric", gauge = "rp.metric", histogram = "rp.metric",
        text = "rp.metric" } },
    { "metric", "Counter", "rproxy.Counter" },
    { "metric", "Gauge", "rproxy.Gauge" },
    { "metric", "Histogram", "rproxy.Histogram" },
    { "lock", "M", { lock = "rp", semaphore = "rp" } },
    { "lock", "Lock", "rproxy.Lock" },
    { "lock", "Semaphore", "rproxy.Semaphore" },
    { "lock", "Seat", "rproxy.Seat" },
    { "fs", "M", { read = "rp.fs", write = "rp.fs", append = "rp.fs", stat = "rp.fs",
        list = "rp.fs", remove = "rp.fs", rename = "rp.fs", mkdir = "rp.fs", watch = "rp.fs" } },
    { "exec", "M", { exec = "rp" } },
    { "shared", "Store", "rproxy.Store" },
    { "shared", "Cache", "rproxy.Cache" },
    { "shared", "Buckets", "rproxy.Buckets" },
    { "shared_kinds", "Counters", "rproxy.Counters" },
    { "shared_kinds", "Counter", "rproxy.Counter" },
    { "shared_kinds", "Gauge", "rproxy.Gauge" },
    { "shared_kinds", "Top", "rproxy.Top" },
    { "shared_kinds", "Distinct", "rproxy.Distinct" },
    { "shared_set", "Set", "rproxy.Set" },
    { "ip", "M", { new = "=rp.ip", cidr = "rp" } },
    { "ip", "Ip", "rproxy.Ip" },
    { "ip", "Nets", "rproxy.Nets" },
    { "gzip", "M", { gzip = "rp", gunzip = "rp", gzip_stream = "rp", gunzip_stream = "rp" } },
    { "gzip", "Stream", "rproxy.GzipStream" },
    { "multipart", "M", { reader = "rp.form", parts = "rp.form" } },
    { "multipart", "Reader", "rproxy.FormReader" },
    { "request_body", "Reader", "rproxy.BodyReader" },
    { "ring", "M", { new = "=rp.ring", jump = "=rp.jump_hash" } },
    { "ring", "Ring", "rproxy.Ring" },
    { "crypto", "M", { hmac = "rp.crypto", random = "rp.crypto", equal = "rp.crypto",
        hkdf = "rp.crypto", scrypt = "rp.crypto", pbkdf2 = "rp.crypto", aead = "rp.crypto",
        check_password = "rp.crypto", hash_password = "rp.crypto", verifier = "rp.crypto",
        signer = "rp.crypto" } },
    { "crypto", "Aead", "rproxy.Aead" },
    { "crypto", "Key", "rproxy.Key" },
    { "x509", "M", { new = "=rp.crypto.x509", store = "=rp.crypto.x509_store" } },
    { "x509", "methods", "rproxy.Certificate" },
    { "jwe", "M", { key = "rp.jwe", encrypt = "rp.jwe", decrypt = "rp.jwe" } },
}

local FIELDS = {
    ["rproxy.Socket"] = { "reused number how many had it before" },
    ["rproxy.HttpResponse"] = { "status number", "version string", "body? string",
        "headers rproxy.HttpHeaders", "trailers? rproxy.HttpHeaders" },
    ["rproxy.HttpHeaders"] = { "[string] string first value" },
    ["rproxy.RedisClient"] = { "[string] fun(self: rproxy.RedisClient, ...): any, string?, string? "
        .. "any command" },
    ["rproxy.Ip"] = { "version 4|6" },
    ["rproxy.Key"] = { "kind string", "kid? string", "algs table<string, true>" },
    ["rproxy.Certificate"] = { "subject string RFC 2253", "issuer string", "serial string hex",
        "fingerprint string SHA-256, hex", "sans string[]", "not_before number", "not_after number",
        "is_ca boolean", "version number", "pem string", "der string" },
    ["rproxy.BodyReader"] = { "bytes number of the pieces so far" },
    ["rproxy.Lock"] = { "token number greater than that of each holder before" },
}

-- What a table that is called so in a @return line is.
local RESULTS = { socket = "rproxy.Socket", udp = "rproxy.Udp", task = "rproxy.Task",
    timer = "rproxy.Task", client = "rproxy.HttpClient", response = "rproxy.HttpResponse",
    redis = "rproxy.RedisClient", subscription = "rproxy.RedisSubscription",
    script = "rproxy.RedisScript", queue = "rproxy.Queue", lock = "rproxy.Lock",
    semaphore = "rproxy.Semaphore", seat = "rproxy.Seat", counter = "rproxy.Counter",
    ip = "rproxy.Ip", set = "rproxy.Nets", stream = "rproxy.GzipStream",
    reader = "rproxy.FormReader", ring = "rproxy.Ring", key = "rproxy.Key",
    cert = "rproxy.Certificate" }

local function read(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end

local function results(line, out)
    local list, remark = line:match("^(.-)%s%s+(.*)$")
    list = list or line
    local pieces = {}
    for piece in (list .. ","):gmatch("%s*(.-),") do
        local kind, name = piece:match("^(%S+)%s*(%S*)$")
        if RESULTS[name] then kind = kind:gsub("^table", RESULTS[name]) end
        pieces[#pieces + 1] = ("---@return %s %s"):format(kind, name):gsub("%s+$", "")
    end
    if remark then pieces[#pieces] = pieces[#pieces] .. " # " .. remark end
    for _, piece in ipairs(pieces) do out[#out + 1] = piece end
end

local function comment(lines)
    local out = {}
    for _, line in ipairs(lines) do
        local tag, rest = line:match("^@(%l+)%s+(.*)$")
        if tag == "return" then results(rest, out)
        elseif tag == "param" then out[#out + 1] = "---@param " .. rest:gsub("%s%s+", " ")
        elseif tag then out[#out + 1] = "---@" .. tag .. " " .. rest
        else out[#out + 1] = "--- " .. line:gsub("^%s+", "") end
    end
    return table.concat(out, "\n")
end

local function place_of(where, name)
    if type(where) == "string" then return where:match("[^.]+$"):lower() .. ":" .. name end
    local place = where[name]
    if not place then return nil end
    if place:find("^=") then return place:sub(2) end -- the whole of it
    return place:find("%.connect$") and place or place .. "." .. name
end

-- Definitions of one module's functions of one list.
local function functions(module, list, where, out)
    local above = {}
    for line in read("lua/rproxy/" .. module .. ".lua"):gmatch("([^\n]*)\n") do
        local words = line:match("^%-%-%-%s?(.*)$")
        local name, args = line:match("^function " .. list .. "[.:](%l[%l%d_]*)(%([^()]*%))")
        if words then above[#above + 1] = words end
        local place = name and place_of(where, name)
        if place then
            local text = comment(above)
            out[#out + 1] = (text ~= "" and text .. "\n" or "")
                .. ("function %s%s end"):format(place, args)
        end
        if not words then above = {} end
    end
end

-- ---------------------------------------------------------------- from the page

local PAGE = "docs/guide/api.md"

-- Words of the page for values.
local VALUES = { string = "string", text = "string", number = "number", boolean = "boolean",
    ["true"] = "true", table = "table", list = "any[]", value = "any", err = "string?",
    iterator = "fun(): ...", handle = "rproxy.Handle", count = "integer", object = "table",
    settings = "table", positions = "integer", captures = "string?", never = "nil" }

-- Objects of the page that have a class under another name, or whose row says which one is meant.
local OBJECTS = { req = "rproxy.Request", up = "rproxy.Up", res = "rproxy.Result",
    conn = "rproxy.Conn", client = "rproxy.HttpClient", response = "rproxy.HttpResponse",
    headers = "rproxy.HttpHeaders", cert = "rproxy.Certificate", reader = "rproxy.FormReader",
    body_reader = "rproxy.BodyReader",
    stream = "rproxy.GzipStream", zone = false, task = "rproxy.Task", keys = false }
local FIELD_TYPES = { ["req.up"] = "rproxy.Up", ["req.conn"] = "rproxy.Conn",
    ["conn.tls"] = "rproxy.ConnTls?", ["req.upstream"] = "rproxy.Handle|string?" }
-- What says that something is over says it in vain where it is not returned.
local NODISCARD = { ["req:exit"] = true, ["req:redirect"] = true, ["res:replace"] = true }

local function camel(word)
    return (word:gsub("^%l", string.upper):gsub("_(%l)", string.upper))
end

local function class_of(object)
    if OBJECTS[object] ~= nil then return OBJECTS[object] end
    return "rproxy." .. camel(object)
end

-- "string, or nil and err" -> { "string?", "string?" }; "string or nil" -> { "string?" }.
local function types_of(words, page)
    local out = {}
    if words == "" then return out end
    local fails = words:find("or nil and err", 1, true) or words:find("or nil, code", 1, true)
    local main = words:gsub("[,;]? or nil.*$", "")
    local maybe = main ~= words
    for word in (main .. ","):gmatch("%s*(.-)%s*[,;]") do
        local class = OBJECTS[word] or (page.known["rproxy." .. camel(word)]
            or page.objects[word]) and "rproxy." .. camel(word)
        local kind = VALUES[word:match("^[%l]+") or ""] or class or "any"
        out[#out + 1] = kind .. (maybe and kind ~= "any" and not kind:find("%?$") and "?" or "")
    end
    if fails and #out == 1 then out[2] = "string?" end
    return out
end

local function plain_doc(text)
    return (text:gsub("%*%*", ""):gsub("%[([^%]]*)%]%([^)]*%)", "%1"):gsub("%s+$", ""))
end

-- Calls run(object path, separator, name, args or nil, returns, doc) for what the page names.
local function each_of_page(run)
    local text = read(PAGE)
    text = text:sub((text:find("\n## req\n", 1, true)))
    local cut = text:find("\n## What plain Lua has", 1, true)
    text = text:sub(1, cut)
    local function spans(cell, returns, doc)
        for code in cell:gmatch("`([^`]+)`") do
            local path, rest = code:match("^([%l_][%w_.:]*)(.*)$") -- rp.x, req:get(h)
            local owner, sep, name = (path or ""):match("^(.*)([.:])([%w_]+)$")
            local args = rest and (rest:match("^(%b())") or rest:match("^%s*{") and "(opts)")
            if owner then run(owner, sep, name, args, returns, doc) end
        end
    end
    for line in text:gmatch("[^\n]+") do
        local cells = {}
        for cell in line:gsub("\\|", "\1"):match("^|?(.*)$"):gmatch("([^|]*)|") do
            cells[#cells + 1] = cell:match("^%s*(.-)%s*$"):gsub("\1", "|")
        end
        if #cells == 3 and line:sub(1, 1) == "|" then
            spans(cells[1], cells[2], plain_doc(cells[3]))
        elseif line:sub(1, 1) ~= "|" then
            spans(line, "", "")
        end
    end
end

-- "(fn, ...)" as it stands; what is no name becomes one.
local function arguments(args)
    local out = {}
    for word in args:sub(2, -2):gmatch("[^,]+") do
        word = word:match("^%s*(.-)%s*$")
        out[#out + 1] = word:find("^[%a_][%w_]*$") and word or word == "..." and word
            or "arg" .. #out + 1
    end
    return "(" .. table.concat(out, ", ") .. ")"
end

local Page = {}
Page.__index = Page

function Page:add(class, line)
    if not self.classes[class] then
        self.classes[class] = {}
        self.order[#self.order + 1] = class
    end
    table.insert(self.classes[class], line)
end

function Page:call(place, key, args, returns, doc)
    if self.defined[place] or self.done[place] then return end
    self.done[place] = true
    local lines = {}
    if doc ~= "" then lines[1] = "--- " .. doc end
    for _, kind in ipairs(types_of(returns, self)) do
        lines[#lines + 1] = "---@return " .. kind
    end
    if NODISCARD[key] then lines[#lines + 1] = "---@nodiscard" end
    lines[#lines + 1] = ("function %s%s end"):format(place, arguments(args))
    self.calls[#self.calls + 1] = table.concat(lines, "\n")
    self.at[place] = #self.calls
end

-- What is called and has fields, too: rp.regex(..), rp.regex.set(..).
function Page:overload(name)
    local text = self.calls[self.at[name]]
    local args = text:match("\nfunction [%w_.]+(%b())") or text:match("^function [%w_.]+(%b())")
    local returns = {}
    for kind in text:gmatch("%-%-%-@return ([^\n]+)") do returns[#returns + 1] = kind end
    local typed = args:sub(2, -2):gsub("[%w_]+", "%0: any")
    local class = "rproxy." .. camel((name:gsub("^rp%.", ""))) .. "Call"
    self.calls[self.at[name]] = "--"
    return ("---@class %s\n---@overload fun(%s)%s\n%s = {}"):format(class, typed,
        returns[1] and ": " .. table.concat(returns, ", ") or "", name)
end

function Page:field(class, object, name, returns, doc)
    local key = object .. "." .. name
    if self.done[key] then return end
    self.done[key] = true
    local kind = FIELD_TYPES[key] or types_of(returns, self)[1] or "any"
    self:add(class, ("---@field %s %s %s"):format(name, kind, doc):gsub("%s+$", ""))
end

function Page:take(owner, sep, name, args, returns, doc)
    if owner == "rp" or owner:find("^rp%.") then
        if sep == "." and args then
            self:call(owner .. "." .. name, "", args, returns, doc)
            local upper = owner:match("^rp%.[%w_]+$")
            if upper then self.tables[upper] = true end
        elseif sep == "." and owner:find("^rp%.[%w_]+$") then
            self.tables[owner] = true
            self.values[#self.values + 1] = owner .. "." .. name
        elseif sep == "." and not self.done[owner .. "." .. name] then
            self.values[#self.values + 1] = owner .. "." .. name
        end
        return
    end
    local object = owner:match("^[%l_]+$") or owner == "conn.tls" and "conn_tls"
    local class = object and class_of(object)
    if not class then return end
    if sep == ":" and args then
        if object == "set" and name:find("^match") then -- of rp.regex.set
            object, class = "regexset", "rproxy.RegexSet"
        end
        if self.known[class] then return end -- by doc comments
        self.fresh[object] = class
        self:call(object .. ":" .. name, object .. ":" .. name, args, returns, doc)
    elseif sep == "." and not args and not self.known[class] then
        if object ~= "conn_tls" then self.fresh[object] = class end
        self:field(class, object, name, returns, doc)
    end
end

-- What the page has and `text` does not define yet.
local function from_page(text)
    local self = setmetatable({ defined = {}, known = {}, done = {}, classes = {}, order = {},
        calls = {}, values = {}, tables = {}, fresh = {}, at = {}, objects = {} }, Page)
    for place in text:gmatch("\nfunction ([%w_.:]+)%(") do self.defined[place] = true end
    for class in text:gmatch("%-%-%-@class (rproxy%.%w+)") do self.known[class] = true end
    each_of_page(function(owner, sep)
        if sep == ":" then self.objects[owner] = true end
    end)
    each_of_page(function(...) self:take(...) end)
    return self
end

-- Classes of the page as text, then its calls.
local function page_text(self)
    local out = {}
    local names = {}
    for object, class in pairs(self.fresh) do names[#names + 1] = { object, class } end
    table.sort(names, function(a, b) return a[1] < b[1] end)
    self.classes["rproxy.ConnTls"] = self.classes["rproxy.ConnTls"] or {}
    out[#out + 1] = "---@class rproxy.ConnTls\n"
        .. table.concat(self.classes["rproxy.ConnTls"], "\n")
    for _, pair in ipairs(names) do
        local lines = { "---@class " .. pair[2] }
        for _, line in ipairs(self.classes[pair[2]] or {}) do lines[#lines + 1] = line end
        lines[#lines + 1] = ("local %s = {}"):format(pair[1])
        out[#out + 1] = table.concat(lines, "\n")
    end
    for _, call in ipairs(self.calls) do out[#out + 1] = call end
    return out
end

local HOOKS = [[
---@class rproxy.Handle
---@field name string
---@field circuit fun(self: rproxy.Handle): string? "closed", "open", "half-open"; nil: none

--- What a plugin's setup returns, and what a `use` list takes.
---@class rproxy.Hooks
]]

-- What hooks get, by their names in plugin.lua.
local HOOK_ARGS = { init = "site: table", start = "", stop = "", connect = "conn: table",
    tls_hello = "conn: table", certificate = "conn: table",
    balance = "req: rproxy.Request, up: rproxy.Up",
    request_body = "req: rproxy.Request, chunk: string, last: boolean",
    header_filter = "req: rproxy.Request, res: rproxy.Result",
    body_filter = "req: rproxy.Request, res: rproxy.Result, chunk: string, last: boolean",
    log = "req: rproxy.Request, res: rproxy.Result" }

-- Made by docs.lua from the options, or below.
local ABOVE = { ["rp.site"] = true, ["rp.listen"] = true, ["rp.upstream"] = true,
    ["rp.host"] = true, ["rp.route"] = true, ["rp.stream"] = true, ["rp.split"] = true,
    ["rp.plugin"] = true }

local PLUGIN = [[
---@class rproxy.PluginSpec
---@field name string letters, digits and "-"
---@field version? string
---@field stage? "auth"|"limit"|"observe"|"route"|"transform"|"waf"
---@field on_error? "500"|"closed"|"open" what happens when a hook raises
---@field doc? string
---@field schema? table settings: see docs/guide/plugins.md

---@class rproxy.Plugin
---@field setup fun(conf: table): rproxy.Hooks
---@overload fun(conf: table): table

---@param spec rproxy.PluginSpec
---@return rproxy.Plugin
function rp.plugin(spec) end]]

-- What the page names in passing.
local IN_PASSING = { ["rp.log.info"] = "(text, fields)", ["rp.log.notice"] = "(text, fields)",
    ["rp.log.warn"] = "(text, fields)", ["rp.log.error"] = "(text, fields)",
    ["rp.crypto.b64url"] = "(s)", ["rp.crypto.unb64url"] = "(s)" }

local function in_passing(name)
    local args = IN_PASSING[name] or name:find("^rp%.shm%.") and "(opts)"
    if args then return ("function %s%s end"):format(name, args) end
    return ("---@type any\n%s = nil"):format(name)
end

local function hooks_text()
    local out = {}
    local list = read("lua/rproxy/plugin.lua"):match("M%.HOOKS = {(.-)}")
    for name in list:gmatch('"([%l_]+)"') do
        out[#out + 1] = ("---@field %s? fun(%s): any?"):format(name, HOOK_ARGS[name]
            or "req: rproxy.Request")
    end
    return HOOKS .. table.concat(out, "\n")
end

--- The definitions as text; `rp` is a local above them.
function M.calls()
    local text = M.commented()
    local page = from_page("\n" .. text)
    local tables, missing, overloads = {}, {}, {}
    for _, name in ipairs { "rp.regex", "rp.tls" } do
        if page.at[name] then overloads[#overloads + 1] = page:overload(name) end
    end
    for name in pairs(page.tables) do
        if not page.at[name] and not text:find("%f[%w]" .. name:gsub("%.", "%%.") .. "%f[,%s]") then
            tables[#tables + 1] = name
        end
    end
    table.sort(tables)
    for i = 1, #tables do missing[i] = "{}" end
    local out = {}
    if tables[1] then
        out[1] = table.concat(tables, ", ") .. " = " .. table.concat(missing, ", ")
    end
    for _, piece in ipairs(overloads) do out[#out + 1] = piece end
    out[#out + 1] = text
    for _, piece in ipairs(page_text(page)) do
        if piece ~= "--" then out[#out + 1] = piece end
    end
    local seen = {}
    for _, name in ipairs(page.values) do
        if not page.done[name] and not page.defined[name] and not page.tables[name]
            and not seen[name] and not ABOVE[name]
            and not text:find("\nfunction " .. name .. "[(.]") then
            seen[name] = true
            out[#out + 1] = in_passing(name)
        end
    end
    out[#out + 1] = hooks_text()
    out[#out + 1] = PLUGIN
    return table.concat(out, "\n\n")
end

--- Those that have doc comments.
function M.commented()
    local out = { "rp.tcp, rp.unix, rp.udp, rp.dns, rp.http, rp.fs = {}, {}, {}, {}, {}, {}",
        "rp.crypto, rp.form, rp.jwe = {}, {}, {}" }
    for _, source in ipairs(SOURCES) do
        local module, list, where = unpack(source)
        if type(where) == "string" then
            local lines = { "---@class " .. where }
            for _, field in ipairs(FIELDS[where] or {}) do
                lines[#lines + 1] = "---@field " .. field
            end
            lines[#lines + 1] = ("local %s = {}"):format(where:match("[^.]+$"):lower())
            out[#out + 1] = table.concat(lines, "\n")
        end
        functions(module, list, where, out)
    end
    return table.concat(out, "\n\n")
end

return M
