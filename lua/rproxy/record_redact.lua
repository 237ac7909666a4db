-- SPDX-License-Identifier: MIT
--
-- record_redact: takes secrets out of what is recorded, before it is written.
--
-- A secret is replaced by a mark, "redacted-" and 16 hex digits: a keyed digest of it. Equal
-- secrets have equal marks, so hooks that compare or look up by them behave the same when they are
-- replayed. With a key file (record.key) the marks are the same in all workers and each secret is
-- also kept, encrypted: who has the file can replay what verifies secrets, such as tokens. Without
-- one the digest's key is random, kept nowhere, and nothing leads back.
--
-- What is a secret: values of certain headers, cookies, query arguments and fields of bodies.
-- Wherever a secret of 8 bytes or more shows up in the rest of a record it is replaced there, too.

local crypto = require("rproxy.crypto")
local json = require("rproxy.json")
local text = require("rproxy.text")

local M = {}

local LEAST = 8 -- shorter ones are no secrets that one would find elsewhere, and match by chance
local MARK = "redacted-"
local SECRETS_MOST, MARKS_MOST = 200, 1000 -- of one request
local BODY_LOOK_MOST = 1024 * 1024

-- What is always redacted, whatever the site lists.
M.HEADERS = { "authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key",
    "x-auth-token", "x-csrf-token", "x-forwarded-client-cert", "authentication-info" }
M.ARGS = { "access_token", "refresh_token", "id_token", "token", "password", "passwd", "secret",
    "client_secret", "api_key", "apikey", "signature", "sig", "code", "jwt", "assertion" }

local function set_of(...)
    local set = {}
    for _, list in ipairs { ... } do
        for _, name in ipairs(list) do set[name:lower()] = true end
    end
    return set
end

-- raw random bytes: before a tape stands in between
local random = crypto.random

--- @param conf table  record.redact: headers, cookies (true or a list), args
--- @param key string|nil  bytes of the key file
--- @return table redactor
function M.new(conf, key)
    local made = { headers = set_of(M.HEADERS, conf.headers or {}),
        args = set_of(M.ARGS, conf.args or {}),
        cookies = conf.cookies ~= true and conf.cookies and set_of(conf.cookies) or nil }
    if key then
        made.mark_key = crypto.hmac("sha256", key, "mark")
        made.seal = M.seal_of(key)
    else
        made.mark_key = random(32)
    end
    return made
end

--- Encryption by the bytes of a key file.
function M.seal_of(key)
    return crypto.aead("aes-256-gcm", crypto.hmac("sha256", key, "seal"))
end

-- ---------------------------------------------------------------- one request

local Secrets = {}
Secrets.__index = Secrets

--- The secrets of one request, none so far.
function M.secrets(redactor)
    local self = setmetatable({ redactor = redactor, list = {}, marks = {}, marks_n = 0 },
        Secrets)
    self.scrub = function(s) return self:clean(s) end
    return self
end

local function longest_first(a, b) return #a.raw > #b.raw end

-- Longest first: one that holds another goes before it.
local function enlist(list, secret)
    local at = #list + 1
    while at > 1 and #list[at - 1].raw < #secret.raw do at = at - 1 end
    table.insert(list, at, secret)
end

--- The mark of a secret. written: how it stands in the text, where that differs (percent escapes).
function Secrets:mark(raw, written)
    local mark = self.marks[raw]
    if not mark then
        mark = MARK .. text.hex(crypto.hmac("sha256", self.redactor.mark_key, raw):sub(1, 8))
        if self.marks_n >= MARKS_MOST then return mark end
        self.marks[raw], self.marks_n = mark, self.marks_n + 1
        local is_ours = MARK:find(raw, 1, true) -- would be found in the marks of others
        if #raw >= LEAST and #self.list < SECRETS_MOST and not is_ours then
            enlist(self.list, { raw = raw, mark = mark })
        end
    end
    if written and written ~= raw and #written >= LEAST and not self.marks[written]
        and #self.list < 2 * SECRETS_MOST then
        self.marks[written] = mark
        enlist(self.list, { raw = written, mark = mark, also = true })
    end
    return mark
end

local function replace(s, raw, with)
    local at = s:find(raw, 1, true)
    if not at then return s end
    local out, from = {}, 1
    while at do
        out[#out + 1] = s:sub(from, at - 1)
        out[#out + 1] = with
        from = at + #raw
        at = s:find(raw, from, true)
    end
    out[#out + 1] = s:sub(from)
    return table.concat(out)
end

--- A text without the secrets that are known so far.
function Secrets:clean(s)
    if #s < LEAST then return s end
    for _, secret in ipairs(self.list) do s = replace(s, secret.raw, secret.mark) end
    return s
end

-- "a.b.c" keeps its dots, so that patterns of tokens still match.
function Secrets:token(value)
    local parts = {}
    for part in (value .. "."):gmatch("([^.]*)%.") do
        if #part < LEAST then return self:mark(value) end
        parts[#parts + 1] = part
    end
    for i, part in ipairs(parts) do parts[i] = self:mark(part) end
    return table.concat(parts, ".")
end

function Secrets:cookies(line)
    local named = self.redactor.cookies
    return (line:gsub("([^=;%s]+)(%s*=%s*)([^;]*)", function(name, between, value)
        local bare = value:match('^"(.*)"%s*$') or value:gsub("%s+$", "")
        local secret = named and named[name:lower()] or (not named and #bare >= LEAST)
        if not secret or bare == "" then return nil end
        return name .. between .. self:token(bare)
    end))
end

function Secrets:set_cookie(line)
    local pair, rest = line:match("^([^;]*)(.*)$")
    return self:cookies(pair) .. rest
end

local SCHEMES = { authorization = true, ["proxy-authorization"] = true }

--- The value of a header, as it may be written.
function Secrets:header(name, value)
    name = name:lower()
    if not self.redactor.headers[name] then return self:clean(self:urls(value)) end
    if name == "cookie" then return self:clean(self:cookies(value)) end
    if name == "set-cookie" then return self:clean(self:set_cookie(value)) end
    if value == "" then return value end
    local scheme, rest = value:match("^(%S+)(%s+.+)$")
    if SCHEMES[name] and scheme then
        local blank, token = rest:match("^(%s+)(.-)%s*$")
        return scheme .. blank .. self:token(token)
    end
    return self:token(value)
end

--- The value of a query argument or a field.
function Secrets:argument(name, value)
    if self.redactor.args[name:lower()] and value ~= "" then return self:mark(value) end
    return value
end

local function argument(self, name, value)
    local plain = text.uri.unescape((name:gsub("%+", " "))) or name
    if not self.redactor.args[plain:lower()] then return nil end
    local raw = text.uri.unescape((value:gsub("%+", " "))) or value
    return name .. "=" .. self:mark(raw, value)
end

--- A query, or a body that is a form.
function Secrets:form(s)
    return (s:gsub("([^&=;]+)=([^&;]+)", function(name, value)
        return argument(self, name, value)
    end))
end

--- A text with URLs in it (Referer, Location, Link): their queries and fragments.
function Secrets:urls(s)
    if not s:find("[?#].*=") then return s end
    return (s:gsub("[?#][^%s\"<>]+", function(part)
        return part:gsub("([?#&;])([^?#&;=]+)=([^?#&;]+)", function(before, name, value)
            local made = argument(self, name, value)
            return made and before .. made
        end)
    end))
end

-- Is a field of JSON a secret? So is all below one that is.
local function is_secret(self, key, within)
    return within or (type(key) == "string" and self.redactor.args[key:lower()]) or false
end

-- Fields of a decoded JSON text by name; true: one of them has a value that stands in the text
-- otherwise than as itself, or is too short to be looked for.
local function walk_json(self, value, source, within)
    local odd = false
    for key, item in pairs(value) do
        local kind, hit = type(item), is_secret(self, key, within)
        if kind == "table" then
            odd = walk_json(self, item, source, hit) or odd
        elseif hit and kind == "string" and item ~= "" then
            if #item < LEAST or #self.list >= SECRETS_MOST or not source:find(item, 1, true) then
                odd = true
            end
            self:mark(item)
        elseif hit and kind == "number" then
            odd = true
        end
    end
    return odd
end

local function redact_fields(self, value, within)
    for key, item in pairs(value) do
        local kind, hit = type(item), is_secret(self, key, within)
        if kind == "table" then
            redact_fields(self, item, hit)
        elseif hit and (kind == "number" or (kind == "string" and item ~= "")) then
            value[key] = self:mark(tostring(item))
        end
    end
end

-- Where the value of a field that begins at `at` ends, and what of it is the secret: first, last.
local function value_at(s, at)
    local ch = s:sub(at, at)
    if ch == "{" or ch == "[" then return at, #s end -- where it ends nobody can tell
    if ch ~= '"' then return at, (s:find("[,%]}%s]", at) or #s + 1) - 1 end
    local i = at + 1
    while true do
        local stop = s:find('["\\]', i)
        if not stop then return at + 1, #s end -- cut within it
        if s:byte(stop) == 34 then return at + 1, stop - 1 end
        i = stop + 2
    end
end

-- JSON that is cut or none: by the look of its fields.
local function redact_look(self, s)
    local out, from = {}, 1
    while true do
        local _, last, name = s:find('"([^"\\]+)"%s*:%s*', from)
        if not last then break end
        out[#out + 1] = s:sub(from, last)
        from = last + 1
        if self.redactor.args[name:lower()] then
            local first, stop = value_at(s, from)
            local raw = s:sub(first, stop)
            out[#out + 1] = s:sub(from, first - 1)
            if raw ~= "" then out[#out + 1] = self:mark(raw) end
            from = math.max(stop, first - 1) + 1
        end
    end
    out[#out + 1] = s:sub(from)
    return table.concat(out)
end

-- A form in parts: the body of each part that has the name of a secret.
local function redact_parts(self, s)
    local out, from = {}, 1
    while true do
        local named = s:find("name=", from, true)
        local _, head = s:find("\r\n\r\n", named or #s + 1, true)
        if not head then break end
        local stop, hit = s:find("\r\n--", head - 1, true) or #s + 1, false
        for name in s:sub(from, head):gmatch('name="?([^";\r\n]*)') do
            hit = hit or self.redactor.args[name:lower()]
        end
        out[#out + 1] = s:sub(from, head)
        local raw = s:sub(head + 1, stop - 1)
        out[#out + 1] = hit and raw ~= "" and self:mark(raw) or raw
        from = math.max(stop, head + 1)
    end
    out[#out + 1] = s:sub(from)
    return table.concat(out)
end

--- A body, as it may be written.
--- @param kind string|nil  its Content-Type
function Secrets:body(s, kind)
    kind = (kind or ""):lower()
    if kind:find("^application/x%-www%-form%-urlencoded") then s = self:form(s) end
    if kind:find("^multipart/form%-data") then return self:clean(redact_parts(self, s)) end
    local first = s:match("^[\239\187\191%s]*([{%[])")
    if not first or #s > BODY_LOOK_MOST then return self:clean(s) end
    local value = json.decode(s)
    if type(value) ~= "table" then return self:clean(redact_look(self, s)) end
    if walk_json(self, value, s, false) then
        redact_fields(self, value, false)
        s = json.encode(value, { sort = true, invalid = "replace" }) or ""
    end
    return self:clean(s)
end

--- What a record keeps of them: { { mark, sealed in base64 | nothing }, .. }
function Secrets:rows()
    local rows, seal = json.array(), self.redactor.seal
    for _, secret in ipairs(self.list) do
        if not secret.also then
            local sealed = seal and text.b64(seal:seal(secret.raw, secret.mark))
            rows[#rows + 1] = json.array { secret.mark, sealed }
        end
    end
    return rows
end

-- ---------------------------------------------------------------- and back

--- The secrets of a record, by the key file.
--- @param rows table  of a record
--- @param key string|nil  bytes of the key file
--- @return table|nil opened  put_in(s), put_in_escaped(s), take_out(s); nil: no secret is known
--- @return number left  marks that nothing is known of
function M.open(rows, key)
    local known, left = {}, 0
    local seal = key and M.seal_of(key)
    for _, row in ipairs(type(rows) == "table" and rows or {}) do
        local mark = type(row) == "table" and type(row[1]) == "string" and row[1]
        local sealed = mark and seal and type(row[2]) == "string" and text.unb64(row[2])
        local raw = sealed and seal:open(sealed, mark)
        if raw then known[#known + 1] = { raw = raw, mark = mark } else left = left + 1 end
    end
    if #known == 0 then return nil, left end
    table.sort(known, longest_first)
    local function each(from, to, escape)
        return function(s)
            if #s < LEAST then return s end
            for _, secret in ipairs(known) do
                local with = secret[to]
                s = replace(s, secret[from], escape and text.uri.escape(with) or with)
            end
            return s
        end
    end
    return { put_in = each("mark", "raw"), put_in_escaped = each("mark", "raw", true),
        take_out = each("raw", "mark") }, left
end

return M
