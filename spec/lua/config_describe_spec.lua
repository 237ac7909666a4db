-- SPDX-License-Identifier: MIT
local boot = require("rproxy.config.boot")
local config = require("spec.support.config")

-- The text without what stands behind "#", blanks squeezed.
local function describe_site(source)
    config.build(source)
    local text = boot.describe():gsub("%s+#[^\n]*", ""):gsub("(%S) +", "%1 ")
    return (text:gsub("\n" .. (" "):rep(7) .. " +", "\n" .. (" "):rep(7)))
end

describe("rproxy.config.describe", function()
    it("shows each option of the site with its value in force", function()
        local text = describe_site(config.minimal {
            site = 'workers = 2, limits = { body = "1m" },' })
        assert.matches("\n  workers 2\n", text)
        assert.matches("\n  limits.body 1m\n", text)
        assert.matches("\n  timeouts.keepalive 75s\n", text)
        assert.matches("\n  log.access off\n", text)
    end)

    it("shows listeners, upstreams and routes with what runs on them", function()
        local text = describe_site [[return rp.site {
            listeners = { rp.listen { "127.0.0.1:80" } },
            upstreams = { api = rp.upstream { peers = { "a:1 weight=2", "b:1 backup" } } },
            use = { { name = "outer", access = function() end, log = function() end } },
            hosts = { rp.host { "a.example", routes = {
                rp.route { "GET /x", upstream = "api", when = { header = { ["x-v"] = "2" } },
                    timeouts = { idle = "5s" }, headers = { request = { set = { a = "b" } } },
                    use = { { name = "inner", access = function() end, log = function() end } } },
                rp.route { "/y", redirect = { 301, "/x" }, skip = { "outer" } } } } } }]]
        local _, at = text:find("listeners\n", 1, true)
        assert.equal([[
  127.0.0.1:80
upstreams
  api
    balance round_robin
    peer a:1 weight 2
    peer b:1 weight 1 backup
    timeouts connect 5s, send 1m, first_byte 1m, idle 1m
    keepalive idle 1m, max 256, requests no limit
    tries 3, max_fails 1, fail_rest 10s
hosts
  a.example
    GET /x
      id a.example GET /x
      when header x-v is "2"
      upstream api
      body limit 8m
      timeouts idle 5s
      request header: set a: b
      access outer
       inner
      log inner
       outer
    /y
      id a.example /y
      redirect 301 to /x
      body limit 8m
    no route: respond 404
      access outer
      log outer
  any other name: respond 421
    access outer
    log outer
]], text:sub(at + 1))
    end)

    it("names the zones of shared memory", function()
        config.build(config.minimal { site = 'shared = { b = rp.shm.cache { size = "2m" }, '
            .. 'a = rp.shm.store { size = "64k" } },' })
        assert.matches("\nshared\n  a store 64k +# site.lua:%d\n  b cache 2m +# ", boot.describe())
    end)

    it("says where each thing is written", function()
        config.build(config.minimal())
        assert.matches("127.0.0.1:8080 +# site.lua:3\n", boot.describe())
        assert.matches("/%* +# site.lua:5\n", boot.describe())
    end)

    it("shows what the plugins of a route are and may do, and what is odd about them", function()
        local text = describe_site [[
            local M = rp.plugin { name = "guard", stage = "auth", schema = { api = "url" } }
            function M.setup() return { access = function() end } end
            local W = rp.plugin { name = "wall", stage = "waf" }
            function W.setup() return { access = function() end } end
            return rp.site { listeners = { rp.listen { "127.0.0.1:80" } },
                grants = { guard = { env = { "KEY" } } },
                hosts = { rp.host { default = true, routes = { rp.route { "/x", respond = { 200 }, use = {
                    M { api = "https://id.example/", on_error = "open",
                        grant = { fs = { read = { "/keys" } } } }, W {} } } } } } }]]
        assert.matches("plugin guard: stage auth, on_error open\n", text, 1, true)
        assert.matches("granted: net id.example:443, read /keys, env KEY\n", text, 1, true)
        assert.matches("plugin wall: stage waf, on_error closed\n", text, 1, true)
        assert.matches("warnings\n  guard reads what the client sent before wall", text, 1, true)
    end)
end)
