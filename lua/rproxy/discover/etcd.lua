-- SPDX-License-Identifier: MIT
--
-- etcd: members from the keys under a prefix of etcd v3, over its JSON gateway: all of them at one
-- revision, then what changes from that revision on. A member whose lease runs out is a key that is
-- removed, like any other.
--
-- A value is JSON ({ "address": "10.0.0.1:80", "weight": 2 }, { "host": .., "port": .. }) or a text
-- ("10.0.0.1:80 weight=2"); of an empty value the key's last part is the address.

local client = require("rproxy.discover.client")
local json = require("rproxy.json")
local member = require("rproxy.discover.member")
local service = require("rproxy.service")
local shape = require("rproxy.discover.shape")
local text = require("rproxy.text")

local M = {}

local str, num, tab = shape.str, shape.num, shape.tab

local PAGE = 1000               -- keys of one answer
local UNAUTHENTICATED = 16      -- of gRPC
local VALUE_MOST = 16 * 1024

-- ---------------------------------------------------------------- keys and values

--- The key behind all keys with that prefix; "\0": behind all keys there are.
function M.range_end(prefix)
    local last = #prefix
    while last > 0 and prefix:byte(last) == 255 do last = last - 1 end
    if last == 0 then return "\0" end
    return prefix:sub(1, last - 1) .. string.char(prefix:byte(last) + 1)
end

-- etcd's own naming (clientv3/naming) and others write names with capitals.
local function folded(value)
    local out = {}
    for name, item in pairs(value) do
        if type(name) == "string" then out[name:lower()] = item end
    end
    out.address = str(out.address) or str(out.addr)
    if type(out.meta) ~= "table" then out.meta = out.metadata end
    return out
end

--- One key's value as a provider gives members; false: it is no member.
function M.member(key, value)
    if value:find("^%s*{") then
        if #value > VALUE_MOST then return false end
        local decoded = json.decode(value, { duplicates = "last", depth = 8 })
        return type(decoded) == "table" and folded(decoded) or false
    end
    if value:find("%S") then return #value <= VALUE_MOST and value or false end
    return key:match("([^/]+)$") or false
end

-- All of them, in the order of keys; what says nothing is told once.
local function members(keys, say)
    local names, list = {}, {}
    for key in pairs(keys) do names[#names + 1] = key end
    table.sort(names)
    for _, key in ipairs(names) do
        local one = M.member(key, keys[key])
        if one then list[#list + 1] = one
        else say(("key %s: its value is no member"):format(member.show(key))) end
    end
    return list
end

-- ---------------------------------------------------------------- requests

local Link = {}
Link.__index = Link

-- Passwords are exchanged for a token, which etcd forgets after some minutes.
function Link:authenticate()
    local s = self.settings
    if not s.user then return true end
    local password, why = client.secret { token = s.password, token_file = s.password_file }
    if not password then return nil, why or "no password" end
    self.asks:set_header("authorization", nil)
    self.asks:hide(password)
    local answer
    answer, why = self.asks:json("/v3/auth/authenticate",
        { body = { name = s.user, password = password } })
    if not answer then return nil, why end
    local token = str(answer.token)
    if not token or token:find("[%c%s]") then return nil, "etcd gave no token" end
    self.asks:set_header("authorization", token, token)
    return true
end

local function is_token_over(why, status)
    return status == 401 or type(why) == "string" and why:find("invalid auth token", 1, true) ~= nil
end

-- As asks:json; with a new token when the old one is over.
function Link:ask(path, body)
    local answer, why, status = self.asks:json(path, { body = body })
    if answer or not self.settings.user or not is_token_over(why, status) then
        return answer, why
    end
    local ok
    ok, why = self:authenticate()
    if not ok then return nil, why end
    return self.asks:json(path, { body = body })
end

local function take(kv, prefix, keys)
    local key, value = text.unb64(str(tab(kv).key) or ""), text.unb64(str(tab(kv).value) or "")
    if not key or not value or key:sub(1, #prefix) ~= prefix then return nil end
    keys[key] = value
    return key
end

--- All keys and values at one revision.
function Link:range()
    local s, keys, n, revision, from = self.settings, {}, 0, nil, self.settings.prefix
    while true do
        local answer, why = self:ask("/v3/kv/range", { key = text.b64(from), limit = PAGE,
            range_end = text.b64(M.range_end(s.prefix)), revision = revision })
        if not answer then return nil, why end
        revision = revision or num(tab(answer.header).revision)
        if not revision then return nil, "an answer without a revision" end
        local last
        for _, kv in ipairs(tab(answer.kvs)) do
            local key = take(kv, s.prefix, keys)
            if not key then return nil, "an answer with a key that was not asked for" end
            last, n = key, n + 1
        end
        if answer.more ~= true then return keys, revision end
        if not last or n > member.MOST then
            return nil, ("more than %d keys"):format(member.MOST)
        end
        from = last .. "\0"
    end
end

function Link:watch(revision)
    local s = self.settings
    local body = { create_request = { key = text.b64(s.prefix), progress_notify = true,
        range_end = text.b64(M.range_end(s.prefix)), start_revision = ("%.0f"):format(revision) } }
    return self.asks:lines("/v3/watch", { body = body })
end

-- ---------------------------------------------------------------- watching

-- What one line of the stream does to the keys: "changed", "same", "over": begin anew; or nil and
-- why.
local function apply(line, prefix, keys)
    local failed = line.error ~= nil and tab(line.error)
    if failed then
        local code = num(failed.grpc_code) or num(failed.code)
        local why = str(failed.message) or str(line.error) or "an error"
        if code == UNAUTHENTICATED or is_token_over(why) then return "over" end
        return nil, why
    end
    local result = tab(line.result)
    if num(result.compact_revision) and num(result.compact_revision) > 0 then return "over" end
    if result.canceled == true then
        local why = str(result.cancel_reason) or "the watch was cancelled"
        if is_token_over(why) then return "over" end
        return nil, why
    end
    local changed = "same"
    for _, event in ipairs(tab(result.events)) do
        local kv = tab(tab(event).kv)
        if event.type == "DELETE" then
            local key = text.unb64(str(kv.key) or "")
            if key then keys[key] = nil end
            changed = "changed"
        elseif take(kv, prefix, keys) then changed = "changed" end
    end
    return changed
end

-- Until it is time to ask for everything again, or the stream ends: true; or nil and why.
function Link:follow(keys, revision, publish, seconds)
    local lines, why, status = self:watch(revision)
    if not lines then
        if self.settings.user and is_token_over(why, status) then return true end
        return nil, why
    end
    local ends = service.now() + seconds
    while true do
        local line
        line, why = lines:read(math.max(ends - service.now(), 0))
        if not line and client.is_end(why) then return true end -- the next range says more
        if not line then return nil, why end
        local what
        what, why = apply(line, self.settings.prefix, keys)
        if why then why = "the watch: " .. self.asks:clean(why) end
        if what == "changed" then publish(keys)
        elseif what == "same" then publish()
        else
            lines:close()
            return what, why
        end
    end
end

--- Runs for ever; nil and why when etcd does not answer as it should.
function M.start(s, publish, say, about)
    local at = s.endpoints[about.failures % #s.endpoints + 1]
    local link = setmetatable({ settings = s, asks = client.new(s, at) }, Link)
    local pace = client.pace()
    local ok, why = link:authenticate()
    if not ok then return nil, why end
    local function tell(keys)
        if not keys then return publish() end
        publish(function() return members(keys, say) end)
    end
    while true do
        pace(1)
        local keys, revision = link:range()
        if not keys then return nil, revision end
        tell(keys)
        ok, why = link:follow(keys, revision + 1, tell, client.about(s.resync))
        if not ok then return nil, why end
    end
end

return M
