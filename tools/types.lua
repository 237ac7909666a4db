-- SPDX-License-Identifier: MIT
--
-- types: editor types (LuaCATS) of calls, made from the doc comments of the modules that have them.
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

--- The definitions as text; `rp` is a local above them.
function M.calls()
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
