-- SPDX-License-Identifier: MIT
--
-- basic-auth: names and passwords (RFC 7617) from a file as htpasswd writes it. Hashes are slow on
-- purpose: they are compared on a thread of the pool, and what was right is remembered for a while
-- (its HMAC under a key of this worker, not the password).

local rp = require("rproxy")

local function has_no_quotes(value)
    return not value:find('[%c"\\]') or nil, "a text without quotes and control bytes"
end

local M = rp.plugin {
    name = "basic-auth",
    version = "0.1.0",
    stage = "auth",
    doc = "Let requests through that carry a name and a password (RFC 7617).",
    schema = {
        file = { "path", required = true,
            doc = "File as htpasswd writes it: a line `name:hash` for each user. Read with the "
                .. "site." },
        realm = { "string", default = "rproxy", check = has_no_quotes,
            doc = "Realm that a refusal names." },
        remember = { "duration", default = 300, min = 0, max = 86400,
            doc = "How long a password that was right is not compared again; 0: always compare." },
        remember_most = { "integer", default = 1000, min = 1, max = 1e6,
            doc = "Passwords that are remembered, per worker." },
        at_once = { "integer", default = 8, min = 1, max = 64,
            doc = "Comparisons at the same time, per worker; more are answered 503." },
        forward = { "boolean", default = false, doc = "Send the name and password upstream, too." },
    },
}

local AUTHORIZATION = rp.header("authorization")
local LINES_MOST, PASSWORD_MOST = 100000, 512

local function is_hash(text)
    return text:find("^%$[%w-]+%$") or text:find("^{SHA}")
end

local function read_users(path)
    local text, err = rp.file(path)
    if not text then error(("%s: %s"):format(path, err), 0) end
    local users, n, count = {}, 0, 0
    for line in (text .. "\n"):gmatch("(.-)\r?\n") do
        n = n + 1
        if n > LINES_MOST then error(("%s: more than %d lines"):format(path, LINES_MOST), 0) end
        if line ~= "" and line:sub(1, 1) ~= "#" then
            local name, hash = line:match("^([^:]+):([^:]+)")
            if not name then error(("%s:%d: expected name:hash"):format(path, n), 0) end
            if not is_hash(hash) then
                error(("%s:%d: not a hash that is known; make one with htpasswd -B")
                    :format(path, n), 0)
            end
            if users[name] then error(("%s:%d: %s is there twice"):format(path, n, name), 0) end
            users[name], count = hash, count + 1
        end
    end
    return users, count
end

-- RFC 7617 §2. nil: none, or not what this is.
local function credentials(req)
    local all = req:get_all(AUTHORIZATION)
    if #all ~= 1 then return nil end
    local text = all[1]:match("^[Bb][Aa][Ss][Ii][Cc] +([%w+/]+=*) *$")
    local pair = text and rp.unb64(text)
    if not pair or pair:find("%c") then return nil end
    return pair:match("^([^:]*):(.*)$")
end

function M.setup(conf)
    local users, count = read_users(conf.file)
    -- For names that are not there: a comparison that takes as long.
    local sample = select(2, next(users))
    if count == 0 then rp.log.warn("nobody can come in", { file = conf.file }) end
    local known, secret = rp.lru(conf.remember_most), rp.crypto.random(32)
    local challenge = { ["www-authenticate"] = ('Basic realm="%s", charset="UTF-8"')
        :format(conf.realm) }
    local running = 0

    local function compare(name, password)
        local hash = users[name]
        local mark = hash and rp.crypto.hmac("sha256", secret, name, "\0", hash, "\0", password)
        local entry = mark and known:get(name)
        if entry and entry.until_s > rp.now() and rp.crypto.equal(entry.mark, mark) then
            return true
        end
        if running >= conf.at_once then return nil, "busy" end
        running = running + 1
        local ran, right, err = pcall(rp.crypto.check_password, hash or sample or "$2b$04$",
            password)
        running = running - 1
        if not ran then error(right, 0) end
        right = right and hash ~= nil
        if right and conf.remember > 0 then
            known:set(name, { mark = mark, until_s = rp.now() + conf.remember })
        end
        return right, err
    end

    return {
        access = function(req)
            local name, password = credentials(req)
            if not name then
                return req:exit(401, "a name and a password are needed\n", challenge)
            end
            if #password > PASSWORD_MOST then return req:exit(401, nil, challenge) end
            local right, err = compare(name, password)
            if err == "busy" then return req:exit(503, nil, { ["retry-after"] = "1" }) end
            if not right then
                if err then rp.log.error("a hash cannot be compared", { file = conf.file }) end
                return req:exit(401, "name or password is wrong\n", challenge)
            end
            req.consumer = name
            if not conf.forward then req.up:del(AUTHORIZATION) end
        end,
    }
end

return M
