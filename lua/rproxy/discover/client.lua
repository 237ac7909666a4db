-- SPDX-License-Identifier: MIT
--
-- client: what providers that ask over HTTP share: JSON answers, streams of JSON lines, secrets.
--
-- Failures are nil and a text that may be logged: no secret is ever in it.

local fs = require("rproxy.fs")
local http = require("rproxy.http")
local json = require("rproxy.json")
local service = require("rproxy.service")
local task = require("rproxy.task")

local M = {}

local BODY_MOST = 16 * 2 ^ 20  -- bytes of one answer
local LINE_MOST = 4 * 2 ^ 20   -- ... and of one line of a stream
local SECRET_MOST = 64 * 1024  -- bytes of a file with a token
local SECRET_LEAST, SECRETS_MOST = 4, 8 -- bytes of one; how many a client knows: old ones go
local SAID_MOST = 160          -- bytes of an answer that a message repeats

local Client = {}
Client.__index = Client

--- The secret of a provider: `token`, or what is in `token_file` now.
--- yields: yes
--- @return string|nil token, string|nil why  nil alone: there is none
function M.secret(s)
    if s.token then return s.token end
    if not s.token_file then return nil end
    local text, code, detail = fs.read(s.token_file, { max = SECRET_MOST })
    if not text then return nil, ("token_file: %s: %s"):format(code, detail) end
    text = text:match("^%s*(.-)%s*$")
    if text == "" or text:find("[%c%s]") then return nil, "token_file: no token in it" end
    return text
end

--- What a server said, as it may be logged: printable, short, without the secrets that were sent.
function Client:clean(text)
    for _, secret in ipairs(self.secrets) do
        local from, to = text:find(secret, 1, true)
        while from do
            text = text:sub(1, from - 1) .. "(secret)" .. text:sub(to + 1)
            from, to = text:find(secret, from, true)
        end
    end
    text = text:gsub("[%c\127-\255]+", " ")
    return #text > SAID_MOST and text:sub(1, SAID_MOST - 3) .. "..." or text
end

--- @param s table  settings: timeout, tls; @param base string  URL; @param opt table|nil  unix
function M.new(s, base, opt)
    return setmetatable({ secrets = {}, timeout = s.timeout, headers = {},
        http = http.client { base = base, timeout = s.timeout, tls = s.tls,
            unix = opt and opt.unix, max_body = BODY_MOST,
            headers = { ["user-agent"] = "rproxy-discovery" } } }, Client)
end

--- A header of every request from now on.
--- @param secret string|nil  what of it is a secret
function Client:set_header(name, value, secret)
    self.headers[name] = value
    if secret then self:hide(secret) end
end

--- No message shows this from now on.
function Client:hide(secret)
    local list = self.secrets
    for _, known in ipairs(list) do
        if known == secret then return end
    end
    if #secret >= SECRET_LEAST then table.insert(list, 1, secret) end
    list[SECRETS_MOST + 1] = nil
end

--- What a failed request says.
local function failure(self, err, detail)
    return nil, self:clean(detail and ("%s: %s"):format(err, detail) or tostring(err))
end

-- opt: method, query, body (a value), timeout, headers
local function request(self, path, opt, stream)
    local headers = {}
    for name, value in pairs(self.headers) do headers[name] = value end
    for name, value in pairs(opt.headers or {}) do headers[name] = value end
    if opt.body ~= nil then headers["content-type"] = "application/json" end
    return self.http:request { method = opt.method or (opt.body ~= nil and "POST" or "GET"),
        url = path, query = opt.query, headers = headers, timeout = opt.timeout or self.timeout,
        body = opt.body ~= nil and assert(json.encode(opt.body)) or nil, stream = stream }
end

--- What an answer that is none says.
local function refusal(self, res)
    local text = res.body or ""
    if text == "" or self.is_silent then return nil, ("status %d"):format(res.status) end
    return nil, ("status %d: %s"):format(res.status, self:clean(text))
end

--- A JSON answer of status 200 (or `opt.also`).
--- yields: yes
--- @return any value, table res  value nil for a status of opt.also
--- @return nil, string why, number|nil status
function Client:json(path, opt)
    opt = opt or {}
    local res, err, detail = request(self, path, opt)
    if not res then return failure(self, err, detail) end
    if opt.also == res.status then return nil, res end
    if res.status ~= 200 then
        local _, why = refusal(self, res)
        return nil, why, res.status
    end
    -- Numbers of 64 bits are texts then; a name that comes twice is somebody's mistake, not ours.
    local value
    value, err = json.decode(res.body, { big = "string", duplicates = "last",
        invalid = "replace", max = BODY_MOST })
    if type(value) ~= "table" then
        return nil, "the answer is no JSON object or list"
            .. (type(err) == "string" and ": " .. self:clean(err) or "")
    end
    return value, res
end

-- ---------------------------------------------------------------- streams of lines

local Lines = {}
Lines.__index = Lines

--- A stream of JSON values, one a line.
--- yields: yes
--- @return table|nil lines, string|nil why, number|nil status
function Client:lines(path, opt)
    opt = opt or {}
    local res, err, detail = request(self, path, opt, true)
    if not res then return failure(self, err, detail) end
    if res.status ~= 200 then
        local status = res.status
        local piece = res:read()
        res:close()
        res.body = piece
        local _, why = refusal(self, res)
        return nil, why, status
    end
    return setmetatable({ client = self, res = res, rest = "", pieces = {}, bytes = 0 }, Lines)
end

-- The next line that is there already; nil: none is whole.
local function take_line(self)
    while true do
        local line, to = self.rest:match("^([^\n]*)\n()", self.at or 1)
        if not line then return nil end
        self.at = to
        if line:find("%S") then return line end
    end
end

--- The next value; nil and what it is: "timeout": none came in so many seconds, and the stream has
--- ended then, too; "closed": the server ended it; else what is wrong.
--- yields: yes
function Lines:read(seconds)
    local ends = service.now() + seconds
    while true do
        local line = take_line(self)
        if line then
            local value, err = json.decode(line, { big = "string", duplicates = "last",
                invalid = "replace", max = LINE_MOST })
            if type(value) == "table" then return value end
            self:close()
            return nil, "the stream has a line that is no JSON object"
                .. (err and ": " .. self.client:clean(err) or "")
        end
        self.rest, self.at = self.rest:sub(self.at or 1), 1
        local left = ends - service.now()
        if left <= 0 then
            self:close()
            return nil, "timeout"
        end
        local ok, why = self:fill(left)
        if not ok then return nil, why end
    end
end

function Lines:is_cut(pieces)
    for _, piece in ipairs(pieces) do
        if piece:find("%S") then return true end
    end
    return false
end

-- Read on until there is the end of a line.
function Lines:fill(seconds)
    local pieces, bytes = { self.rest }, #self.rest
    local ends = service.now() + seconds
    repeat
        self.res.timeout = math.max(ends - service.now(), 0.001)
        local piece, err, detail = self.res:read()
        if err == "timeout" then return nil, "timeout" end
        if err then return failure(self.client, err, detail) end
        if not piece and self:is_cut(pieces) then return nil, "the stream ends in a line" end
        if not piece then return nil, "closed" end
        bytes = bytes + #piece
        if bytes > LINE_MOST then
            self:close()
            return nil, "a line of the stream is too long"
        end
        pieces[#pieces + 1] = piece
    until piece:find("\n", 1, true)
    self.rest = table.concat(pieces)
    return true
end

--- Drop what is there already: it says no more than the line that was read.
function Lines:skip()
    repeat until not take_line(self)
end

function Lines:close()
    self.res:close()
end

-- ---------------------------------------------------------------- pace

--- A function (seconds) that returns no sooner than so long after its last call: what keeps a
--- server that answers at once, again and again, from being asked without end.
function M.pace()
    local last
    return function(seconds)
        local left = last and last + seconds - service.now() or 0
        if left > 0 then task.sleep(left) end
        last = service.now()
    end
end

--- Did a stream end as streams do? What Lines:read says.
function M.is_end(why)
    return why == "timeout" or why == "closed"
end

--- Seconds with up to a tenth more or less, so that many instances do not ask at the same moment.
function M.about(seconds)
    return seconds * (0.9 + 0.2 * math.random())
end

return M
