-- SPDX-License-Identifier: MIT
--
-- A header_filter hook that asks for the whole response while the request body is still on its way
-- made the hooks of that body run inside of itself: LuaJIT was entered from code that it had compiled,
-- and crashed sometimes. They run when it waits. What such a hook asks for is told it in any case.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")

-- The answer comes with the request's head, before any of its body.
local function answer(...)
    return { early = true, { send = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" }, ... }
end

local ROUTES = {
    ["/whole"] = answer({ send = "4\r\nmade\r\n0\r\n\r\n" }),
    ["/broken"] = answer({ send = "4\r\nma" }, { wait = 0.2 }, { close = true }),
    ["/answered"] = answer({ send = "4\r\nmade\r\n" }, { wait = 30 }),
    ["*"] = { status = 200, body = "ok" },
}

local SITE = [[
    upstreams = { o = rp.upstream { peers = { "127.0.0.1:${origin}" } } },
    hosts = { rp.host { default = true, routes = {
        rp.route { "/other", upstream = "o" },
        rp.route { "/*", upstream = "o", use = { {
            request_body = function(req, piece)
                rp.sleep(0.02) -- its turn comes while the header_filter hook sleeps
                if req.path == "/answered" then return req:exit(403, "caught") end
                return piece:upper()
            end,
            header_filter = function(req, res)
                if res.status ~= 200 then return end
                rp.sleep(0.1)
                local body, err = res:body { max = req:arg("max") and 2 or 1000 }
                res:set("x-body", tostring(body) .. " " .. tostring(err))
            end,
        } } },
    } } },
]]

describe("a hook of the response that waits for what hooks of the request body hold up", function()
    local rp, origin

    setup(function() rp, origin = e2e.pair(ROUTES, { site = SITE }) end)
    teardown(function() e2e.stop(rp, origin) end)

    local function ask(path, rest)
        local w = http.begin_post(rp.port, path)
        w:send("3\r\nabc\r\n")
        if rest then w:send(rest) end
        local ok, res = pcall(http.read, w)
        w:close()
        return ok and res or nil
    end

    local function serves_on()
        assert.equal(200, http.get(rp.port, "/other").status)
        assert.is_nil(rp:stderr():find("worker died", 1, true))
    end

    it("gets the whole body", function()
        for _ = 1, 3 do
            assert.equal("made nil", ask("/whole", "0\r\n\r\n"):header("x-body"))
        end
        serves_on()
    end)

    it("hears that it is too large", function()
        local res = ask("/whole?max=2", "0\r\n\r\n")
        assert.equal("nil too large", res:header("x-body"))
        assert.equal("made", res.body)
        serves_on()
    end)

    it("hears that the upstream broke off", function()
        local res = ask("/broken", "0\r\n\r\n")
        assert.truthy(res == nil or res.status == 502 or res.status == 200, tostring(res and res.status))
        serves_on()
    end)

    it("goes when a hook of the request body answers", function()
        ask("/answered")
        serves_on()
    end)
end)
