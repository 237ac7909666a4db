-- SPDX-License-Identifier: MIT
--
-- grant_rules: what a grant says, and whether a use is within it. Pure: no I/O, no FFI.
--
--   net   "host:port", "*.example.com:443", "10.0.0.0/8:6379", "[2001:db8::/32]:443", "*:443",
--         "host:*" (any port), "unix:/run/x.sock", "*" (everything)
--   fs    { read = { "/etc/x" }, write = { "/var/lib/x" } }: that and all below it; a list reads
--   exec  "/usr/bin/openssl" (with any words), or { "/usr/bin/openssl", "x509", "*" }: "*" is any
--         one word, "..." at the end any more; env = { "NAME" }: variables it may be given
--   env   "HOME", "AWS_*"
--   ffi   true
--
-- A name never covers an address: what is granted "db.internal:5432" cannot open 10.0.0.1:5432.

local nearest = require("rproxy.config.nearest")

local M = {}

M.KINDS = { "env", "exec", "ffi", "fs", "net" }

-- ---------------------------------------------------------------- addresses

local function parse_v4(text)
    local a, b, c, d = text:match("^(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)$")
    if not a then return nil end
    a, b, c, d = tonumber(a), tonumber(b), tonumber(c), tonumber(d)
    if a > 255 or b > 255 or c > 255 or d > 255 then return nil end
    return string.char(a, b, c, d)
end

local function words_of(text)
    local out = {}
    if text == "" then return out end
    for word in (text .. ":"):gmatch("([^:]*):") do
        if not word:find("^%x%x?%x?%x?$") then return nil end
        local n = tonumber(word, 16)
        out[#out + 1] = string.char(math.floor(n / 256), n % 256)
    end
    return out
end

local function parse_v6(text)
    local head, v4 = text:match("^(.*:)([%d.]+)$")
    if head and v4:find(".", 1, true) then
        local bytes = parse_v4(v4)
        if not bytes then return nil end
        local b1, b2, b3, b4 = bytes:byte(1, 4)
        text = ("%s%x:%x"):format(head, b1 * 256 + b2, b3 * 256 + b4)
    end
    local before, after = text:match("^(.-)::(.*)$")
    if not before then
        local words = words_of(text)
        return words and #words == 8 and table.concat(words) or nil
    end
    local left, right = words_of(before), words_of(after)
    if not left or not right or #left + #right > 7 then return nil end
    return table.concat(left) .. ("\0\0"):rep(8 - #left - #right) .. table.concat(right)
end

local MAPPED = ("\0"):rep(10) .. "\255\255"

--- Sixteen bytes of an address; IPv4 as ::ffff:a.b.c.d. nil: it is none.
--- @param text string
function M.ip(text)
    local v4 = parse_v4(text)
    if v4 then return MAPPED .. v4, 96 end
    if not text:find(":", 1, true) then return nil end
    local v6 = parse_v6(text)
    return v6, v6 and 0
end

local function same_bits(a, b, bits)
    local whole = math.floor(bits / 8)
    if a:sub(1, whole) ~= b:sub(1, whole) then return false end
    local rest = bits % 8
    if rest == 0 then return true end
    local step = 2 ^ (8 - rest)
    return math.floor(a:byte(whole + 1) / step) == math.floor(b:byte(whole + 1) / step)
end

-- A name as it is compared; nil when it cannot be one.
local function name_of(text)
    text = text:lower():gsub("%.$", "")
    if #text > 253 or not text:find("^[%w_][%w_.-]*$") or text:find("..", 1, true) then
        return nil
    end
    return text
end

-- ---------------------------------------------------------------- net

local NET_FORM = '"host:port", "*.example.com:443", "10.0.0.0/8:6379", "[::1]:80" or "unix:/path"'

local function split_port(text)
    local host, port = text:match("^%[([^%]]+)%]:([%d*]+)$")
    if not host then host, port = text:match("^([^:%[%]]+):([%d*]+)$") end
    if not host then return nil end
    if port == "*" then return host, nil, true end
    port = tonumber(port)
    if not port or port < 1 or port > 65535 then return nil end
    return host, port, true
end

local function host_rule(host)
    if host == "*" then return { any = true } end
    local address, bits = host:match("^(.-)/(%d+)$")
    local bytes, base = M.ip(address or host)
    if bytes then
        local most = 128 - base
        bits = bits and tonumber(bits) or most
        return bits <= most and { ip = bytes, bits = bits + base } or nil
    end
    if address then return nil end
    local suffix = host:match("^%*(%..+)$")
    local name = name_of(suffix and suffix:sub(2) or host)
    -- The last label has a letter: nothing that some resolver might read as an address.
    if not name or not name:find("%a[%w_-]*$") then return nil end
    return suffix and { suffix = "." .. name } or { name = name }
end

--- @param text any
--- @return table|nil rule, string|nil expected
function M.net(text)
    if type(text) ~= "string" then return nil, NET_FORM end
    if text == "*" then return { text = text, all = true } end
    local unix = text:match("^unix:(.+)$")
    if unix then return { text = text, unix = M.normal(unix) } end
    local host, port, whole = split_port(text)
    local rule = whole and host_rule(host)
    if not rule then return nil, NET_FORM end
    rule.text, rule.port = text, port
    return rule
end

--- Does a rule cover a place? port nil: whatever port; 0: `host` is the path of a unix socket.
function M.net_covers(rule, host, port)
    if rule.all then return true end
    if port == 0 then return rule.unix ~= nil and rule.unix == M.normal(host) end
    if rule.unix then return false end
    if rule.port and port and rule.port ~= port then return false end
    if rule.any then return true end
    local bytes = M.ip(host:match("^%[(.*)%]$") or host)
    if bytes then return rule.ip ~= nil and same_bits(rule.ip, bytes, rule.bits) end
    local name = name_of(host)
    if not name then return false end
    if rule.name then return name == rule.name end
    return rule.suffix ~= nil and #name > #rule.suffix and name:sub(-#rule.suffix) == rule.suffix
end

-- Does rule `a` cover all that rule `b` does?
local function net_holds(a, b)
    if a.all then return true end
    if b.all or (a.unix or b.unix) then return a.unix ~= nil and a.unix == b.unix end
    if a.port and a.port ~= b.port then return false end
    if a.any then return true end
    if b.any then return false end
    if b.ip then return a.ip ~= nil and a.bits <= b.bits and same_bits(a.ip, b.ip, a.bits) end
    if b.name then return M.net_covers(a, b.name, b.port) end
    return a.suffix ~= nil and #b.suffix >= #a.suffix and b.suffix:sub(-#a.suffix) == a.suffix
end

-- ---------------------------------------------------------------- files

--- A path without ".", ".." and doubled slashes. Relative ones stay relative, and do not leave the
--- folder that they begin at ("../x" stays what it is, and is covered by nothing above it).
function M.normal(path)
    local out, absolute = {}, path:sub(1, 1) == "/"
    for part in path:gmatch("[^/]+") do
        if part == ".." and #out > 0 and out[#out] ~= ".." then
            out[#out] = nil
        elseif part == ".." and not absolute then
            out[#out + 1] = part
        elseif part ~= "." and part ~= ".." then
            out[#out + 1] = part
        end
    end
    return (absolute and "/" or "") .. table.concat(out, "/")
end

--- @return table|nil rule, string|nil expected
function M.path(text)
    if type(text) ~= "string" or text == "" or text:find("%z") then
        return nil, "the path of a file or a folder"
    end
    return { text = text, path = M.normal(text) }
end

--- Bytes of `path` that are the rule's own path; nil: it does not cover it. Both are normal.
function M.path_covers(rule, path)
    local root = rule.path
    if root == "/" then return path:sub(1, 1) == "/" and 1 or nil end
    if root == "" then -- the folder of the site
        return path:sub(1, 1) ~= "/" and path:sub(1, 2) ~= ".." and 0 or nil
    end
    if path == root then return #path end
    return path:sub(1, #root + 1) == root .. "/" and #root or nil
end

-- ---------------------------------------------------------------- programs, variables

local EXEC_FORM = '"/path/of/program", or { "/path/of/program", "word", "*", "..." }'

--- @return table|nil rule, string|nil expected
function M.exec(given)
    local words = type(given) == "table" and given or { given }
    local program = words[1]
    if type(program) ~= "string" or (program:sub(1, 1) ~= "/" and program ~= "*") then
        return nil, EXEC_FORM
    end
    local rule = { program = program == "*" and "*" or M.normal(program), env = {} }
    if type(given) == "table" and (#given > 1 or program ~= "*") then
        rule.words = {}
        for i = 2, #words do
            if type(words[i]) ~= "string" then return nil, EXEC_FORM end
            rule.words[i - 1] = words[i]
        end
        for i, name in ipairs(type(words.env) == "table" and words.env or {}) do
            if type(name) ~= "string" then return nil, EXEC_FORM end
            rule.env[i] = name
        end
    end
    rule.text = program .. (rule.words and " " .. table.concat(rule.words, " ") or "")
    return rule
end

local function words_fit(shape, words)
    for i, wanted in ipairs(shape) do
        if wanted == "..." and i == #shape then return true end
        local word = words[i + 1]
        if word == nil or (wanted ~= "*" and wanted ~= tostring(word)) then return false end
    end
    return #words == #shape + 1
end

local function has_name(patterns, name)
    for _, pattern in ipairs(patterns) do
        local prefix = pattern:match("^(.*)%*$")
        if pattern == name or (prefix and name:sub(1, #prefix) == prefix) then return true end
    end
    return false
end

--- @param words string[]  argv
--- @param env table|nil  variables that it is given
function M.exec_covers(rule, words, env)
    if rule.program ~= "*" then
        local program = words[1]
        if program:sub(1, 1) ~= "/" or M.normal(program) ~= rule.program then return false end
    end
    if rule.words and not words_fit(rule.words, words) then return false end
    for name in pairs(env or {}) do
        if not has_name(rule.env, name) then return false end
    end
    return true
end

local function exec_holds(a, b)
    if a.program ~= "*" and a.program ~= b.program then return false end
    if not a.words then return #b.env == 0 end
    if not b.words or #a.words ~= #b.words then return false end
    for i, word in ipairs(a.words) do
        if word ~= "*" and word ~= b.words[i] then return false end
    end
    for _, name in ipairs(b.env) do
        if not has_name(a.env, name) then return false end
    end
    return true
end

--- @return table|nil rule, string|nil expected
function M.env(text)
    if type(text) ~= "string" or not (text == "*" or text:find("^[%a_][%w_]*%*?$")) then
        return nil, 'the name of a variable, "HOME" or "AWS_*"'
    end
    return { text = text, names = { text } }
end

function M.env_covers(rule, name)
    return has_name(rule.names, name)
end

-- ---------------------------------------------------------------- sets of rules

--- Nothing is granted.
function M.new()
    return { net = {}, read = {}, write = {}, exec = {}, env = {}, ffi = false }
end

-- Where the rules of an option lie in a set: net = { .. }, fs = { read = { .. } }.
local function add_list(list, parse, given, path, fail)
    if type(given) ~= "table" then
        fail(path, "expected a list, got " .. type(given))
        return
    end
    for i, item in ipairs(given) do
        local rule, expected = parse(item)
        if rule then list[#list + 1] = rule
        else fail(("%s[%d]"):format(path, i), "expected " .. expected) end
    end
    for key in pairs(given) do
        if type(key) ~= "number" then
            fail(path, ("expected a list, got the key %q in it"):format(tostring(key)))
        end
    end
end

local ADD = {}

function ADD.net(set, given, path, fail) add_list(set.net, M.net, given, path, fail) end
function ADD.env(set, given, path, fail) add_list(set.env, M.env, given, path, fail) end
function ADD.exec(set, given, path, fail) add_list(set.exec, M.exec, given, path, fail) end

function ADD.fs(set, given, path, fail)
    if type(given) ~= "table" then
        fail(path, "expected { read = { .. }, write = { .. } }, got " .. type(given))
        return
    end
    if given[1] ~= nil then return add_list(set.read, M.path, given, path, fail) end
    for key, list in pairs(given) do
        if key == "read" or key == "write" then
            add_list(set[key], M.path, list, path .. "." .. key, fail)
        else
            fail(path, ("no %q here; known: read, write"):format(tostring(key)))
        end
    end
end

function ADD.ffi(set, given, path, fail)
    if type(given) ~= "boolean" then
        fail(path, "expected true or false, got " .. type(given))
        return
    end
    set.ffi = set.ffi or given
end

--- Add what a table { net = .., fs = .. } says to a set. Mistakes go to fail(path, text).
function M.add(set, given, path, fail)
    if type(given) ~= "table" then
        fail(path, "expected a table such as { net = { \"host:port\" } }, got " .. type(given))
        return
    end
    for _, kind in ipairs(nearest.names(given)) do
        if ADD[kind] then ADD[kind](set, given[kind], path .. "." .. kind, fail)
        else fail(path, ("no %q can be granted%s"):format(kind, nearest.hint(kind, M.KINDS))) end
    end
    for key in pairs(given) do
        if type(key) ~= "string" then fail(path, "expected net, fs, exec, env or ffi as keys") end
    end
end

--- Add all of another set.
function M.join(set, other)
    for _, list in ipairs { "net", "read", "write", "exec", "env" } do
        for _, rule in ipairs(other[list]) do set[list][#set[list] + 1] = rule end
    end
    set.ffi = set.ffi or other.ffi
end

local HOLDS = {
    net = net_holds, exec = exec_holds,
    read = function(a, b) return M.path_covers(a, b.path) ~= nil end,
    env = function(a, b) return a.text == b.text or M.env_covers(a, b.text:gsub("%*$", "")) end,
}
HOLDS.write = HOLDS.read

--- How a rule is written in a grant: 'net = { "a:1" }'.
function M.spelling(list, rule)
    if list == "ffi" then return "ffi = true" end
    local text = ("%q"):format(rule.text)
    if list == "exec" and rule.words then
        local words = { ("%q"):format(rule.program) }
        for _, word in ipairs(rule.words) do words[#words + 1] = ("%q"):format(word) end
        text = "{ " .. table.concat(words, ", ") .. " }"
    end
    if list == "read" or list == "write" then
        return ("fs = { %s = { %s } }"):format(list, text)
    end
    return ("%s = { %s }"):format(list, text)
end

--- What of `needs` no rule of `set` covers: spellings.
--- @return string[]
function M.missing(set, needs)
    local out = {}
    for _, list in ipairs { "net", "read", "write", "exec", "env" } do
        for _, need in ipairs(needs[list]) do
            local held = false
            for _, rule in ipairs(set[list]) do held = held or HOLDS[list](rule, need) end
            if not held then out[#out + 1] = M.spelling(list, need) end
        end
    end
    if needs.ffi and not set.ffi then out[#out + 1] = M.spelling("ffi") end
    return out
end

--- Texts of all rules, for `rproxy -T`: "net a:1", "read /etc/x".
function M.texts(set)
    local out = {}
    for _, list in ipairs { "net", "read", "write", "exec", "env" } do
        for _, rule in ipairs(set[list]) do out[#out + 1] = list .. " " .. rule.text end
    end
    if set.ffi then out[#out + 1] = "ffi" end
    return out
end

return M
