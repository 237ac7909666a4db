-- SPDX-License-Identifier: MIT
--
-- request-id: one id per request, sent upstream and told to the client.

local rp = require("rproxy")

local M = rp.plugin {
    name = "request-id",
    version = "0.1.0",
    stage = "observe",
    doc = "Give every request an id that the upstream and the client see.",
    schema = {
        header = { "header", default = "x-request-id", doc = "Header that carries the id." },
        trust_client = { "boolean", default = false,
            doc = "Take over the id that the client sent, when it is 1 to 128 printable ASCII "
                .. "characters without spaces and quotes. Only for clients that are yours." },
        respond = { "boolean", default = true, doc = "Send the id to the client, too." },
    },
}

-- The id goes into logs of others: nothing that could end a line or a quoted string.
local SAFE = "^[%w%-_.:;,=+/@~#]+$"
local MOST = 128

local function is_safe(id)
    return id ~= nil and #id <= MOST and id:find(SAFE) ~= nil
end

function M.setup(conf)
    local header, trust_client = rp.header(conf.header), conf.trust_client

    local function id_of(req)
        local given = trust_client and req:get(header) or nil
        if is_safe(given) then return given end
        return req.id
    end

    local hooks = {}

    function hooks.access(req)
        local id = id_of(req)
        req.ctx.request_id = id
        req.up:set(header, id)
    end

    if conf.respond then
        function hooks.header_filter(req, res)
            res:set(header, req.ctx.request_id or id_of(req))
        end
    end
    return hooks
end

return M
