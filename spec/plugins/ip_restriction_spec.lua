-- SPDX-License-Identifier: MIT

local posix = require("spec.support.posix")
local process = require("spec.support.process")
local support = require("spec.unit.script.support")

describe("plugin ip-restriction", function()
    local site

    after_each(function()
        if site then site:close() end
        site = nil
    end)

    local function status(opts, more)
        site = support.site(([[ rp.route { "/*", use = { require("plugins.ip_restriction") { %s } },
            respond = { 200, "in" } } ]]):format(opts), { more = more })
        local got = site:get("/", { ["x-forwarded-for"] = "203.0.113.9" }).status
        site:close()
        site = nil
        return got
    end

    it("lets in by networks, and keeps out", function()
        assert.equal(200, status 'allow = { "127.0.0.0/8" }')
        assert.equal(403, status 'allow = { "10.0.0.0/8" }')
        assert.equal(404, status 'deny = { "127.0.0.1" }, status = 404')
        assert.equal(403, status 'allow = { "127.0.0.0/8" }, deny = { "127.0.0.1/32" }')
        assert.equal(200, status 'deny = { "::/0" }')
        assert.equal(200, status 'deny = { "127.0.0.1" }, mode = "shadow"')
    end)

    it("looks at the client behind trusted proxies, or at the connection", function()
        local trust = 'trust = { "127.0.0.0/8" },'
        assert.equal(403, status('deny = { "203.0.113.0/24" }', trust))
        assert.equal(200, status('deny = { "203.0.113.0/24" }, by = "peer"', trust))
        assert.equal(403, status('deny = { "127.0.0.1" }, by = "peer"', trust))
    end)

    it("is refused when it says nothing, or no networks", function()
        for opts, words in pairs { [""] = "takes one of", ['allow = { "10.0.0.0/40" }'] = "no network",
            ['deny = { "localhost" }'] = "localhost is no network" } do
            local ok, err = pcall(status, opts)
            assert.is_false(ok)
            assert.matches(words, err)
        end
    end)

    it("takes sets from files, which may change", function()
        local path = os.tmpname()
        local function write(text)
            local file = assert(io.open(path .. ".new", "wb"))
            file:write(text)
            file:close()
            assert(os.rename(path .. ".new", path))
        end
        write("192.0.2.0/24\n")
        local rp = process.start { more = ([[
            shared = { blocked = rp.shm.set { size = "64k", type = "cidr", file = "%s", every = 0.1 } },
            use = { require("plugins.ip_restriction") { deny_set = "blocked" } },]]):format(path) }
        local get = require("spec.support.http").get
        assert.equal(200, get(rp.port, "/").status)
        write("127.0.0.0/8 us\n")
        assert.is_truthy(posix.poll(function() return get(rp.port, "/").status == 403 end))
        process.stop(rp)
        os.remove(path)
    end)
end)
