-- SPDX-License-Identifier: MIT
--
-- http: a strict reader of HTTP/1.1 responses over a wire, for assertions.
--
--   local http = require("spec.support.http")
--   local res = http.get(port, "/x", { ["X-A"] = "1" })         -- a connection of its own
--   local res = http.request(w, { method = "POST", target = "/x", body = "a" })  -- on a wire
--   w:send(...); local res = http.read(w, { method = "HEAD" })
--   res.status  res.reason  res.version  res.body  res.framing  res.chunks  res.trailers
--   res.interim
--   res:header("content-type")    first value or nil        res:all("set-cookie")    list
--   res.fields = { { "Content-Type", "text/plain" }, ... }  as they came
--
-- Over another protocol (RP_PROTOCOL, spec.support.protocol) the same is read from what the wire
-- translates: then versions and reasons say nothing, and chunks are frames.
--
-- It raises on anything a careful client would refuse: bare LF, blank before a colon, two lengths,
-- length with chunked, a malformed chunk, an end in the middle (RFC 9112 §2.2, §5.1, §6.1, §7.1).

local wire = require("spec.support.wire")

local M = {}
local Response = {}
Response.__index = Response

function Response:header(name)
    return self:all(name)[1]
end

function Response:all(name)
    local values = {}
    for _, field in ipairs(self.fields) do
        if field[1]:lower() == name:lower() then values[#values + 1] = field[2] end
    end
    return values
end

local function check(ok, what, text)
    if not ok then error(("response: %s: %q"):format(what, text or ""), 0) end
end

local function parse_fields(text)
    local fields = {}
    for line in text:gmatch("([^\r\n]+)\r\n") do
        local name, value = line:match("^([%w!#$%%&'*+%-.^_`|~]+):[ \t]*(.-)[ \t]*$")
        check(name, "malformed field line", line)
        check(not value:find("[%z\1-\8\10-\31\127]"), "control byte in a field value", line)
        fields[#fields + 1] = { name, value }
    end
    return fields
end

--- Parse a head (status line and fields, with the empty line).
function M.parse_head(text)
    check(not text:find("[^\r]\n") and not text:find("\r[^\n]"), "bare CR or LF", text)
    local version, status, reason, rest =
        text:match("^(HTTP/1%.[01]) ([1-5]%d%d) ([^\r\n]*)\r\n(.*)\r\n$")
    check(version, "malformed status line", text)
    return setmetatable({ version = version, status = tonumber(status), reason = reason,
        fields = parse_fields(rest), head = text }, Response)
end

local function read_chunked(w, res)
    local pieces = {}
    res.trailers = {}
    while true do
        local line = w:recv_until("\r\n")
        local digits = line:match("^(%x+)\r\n$") or line:match("^(%x+)[ \t]*;[^\r\n]*\r\n$")
        check(digits and #digits <= 8, "malformed chunk size", line)
        local n = tonumber(digits, 16)
        if n == 0 then break end
        pieces[#pieces + 1] = w:recv(n)
        check(w:recv(2) == "\r\n", "chunk does not end with CRLF", pieces[#pieces]:sub(-20))
    end
    local text = ""
    while true do
        local line = w:recv_until("\r\n")
        if line == "\r\n" then break end
        text = text .. line
    end
    res.trailers = parse_fields(text)
    res.chunks = pieces
    return table.concat(pieces)
end

local function read_body(w, res, method)
    local lengths, codings = res:all("content-length"), res:all("transfer-encoding")
    check(#lengths <= 1, "more than one Content-Length", res.head)
    check(#codings == 0 or #lengths == 0, "Content-Length beside Transfer-Encoding", res.head)
    if method == "HEAD" or res.status < 200 or res.status == 204 or res.status == 304 then
        check(res.status >= 200 and res.status ~= 204 or #codings + #lengths == 0,
            "framing field on a 1xx or 204", res.head)
        res.framing = "none"
        return ""
    end
    if #codings > 0 then
        check(codings[1]:lower() == "chunked", "transfer coding", codings[1])
        res.framing = "chunked"
        return read_chunked(w, res)
    end
    if #lengths == 1 then
        check(lengths[1]:find("^%d+$"), "malformed Content-Length", lengths[1])
        res.framing = "length"
        return w:recv(tonumber(lengths[1]))
    end
    res.framing = "close"
    local body, why = w:recv_all()
    check(why == "closed", "a body ended by close ended with " .. why, body:sub(1, 100))
    return body
end

--- Read one response. opt.method: of the request, "HEAD" has no body. opt.until_final = false
--- returns a 1xx as the response; otherwise those (101 excepted) are gathered in res.interim.
function M.read(w, opt)
    opt = opt or {}
    local interim = {}
    while true do
        local res = M.parse_head(w:recv_until("\r\n\r\n"))
        if res.status >= 200 or res.status == 101 or opt.until_final == false then
            res.interim = interim
            res.body = res.status == 101 and "" or read_body(w, res, opt.method)
            return res
        end
        interim[#interim + 1] = res
    end
end

--- The bytes of a request. fields: map, or list of { name, value } when order or repeats matter.
function M.format(req)
    local lines = { ("%s %s HTTP/1.1"):format(req.method or "GET", req.target or "/") }
    local names = {}
    local function add(name, value)
        names[name:lower()] = true
        lines[#lines + 1] = name .. ": " .. value
    end
    for name, value in pairs(req.fields or {}) do
        if type(name) == "number" then add(value[1], value[2]) else add(name, value) end
    end
    if not names.host and req.host ~= false then
        table.insert(lines, 2, "Host: " .. (req.host or "localhost"))
    end
    if req.body and not names["content-length"] and not names["transfer-encoding"] then
        lines[#lines + 1] = "Content-Length: " .. #req.body
    end
    return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (req.body or "")
end

--- Send a request on a wire and read its response.
function M.request(w, req)
    w:send(M.format(req))
    return M.read(w, req)
end

--- Send the head of a POST whose body follows in chunks, on a wire of its own.
function M.begin_post(port, target, fields)
    local w = wire.connect(port)
    local all = { ["Transfer-Encoding"] = "chunked" }
    for name, value in pairs(fields or {}) do all[name] = value end
    w:send(M.format { method = "POST", target = target, fields = all })
    return w
end

--- One request on a connection of its own; `req` as for format, or a target and fields.
function M.get(port, target, fields)
    local req = type(target) == "table" and target or { target = target, fields = fields }
    local w = wire.connect(port)
    local ok, res = pcall(M.request, w, req)
    w:close()
    if not ok then error(res, 2) end
    return res
end

return M
