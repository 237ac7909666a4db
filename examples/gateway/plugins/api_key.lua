-- SPDX-License-Identifier: MIT
--
-- api-key: let only clients with a known key in. A plugin of this site, found by require.

local rp = require("rproxy")

local M = rp.plugin {
    name = "api-key",
    version = "0.1.0",
    stage = "auth", -- when a hook of it raises, the request is refused
    doc = "Let only clients with a known key in.",
    schema = {
        header = { "header", default = "x-api-key", doc = "Where clients put their key." },
        keys = { "map<string>", required = true, doc = "Consumer by key." },
    },
}

function M.setup(conf)
    local header, keys = rp.header(conf.header), conf.keys
    local consumer_header = rp.header("x-consumer")

    return {
        access = function(req)
            local key = req:get(header)
            local consumer = key and keys[key]
            if not consumer then
                return req:exit(401, "a valid key is needed\n")
            end
            req.consumer = consumer -- for the access log and for plugins that follow
            req.up:set(consumer_header, consumer) -- replaces what a client may have sent
            req.up:del(header) -- the upstream need not know the key
        end,
    }
end

return M
