-- SPDX-License-Identifier: MIT
--
-- sentinel: which server is the master of a name, asked anew for each connection.

local link = require("rproxy.redis.link")
local resp = require("rproxy.redis.resp")

local M = {}

local ASK_SECONDS = 1 -- one sentinel may take; then the next is asked

local function address_of(reply)
    if type(reply) ~= "table" or resp.is_failure(reply) then return nil end
    local host, port = reply[1], tonumber(reply[2])
    if type(host) ~= "string" or host == "" or #host > 255 then return nil end
    if not port or port < 1 or port > 65535 or port % 1 ~= 0 then return nil end
    return host, port
end

local function ask(sentinel, opts, question)
    local own, code, detail = link.own { host = sentinel.host, port = sentinel.port, tls = opts.tls,
        maker = opts.maker,
        username = opts.sentinel_username, password = opts.sentinel_password,
        protocol = opts.protocol, timeout = math.min(opts.timeout, ASK_SECONDS),
        max_reply = opts.max_reply }
    if not own then return nil, code, detail end
    local replies
    replies, code, detail = own:call(question, 1)
    own:close()
    if not replies then return nil, code, detail end
    if resp.is_failure(replies[1]) then return nil, replies[1].err, replies[1].detail end
    local host, port = address_of(replies[1])
    if not host then return nil, "connect", "the sentinel knows no such master" end
    return host, port
end

--- @param list table  { host =, port = }, .., asked in this order; who answered is asked first
---   next time
--- @return function locate  () -> host, port | nil, code, detail. yields: yes
function M.locator(list, master, opts)
    local question = assert(resp.command(3, { "SENTINEL", "GET-MASTER-ADDR-BY-NAME", master }))
    local order = { unpack(list) }
    return function()
        local code, detail = "connect", "no sentinel answers"
        for i, sentinel in ipairs({ unpack(order) }) do
            local host, port, why = ask(sentinel, opts, question)
            if host then
                table.insert(order, 1, table.remove(order, i))
                return host, port
            end
            code, detail = port, why
        end
        return nil, code == "timeout" and code or "connect", detail
    end
end

return M
