-- SPDX-License-Identifier: MIT
--
-- member: what a provider says about one member of an upstream, checked; lists of members, and what
-- differs between two of them. Pure.
--
-- A member: address ("10.0.0.1:80", "[::1]:80", "name:80", "unix:/path"), weight, priority,
-- backup, max_conns, zone, meta, identity (the name that it must prove in TLS). Providers give
-- tables like that (host and port instead of address, too), or text: "10.0.0.1:80 weight=2 zone=a".

local nearest = require("rproxy.config.nearest")

local M = {}

--- Members of one upstream at most.
M.MOST = 10000

local NAME_MOST = 253        -- RFC 1035 §2.3.4
local UNIX_MOST = 107        -- of sockaddr_un, without its NUL
local WORD_MOST = 64         -- bytes of a zone
local META_MOST, META_BYTES = 16, 256
local PIECE = 500            -- members between two rests
local KEYS = { address = true, host = true, port = true, weight = true, priority = true,
    backup = true, max_conns = true, zone = true, meta = true, identity = true }

-- ---------------------------------------------------------------- addresses

local function is_ip4(text)
    local a, b, c, d = text:match("^(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)$")
    if not a then return false end
    for _, part in ipairs { a, b, c, d } do
        if tonumber(part) > 255 or #part > 1 and part:sub(1, 1) == "0" then return false end
    end
    return true
end

-- Groups of one side of "::"; nil: they are none.
local function count_groups(text, may_end_in_ip4)
    local n = 0
    if text == "" then return 0 end
    local last = text:match("([^:]*)$")
    if last:find(".", 1, true) then
        if not may_end_in_ip4 or not is_ip4(last) then return nil end
        text, n = text:sub(1, #text - #last), 2
        if text == "" then return n end
        text = text:sub(1, -2)
    end
    for group in (text .. ":"):gmatch("([^:]*):") do
        if not group:find("^%x%x?%x?%x?$") then return nil end
        n = n + 1
    end
    return n
end

-- RFC 4291 §2.2; no zone of a link ("%eth0").
local function is_ip6(text)
    local from, to = text:find("::", 1, true)
    if not from then return count_groups(text, true) == 8 end
    local left = count_groups(text:sub(1, from - 1), false)
    local right = count_groups(text:sub(to + 1), true)
    return left ~= nil and right ~= nil and left + right < 8
end

local function is_name(text)
    if #text > NAME_MOST or text:find("^[%d.]+$") then return false end
    return text:find("^[%w_][%w_.-]*$") ~= nil and not text:find("..", 1, true)
end

--- What a host is: "ip4", "ip6", "name"; nil: nothing that could be connected to.
function M.kind_of(host)
    if is_ip4(host) then return "ip4" end
    if host:find(":", 1, true) then return is_ip6(host) and "ip6" or nil end
    return is_name(host) and "name" or nil
end

local function port_of(value)
    local port = type(value) == "number" and value
        or type(value) == "string" and #value <= 5 and value:find("^%d+$") and tonumber(value)
    if port and port % 1 == 0 and port >= 1 and port <= 65535 then return port end
end

-- host (without brackets), port -> address, kind; nil and why
local function join(host, port)
    local number = port_of(port)
    if not number then return nil, "no port from 1 to 65535" end
    if type(host) ~= "string" then return nil, "no host" end
    host = host:match("^%[(.*)%]$") or host
    local kind = M.kind_of(host)
    if not kind then return nil, "no host or address" end
    host = host:lower()
    if kind == "ip6" then return ("[%s]:%d"):format(host, number), kind, host end
    return ("%s:%d"):format(host, number), kind, host
end

-- An address as it is used everywhere, and what it is: "ip4", "ip6", "name", "unix".
local function read_address(text, port)
    local path = text:match("^unix:(.*)$")
    if path then
        if path:find("^/") and #path <= UNIX_MOST and not path:find("[%c%s]") then
            return text, "unix"
        end
        return nil, "no path of a unix socket"
    end
    local host, own = text:match("^(%[[^%[%]]*%]):(%d+)$")
    if not host then host, own = text:match("^([^:%[%]]+):(%d+)$") end
    if host then return join(host, own) end
    if port == nil then return nil, "no host:port" end
    return join(text, port)
end

-- ---------------------------------------------------------------- members

-- "10.0.0.1:80 weight=2 backup" -> the same as a table; nil and why
local function read_words(text)
    local out
    for word in text:gmatch("%S+") do
        local key, value = word:match("^([%l_]+)=(.*)$")
        local name = key and key:match("^meta_(.+)$")
        if not out then out = { address = word }
        elseif name then
            out.meta = out.meta or {}
            out.meta[name] = value
        elseif key then
            if key == "backup" then value = value == "true" end
            out[key] = value
        elseif word == "backup" then out.backup = true
        else return nil, "words like weight=2 and backup belong behind the address" end
    end
    if not out then return nil, "no address" end
    return out
end

local function whole(value, least, most)
    if type(value) == "string" and #value <= 16 and value:find("^%-?%d+$") then
        value = tonumber(value)
    end
    if type(value) == "number" and value % 1 == 0 and value >= least and value <= most then
        return value
    end
end

-- UTF-8 or anything else that has no blank and no control byte in it.
local function is_word(value, most)
    return type(value) == "string" and value ~= "" and #value <= most
        and not value:find("[%c%s]")
end

-- What of a table of texts can be kept: names and values of one line, so many at most, in order.
local function clean_meta(given)
    if type(given) ~= "table" then return nil end
    local out, n, names = {}, 0, {}
    for name in pairs(given) do
        if is_word(name, WORD_MOST) and name:find("^[%w_.:/-]+$") then
            names[#names + 1] = name
        end
    end
    table.sort(names)
    for _, name in ipairs(names) do
        local value = given[name]
        if type(value) == "number" or type(value) == "boolean" then value = tostring(value) end
        if n < META_MOST and type(value) == "string" and #value <= META_BYTES
            and not value:find("%c") then
            out[name], n = value, n + 1
        end
    end
    return n > 0 and out or nil
end

local function check_keys(given)
    for key in pairs(given) do
        if not KEYS[key] then
            return ("unknown field %s%s"):format(tostring(key),
                nearest.hint(tostring(key), nearest.names(KEYS)))
        end
    end
end

-- The numbers of a member into out; what is wrong with them.
local function read_numbers(given, out)
    out.weight = whole(given.weight == nil and 1 or given.weight, 0, 65535)
    if not out.weight then return "weight is a whole number from 0 to 65535" end
    out.priority = whole(given.priority == nil and 0 or given.priority, 0, 14)
    if not out.priority then return "priority is a whole number from 0 to 14" end
    out.max_conns = whole(given.max_conns == nil and 0 or given.max_conns, 0, 2 ^ 32 - 1)
    if not out.max_conns then return "max_conns is a whole number from 0" end
end

--- @param given any  what a provider gave
--- @param opt table|nil  strict: unknown fields are mistakes, as in a file that people write;
---   unix: paths of sockets are taken; allow(host) -> boolean
--- @return table|nil member, string|nil why
function M.read(given, opt)
    opt = opt or {}
    local why
    if type(given) == "string" then
        given, why = read_words(given)
        if not given then return nil, why end
        why = check_keys(given)
    elseif type(given) ~= "table" then
        return nil, "a member is a text or a table, not a " .. type(given)
    elseif opt.strict then
        why = check_keys(given)
    end
    if why then return nil, why end
    local address, kind, host
    if type(given.address) == "string" then
        address, kind, host = read_address(given.address, given.port)
    else
        address, kind, host = join(given.host, given.port)
    end
    if not address then return nil, kind end
    if kind == "unix" and not opt.unix then return nil, "paths of sockets are not taken here" end
    if opt.allow and not (kind ~= "name" and host and opt.allow(host)) then
        return nil, "not in the networks of `allow`"
    end
    local out = { address = address, backup = given.backup == true }
    why = read_numbers(given, out)
    if why then return nil, why end
    if is_word(given.zone, WORD_MOST) then out.zone = given.zone
    elseif opt.strict and given.zone ~= nil then return nil, "zone is a word" end
    if given.identity ~= nil then
        if type(given.identity) ~= "string" or not is_name(given.identity) then
            return nil, "identity is a host name"
        end
        out.identity = given.identity
    end
    out.meta = clean_meta(given.meta)
    return out
end

local function by_address(a, b) return a.address < b.address end

--- A whole list: each member once, in the order of their addresses, those of weight 0 left out.
--- @param given table  list
--- @param opt table|nil  as of read; most: members at most; rest: called now and then
--- @return table|nil list  nil: there are too many, or it is no list
--- @return table|string bad  { "text: why", .. } of those that were left out; why
function M.list(given, opt)
    if type(given) ~= "table" then return nil, "no list of members" end
    local most = opt and opt.most or M.MOST
    if #given > most then
        return nil, ("%d members; at most %d are taken"):format(#given, most)
    end
    local list, bad, seen = {}, {}, {}
    for i, item in ipairs(given) do
        if i % PIECE == 0 and opt and opt.rest then opt.rest() end
        local member, why = M.read(item, opt)
        if not member then
            bad[#bad + 1] = ("%s: %s"):format(M.show(item), why)
        elseif not seen[member.address] and member.weight > 0 then
            seen[member.address] = true
            list[#list + 1] = member
        end
    end
    table.sort(list, by_address)
    return list, bad
end

--- A member as messages show it: short, on one line.
function M.show(item)
    local text = item
    if type(item) == "table" then
        text = item.address or item.host
        if type(text) == "string" and item.address == nil and item.port ~= nil then
            text = text .. ":" .. tostring(item.port)
        end
    end
    if type(text) ~= "string" then return "a member" end
    text = text:gsub("[%c\127-\255]", "?")
    return #text > 80 and text:sub(1, 77) .. "..." or text
end

-- ---------------------------------------------------------------- differences

local function same_meta(a, b)
    for name, value in pairs(a or {}) do
        if not b or b[name] ~= value then return false end
    end
    for name in pairs(b or {}) do
        if not a or a[name] == nil then return false end
    end
    return true
end

local function same(a, b)
    for _, key in ipairs { "weight", "priority", "backup", "max_conns", "zone", "identity" } do
        if a[key] ~= b[key] then return false end
    end
    return same_meta(a.meta, b.meta)
end

--- Addresses that came, that went, and that are there with other settings.
--- @return string[] added, string[] removed, string[] changed
function M.diff(before, after)
    local old, added, removed, changed = {}, {}, {}, {}
    for _, member in ipairs(before) do old[member.address] = member end
    for _, member in ipairs(after) do
        local was = old[member.address]
        old[member.address] = nil
        if not was then added[#added + 1] = member.address
        elseif not same(was, member) then changed[#changed + 1] = member.address end
    end
    for _, member in ipairs(before) do
        if old[member.address] then removed[#removed + 1] = member.address end
    end
    return added, removed, changed
end

--- The way from one list to another, where it is long: a list with at most so many who came and so
--- many who went. Never longer than the longer of the two.
--- @param most number
--- @return table list, boolean last  true: it is `after`
function M.step(before, after, most)
    local added, removed = M.diff(before, after)
    if #before == 0 or #added <= most then return after, true end
    local late, stays, list = {}, {}, {}
    for i = most + 1, #added do late[added[i]] = true end
    for i = most + 1, #removed do stays[removed[i]] = true end
    for _, member in ipairs(after) do
        if not late[member.address] then list[#list + 1] = member end
    end
    for _, member in ipairs(before) do
        if stays[member.address] then list[#list + 1] = member end
    end
    return list, false
end

return M
