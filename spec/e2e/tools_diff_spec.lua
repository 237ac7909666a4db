-- SPDX-License-Identifier: MIT
--
-- rproxy diff: what is different between two sites is told, and nothing else.

local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")

local function site(opt)
    return ([[local rp = require("rproxy")
local auth = rp.plugin { name = "key-auth", stage = "auth", version = "1",
    schema = { secret = { "string", default = "s3cret-one" }, realm = { "string", default = "a" } } }
function auth.setup() return { access = function(req) return req:exit(401) end } end
local tag = rp.plugin { name = "tag" }
function tag.setup() return { access = function() end, header_filter = function() end } end
%s
return rp.site {
    workers = 1, %s
    listeners = { rp.listen { %s } },
    upstreams = { api = rp.upstream { peers = { "127.0.0.1:2" }, %s } },
    shared = { z = rp.shm.store { size = "%s" } },
    use = { %s },
    hosts = { rp.host { "a.example", routes = { %s } } },
}
]]):format(opt.before or "", opt.more or "", opt.listen or '"127.0.0.1:1"', opt.up or "",
        opt.zone or "1m", opt.use or "auth {}, tag {}", opt.routes
        or 'rp.route { "GET /x", upstream = "api" }, rp.route { "/*", respond = { 200, "hi" } }')
end

describe("rproxy diff", function()
    local dir

    -- The text, and the exit status.
    local function diff(old, new, ...)
        posix.write_file(dir .. "/old.lua", site(old))
        posix.write_file(dir .. "/new.lua", site(new))
        local how, out, err = process.run { "diff", dir .. "/old.lua", dir .. "/new.lua", ... }
        return out .. err, how.exit
    end

    local function differs(old, new, ...)
        local text, status = diff(old, new)
        assert.equal(1, status, text)
        for _, words in ipairs { ... } do
            assert.is_truthy(text:find(words, 1, true), words .. "\nis not in\n" .. text)
        end
        return text
    end

    before_each(function() dir = proc.temp_dir() end)
    after_each(proc.cleanup)

    it("says when nothing is different, however it is written", function()
        local text, status = diff({}, { before = "\n\n-- a comment\n\n", more = "\n\n" })
        assert.equal("no differences\n", text)
        assert.equal(0, status)
        text, status = diff({}, {}, "--json")
        assert.equal("[]\n", text)
        assert.equal(0, status)
    end)

    it("tells of options, listeners, zones and upstreams", function()
        differs({}, { more = 'limits = { body = "2m" },', listen = '"127.0.0.1:3"', zone = "2m",
            up = "tries = 5," }, "limits.body: 8m -> 2m", "- 127.0.0.1:1", "+ 127.0.0.1:3",
            "~ z", "bytes: 1m -> 2m", "~ api", "tries: ")
    end)

    it("tells of routes that came, went and do something else", function()
        differs({}, { routes = [[rp.route { "GET /x", redirect = "/y" },
            rp.route { "GET /new", respond = { 201 } }]] }, "~ a.example GET /x",
            "action: upstream api -> redirect to /y", "- a.example /*: respond 200",
            "+ a.example GET /new: respond 201")
    end)

    it("tells which plugins a route loses and gains, and in which phases", function()
        local text = differs({}, { routes = [[
            rp.route { "GET /x", upstream = "api", skip = { "key-auth" } },
            rp.route { "/*", respond = { 200, "hi" }, use = { tag {} } }]] },
            "loses key-auth (access)", "gains tag (access, header_filter)")
        assert.is_nil(text:find("loses tag", 1, true))
    end)

    it("tells when the order of a chain is another one", function()
        differs({}, { use = "tag {}, auth {}" },
            "order of access: key-auth, tag -> tag, key-auth")
    end)

    it("tells of settings, and never a secret", function()
        local text = differs({}, { use = 'auth { secret = "s3cret-two", realm = "b" }, tag {}' },
            "~ key-auth (", "realm: a -> b", "secret: (secret) -> (secret)")
        assert.is_nil(text:find("s3cret"))
        text = diff({}, { use = 'auth { secret = "s3cret-two" }, tag {}' }, "--json")
        assert.is_nil(text:find("s3cret"))
    end)

    it("tells of what a plugin is granted", function()
        differs({ use = 'auth { grant = { net = { "a.example:1" } } }, tag {}' },
            { use = 'auth { grant = { net = { "b.example:1" } } }, tag {}' },
            "~ key-auth (", "grants", "a.example:1", "b.example:1")
    end)

    it("tells of the policy for failures", function()
        differs({}, { use = 'auth { on_error = "open" }, tag {}' }, "on_error: closed -> open")
    end)

    it("tells of hooks whose code is another one, not of those that moved", function()
        local use = "{ name = 'mine', access = function(req)\n        req.ctx.a = %d\n    end }"
        differs({ use = use:format(1) }, { use = use:format(2) }, "~ mine (", "hook access: ")
        local text = diff({ use = use:format(1) }, { before = "\n\n\n", use = use:format(1) })
        assert.equal("no differences\n", text)
    end)

    it("knows hooks without a name by their place in the chain", function()
        local use = "{ access = function(req)\n        req.ctx.a = %d\n    end }"
        local text = diff({ use = use:format(1) }, { before = "\n\n\n", use = use:format(1) })
        assert.equal("no differences\n", text)
        differs({ use = use:format(1) }, { use = use:format(2) }, "~ inline@new.lua:",
            "hook access: ")
        differs({ use = use:format(1) }, { use = "" }, "loses an inline hook (access)")
        local route = 'rp.route { "/*", content = function(req) return req:exit(%d) end }'
        differs({ routes = route:format(200) }, { routes = route:format(201) }, "hook content: ")
    end)

    it("tells of hosts", function()
        local old = 'rp.route { "/*", respond = { 200 } } } }, rp.host { "b.example", routes = { '
            .. 'rp.route { "/*", respond = { 200 } }'
        differs({ routes = old }, { routes = 'rp.route { "/*", respond = { 200 } }' },
            "- b.example, with 1 routes")
    end)

    it("writes JSON", function()
        local text, status = diff({}, { more = 'limits = { body = "2m" },' }, "--json")
        assert.equal(1, status)
        assert.equal('[{"details":[{"name":"limits.body","new":"2m","old":"8m"}],'
            .. '"kind":"changed","section":"options","what":"site"}]\n', text)
    end)

    it("ends with 2 when one of them is wrong", function()
        local text, status = diff({}, { more = "bogus = 1," })
        assert.equal(2, status)
        assert.match("new.lua:%d+: bogus", text)
    end)
end)
