-- SPDX-License-Identifier: MIT
--
-- judge: reads the bytes that a proxy sent to its origin and says what in them two HTTP/1.1 readers
-- could take differently. Written apart from the program's parser, on purpose.
--
--   local got = judge.parse(raw)
--   got.whole   the first request is complete        got.rest   bytes behind it
--   got.hard    doubts about where the message ends or whom it is for (framing, lines, host)
--   got.soft    doubts about what a path or a name means: spellings that some readers fold

local M = {}

local TOKEN = "^[%w!#$%%&'*+%-.^_`|~]+$"

local function add(list, why)
    for _, w in ipairs(list) do
        if w == why then return end
    end
    list[#list + 1] = why
end

local function judge_line(got, line)
    local method, target, version = line:match("^(%S+) (%S+) HTTP/(1%.[01])$")
    if not method then
        add(got.hard, "request line")
        return
    end
    got.method, got.target, got.version = method, target, version
    if not method:find(TOKEN) then add(got.hard, "method") end
    if target:find("[%z\1-\32\127-\255#]") then add(got.hard, "bytes in the target") end
    local path = target:gsub("^%a+://[^/?]*", ""):match("^[^?]*")
    if path:find("\\", 1, true) or path:find("%%%X") or path:find("%%%x%X") or path:find("%%%x?$")
        or path:find("%%00") or path:find("%%[cC][01]") then
        add(got.soft, "path bytes")
    end
    local plain = path:gsub("%%2[eE]", ".")
    if ("/" .. plain .. "/"):find("/%.%.?/") or path:find("//", 1, true) or
        path:find("%%2[fF]") then
        add(got.soft, "path segments")
    end
end

local function judge_field(got, line)
    if line:find("^[ \t]") then
        add(got.hard, "folded line")
        return
    end
    local name, value = line:match("^([^:]*):[ \t]*(.-)[ \t]*$")
    if not name then
        add(got.hard, "line without colon")
        return
    end
    if not name:find(TOKEN) then add(got.hard, "field name") end
    if value:find("[%z\1-\8\10-\31\127]") then add(got.hard, "control byte") end
    local key = name:lower()
    if key:gsub("_", "-") == "transfer-encoding" and key:find("_", 1, true) then
        add(got.soft, "name like Transfer-Encoding")
    end
    got.fields[key] = got.fields[key] or {}
    table.insert(got.fields[key], value)
end

local function judge_framing(got)
    local lengths = got.fields["content-length"] or {}
    local codings = got.fields["transfer-encoding"] or {}
    if #lengths > 1 then add(got.hard, "several lengths") end
    if #codings > 1 then add(got.hard, "several codings") end
    if #lengths > 0 and #codings > 0 then add(got.hard, "length and coding") end
    if lengths[1] and not lengths[1]:find("^%d+$") then add(got.hard, "length") end
    if codings[1] and codings[1]:lower() ~= "chunked" then add(got.hard, "coding") end
    if codings[1] and got.version == "1.0" then add(got.hard, "coding in 1.0") end
    local hosts = got.fields.host or {}
    if #hosts ~= 1 then
        add(got.hard, #hosts == 0 and "no host" or "several hosts")
    elseif not hosts[1]:find("^[%w._~%-]+:?%d*$") and not hosts[1]:find("^%[[%x:.]+%]:?%d*$") then
        add(got.hard, "host")
    end
    local authority = got.target and got.target:match("^%a+://([^/?]*)")
    if authority and hosts[1] and authority:lower() ~= hosts[1]:lower() then
        add(got.hard, "two hosts")
    end
    got.framing = codings[1] and "chunked" or lengths[1] and "length" or "none"
    got.length = tonumber(lengths[1])
end

--- Chunks up to the empty line; returns content, rest, or nil when it is not whole.
local function dechunk(got, rest)
    local pieces = {}
    while true do
        local line, behind = rest:match("^([^\n]*)\n(.*)$")
        if not line then return nil end
        if line:sub(-1) ~= "\r" then add(got.hard, "chunk line") end
        local digits = line:match("^(%x+)\r?$") or line:match("^(%x+);[^%z\1-\8\10-\31\127]*\r?$")
        if not digits or #digits > 15 then
            add(got.hard, "chunk size")
            return nil
        end
        local n = tonumber(digits, 16)
        if n == 0 then
            rest = behind
            break
        end
        if #behind < n + 2 then return nil end
        if behind:sub(n + 1, n + 2) ~= "\r\n" then add(got.hard, "chunk end") end
        pieces[#pieces + 1] = behind:sub(1, n)
        rest = behind:sub(n + 3)
    end
    while true do
        local line, behind = rest:match("^([^\n]*)\n(.*)$")
        if not line then return nil end
        if line:sub(-1) ~= "\r" then add(got.hard, "trailer line") end
        rest = behind
        if line == "\r" or line == "" then return table.concat(pieces), rest end
        local name = line:match("^([^:]*):")
        if not name or not name:find(TOKEN) then add(got.hard, "trailer") end
        local key = (name or ""):lower()
        if key == "content-length" or key == "transfer-encoding" or key == "host" then
            add(got.hard, "trailer that frames or routes")
        end
    end
end

function M.parse(raw)
    local got = { hard = {}, soft = {}, fields = {}, whole = false, rest = "", body = "" }
    local _, head_end = raw:find("\r\n\r\n", 1, true)
    if not head_end then return got end
    local head = raw:sub(1, head_end - 2)
    if head:find("[^\r]\n") or head:find("\r[^\n]") then add(got.hard, "bare CR or LF") end
    local n = 0
    for line in head:gmatch("(.-)\r\n") do
        n = n + 1
        if n == 1 then judge_line(got, line) else judge_field(got, line) end
    end
    judge_framing(got)
    local rest = raw:sub(head_end + 1)
    if got.framing == "chunked" then
        got.body, got.rest = dechunk(got, rest)
        got.whole = got.body ~= nil
    elseif got.framing == "length" then
        got.whole = got.length ~= nil and #rest >= got.length
        got.body, got.rest = rest:sub(1, got.length or 0), rest:sub((got.length or 0) + 1)
    else
        got.whole, got.rest = true, rest
    end
    if got.whole and got.rest ~= "" then add(got.hard, "bytes behind the request") end
    return got
end

-- What proxies write themselves, in their own ways.
local OWN = { connection = true, via = true, ["x-forwarded-for"] = true, ["user-agent"] = true,
    ["x-forwarded-proto"] = true, ["x-forwarded-host"] = true, ["x-forwarded-port"] = true,
    ["content-length"] = true, ["transfer-encoding"] = true }

local function shorten(text)
    return #text > 60 and text:sub(1, 57) .. "..." or text
end

--- One line: what an origin reads.
function M.summary(got)
    local out, n, names = {}, 0, {}
    for name, values in pairs(got.fields) do
        n = n + #values
        if not OWN[name] then names[#names + 1] = name .. "=" .. table.concat(values, "|") end
    end
    table.sort(names)
    out[1] = ("%s %s"):format(got.method or "?", got.target or "?")
    out[2] = got.framing or "no head"
    if got.body and got.body ~= "" then out[3] = "body " .. #got.body end
    if n > 20 then names = { n > 90 and "many fields" or n .. " fields" } end
    for _, name in ipairs(names) do out[#out + 1] = name end
    for i, text in ipairs(out) do
        out[i] = shorten(text:gsub("[%c\127-\255]", function(ch)
            return ("\\x%02x"):format(ch:byte())
        end))
    end
    return table.concat(out, "; ")
end

return M
