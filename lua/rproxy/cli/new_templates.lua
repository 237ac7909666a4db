-- SPDX-License-Identifier: MIT
--
-- new_templates: the texts of `rproxy new`. $NAME and the like are filled in.

local M = {}

M.PLUGIN = [=[
-- $NAME: what it does, in one sentence.

local rp = require("rproxy")

local M = rp.plugin {
    name = "$NAME",
    version = "0.1.0",
    stage = "transform", -- auth, limit and waf refuse when a hook fails; see docs/guide/plugins.md
    doc = "What it does, in one sentence.",
    schema = {
        header = { "header", default = "x-$NAME", doc = "Response header that is set." },
        value = { "string", required = true, doc = "What it says." },
        refuse = { "string", doc = "Requests whose user agent has this in it are answered 403." },
    },
}

-- Called once for each `$IDENT { ... }` of a site, when it is loaded; conf is checked already. What
-- is made here is there for all requests.
function M.setup(conf)
    local header, agent = rp.header(conf.header), rp.header("user-agent")

    return {
        -- Before the request goes on: what is returned here ends it.
        access = function(req)
            if not conf.refuse then return nil end
            local text = req:get(agent)
            if text and text:find(conf.refuse, 1, true) then
                return req:exit(403, "not for you\n")
            end
            return nil
        end,

        -- Before the response goes to the client.
        header_filter = function(_, res)
            res:set(header, conf.value)
        end,
    }
end

return M
]=]

M.README = [=[
# $NAME

What it does, in one sentence.

```lua
local $IDENT = require("$MODULE")

return rp.site {
    use = { $IDENT { value = "hello" } },
    ...
}
```

| setting | type | default | what |
| --- | --- | --- | --- |
| `header` | header name | `"x-$NAME"` | Response header that is set. |
| `value` | string | required | What it says. |
| `refuse` | string | | Requests whose user agent has this in it are answered 403. |

Its spec is run by `rproxy test $FOLDER`.
]=]

M.SPEC = [=[
-- Run by: rproxy test $FOLDER

local t = require("rproxy.test")

describe("$NAME", function()
    local $IDENT = require("$MODULE")

    it("sets the header on every response", function()
        local site = t.site { use = { $IDENT { value = "hello" } } }
        local res = site:get("/")
        assert.equal(200, res.status)
        assert.equal("hello", res.headers["x-$NAME"])
        assert.no_aborts(site)
    end)

    it("refuses the user agents it is told to", function()
        local site = t.site { use = { $IDENT { value = "hello", refuse = "bot" } } }
        assert.equal(403, site:get("/", { headers = { ["user-agent"] = "a bot" } }).status)
        assert.equal(200, site:get("/", { headers = { ["user-agent"] = "a browser" } }).status)
    end)

    it("wants a value", function()
        assert.has_error(function() t.site { use = { $IDENT {} } } end)
    end)
end)
]=]

M.NEXT = [=[

Run its spec:      rproxy test $FOLDER
Put into the site: local $IDENT = require("$MODULE")
                   ... use = { $IDENT { value = "hello" } } ...
Look for mistakes: rproxy lint -p site.lua
]=]

M.SITE = [=[
-- What this site does, in one sentence.
--
--   rproxy -t -p site.lua       check it
--   rproxy -p site.lua          serve it; Ctrl-C ends
--   rproxy lint -p site.lua     look for mistakes
--   rproxy types                types for the editor

local rp = require("rproxy")

return rp.site {
    workers = "auto", -- one per core

    listeners = {
        rp.listen { "127.0.0.1:8080" },
        -- rp.listen { "0.0.0.0:443", tls = true },
    },
    -- tls = { certs = { "/etc/rproxy/certs/*.pem" } },

    log = {
        error = { to = "stderr", level = "info" },
        access = { to = "stdout", format = "combined" },
    },

    upstreams = {
        app = rp.upstream { peers = { "127.0.0.1:3000" } },
    },

    use = {
        "request-id",
    },

    hosts = {
        rp.host {
            default = true, -- or names: rp.host { "example.com", "*.example.com", ... }
            routes = {
                rp.route { "GET /health", respond = { 200, "ok\n" } },
                rp.route { "/*", upstream = "app", meta = { public = true } },
            },
        },
    },
}
]=]

return M
