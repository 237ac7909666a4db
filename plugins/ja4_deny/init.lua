-- SPDX-License-Identifier: MIT
--
-- ja4-deny: refuse clients in the TLS handshake by the fingerprint (JA4) of their program.

local rp = require("rproxy")

local M = rp.plugin {
    name = "ja4-deny",
    version = "0.1.0",
    stage = "waf",
    doc = "Refuse clients in the TLS handshake by the fingerprint (JA4) of their program.",
    schema = {
        deny = { "list", of = "string", default = {},
            doc = "Fingerprints that are refused; a `*` at the end stands for any rest." },
        allow = { "list", of = "string", default = {},
            doc = "Fingerprints that are never refused, written in the same way." },
        action = { "enum", { "refuse", "mark" }, default = "refuse",
            doc = "mark: let them pass; requests find `req.conn.ctx.ja4_denied`, and the log a "
                .. "line." },
        header = { "header", doc = "Header that tells the fingerprint to upstreams; what the "
            .. "client put there is dropped. With it the plugin is listed in the site's use." },
    },
}

-- What may stand in a fingerprint, or at the beginning of one.
local SHAPE = "^[%w_]+%*?$"

-- exact: set of whole ones; prefixes: list of beginnings.
local function index(list, what)
    local exact, prefixes = {}, {}
    for _, item in ipairs(list) do
        if not item:find(SHAPE) then
            error(("%s: %q is no JA4 fingerprint"):format(what, item), 0)
        end
        if item:sub(-1) == "*" then prefixes[#prefixes + 1] = item:sub(1, -2)
        else exact[item] = true end
    end
    return function(ja4)
        if exact[ja4] then return true end
        for i = 1, #prefixes do
            if ja4:sub(1, #prefixes[i]) == prefixes[i] then return true end
        end
        return false
    end
end

function M.setup(conf)
    local is_denied, is_allowed = index(conf.deny, "deny"), index(conf.allow, "allow")
    local hooks = {}

    function hooks.tls_hello(conn)
        local ja4 = conn.ja4
        if not is_denied(ja4) or is_allowed(ja4) then return nil end
        if conf.action == "refuse" then return conn:refuse("ja4 " .. ja4) end
        conn.ctx.ja4_denied = true
        rp.log.info("denied fingerprint", { ja4 = ja4, client = conn.remote_ip, sni = conn.sni })
    end

    if conf.header then
        function hooks.access(req)
            req.up:set(conf.header, req.conn.ja4) -- nil removes: plain connections have none
        end
    end
    return hooks
end

return M
