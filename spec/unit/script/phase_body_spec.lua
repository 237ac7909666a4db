-- SPDX-License-Identifier: MIT
--
-- phase_body: pieces of request bodies through Lua, and functions that make them. What must not happen
-- when a request ends in the middle: its piece, or its function, in the hands of the next one.

local support = require("spec.unit.script.support")

local site

-- The origin takes bodies with a length; the routes gather, so that they have one.
local function serve(use)
    local origin = support.origin()
    site = support.site(([[ rp.route { "/*", upstream = "o", buffer = { request = true },
        use = { %s } } ]]):format(use), { before = "local seen, stuck = {}, {}",
        more = ('upstreams = { o = rp.upstream { peers = { "127.0.0.1:%d" } } },'):format(
            origin.port) })
    site.origin = origin
    return origin
end

local function body_of(request)
    return request:match("\r\n\r\n(.*)$")
end

local function post(body, path)
    return site:request("POST", path or "/", nil, body)
end

-- A client that goes away while its hook is parked.
local function abandon(request)
    local sock = site:connect()
    sock:send(request)
    site:until_true(function() return site.proxy.live ~= nil and site.proxy.live.payload ~= nil end)
    site:turn(20)
    sock:close()
    site:until_true(function() return site.proxy.live == nil end)
end

describe("script/phase_body", function()
    after_each(function()
        if site then site:close() end
        site = nil
    end)

    it("hands each handler what the one before it made", function()
        local origin = serve [[
            { request_body = function(req, piece) return piece .. "1" end },
            { request_body = function(req, piece) end },
            { request_body = function(req, piece, last) return piece .. tostring(last) end } ]]
        assert.equal(200, post("a").status)
        assert.equal("a1true", body_of(origin.requests[1]))
    end)

    it("joins what came in several reads", function()
        local origin = serve [[ { request_body = function(req, piece) return #piece .. "," end } ]]
        assert.equal(200, post(("x"):rep(200000)).status)
        local sum = 0
        for n in body_of(origin.requests[1]):gmatch("%d+") do
            assert.is_true(tonumber(n) <= 65536)
            sum = sum + tonumber(n)
        end
        assert.equal(200000, sum)
    end)

    it("keeps a piece to its request", function()
        local origin = serve [[
            { request_body = function(req, piece) return piece .. "1" end },
            { request_body = function(req, piece)
                if req.path == "/stuck" then rp.sleep(60) end
            end } ]]
        abandon("POST /stuck HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nold")
        assert.equal(200, post("new").status)
        assert.equal("new1", body_of(origin.requests[1]))
    end)

    it("keeps a function to its request", function()
        local origin = serve [[
            { rewrite = function(req)
                if req.path == "/stuck" then req:set_body(function() rp.sleep(60) end) end
            end } ]]
        abandon("GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.equal(200, post("new").status)
        assert.equal("new", body_of(origin.requests[1]))
    end)

    it("lets long chains work, which are chains of groups", function()
        local origin = serve(([[ { request_body = function(req, piece) return piece .. "." end }, ]])
            :rep(90) .. [[ { request_body = function(req, piece)
                if piece:find("evil") then return req:exit(403, "no") end end } ]])
        assert.equal(200, post("a").status)
        assert.equal("a" .. ("."):rep(90), body_of(origin.requests[1]))
        assert.equal(403, post("evil").status)
    end)

    it("counts failures of hooks and of functions, and names whose they are", function()
        serve [[
            { name = "giver", rewrite = function(req)
                if req.path == "/source" then req:set_body(function() error("oops") end) end
            end },
            { name = "taker", request_body = function(req) error("oops") end } ]]
        assert.equal(500, post("a", "/source").status)
        assert.equal(500, post("a").status)
        assert.equal(2, tonumber(site.proxy.stats.hook_errors))
    end)
end)
