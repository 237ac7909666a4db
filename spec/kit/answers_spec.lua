-- SPDX-License-Identifier: MIT
--
-- Written answers and time: what is sent when, to the second.

local rp = require("rproxy")
local t = require("rproxy.test")

local function site(hook, more)
    local opts = more or {}
    opts.use = { { access = hook } }
    return t.site(opts)
end

describe("an answer that a hook writes", function()
    it("goes out while the hook waits", function()
        local s = site(function(req)
            local out = req:respond(200, { ["x-a"] = "1" })
            out:write("a")
            rp.sleep(10)
            out:write("b")
            return out:close { ["x-sum"] = "2" }
        end)
        local conn = s:connect()
        conn:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        conn:wait_for("a\r\n")
        assert.falsy(conn:receive():find("b\r\n0\r\n", 1, true))
        conn:close()
        local res = s:get("/")
        assert.equal("ab", res.body)
        assert.equal(10, math.floor(res.duration + 0.5))
    end)

    it("may be silent for timeouts.hook_wait, each time", function()
        local s = site(function(req)
            local out = req:respond(200)
            for i = 1, 5 do
                out:write(tostring(i))
                rp.sleep(59)
            end
            return out:close()
        end)
        assert.equal("12345", s:get("/").body)
    end)

    it("is broken off when it is silent for longer", function()
        local s = site(function(req)
            local out = req:respond(200)
            out:write("x")
            rp.sleep(61)
            out:write("y")
            return out:close()
        end)
        local res = s:get("/")
        assert.truthy(res.ended)
        assert.truthy(s:log():find("waited too long seconds=60", 1, true))
    end)

    it("ends what it waits for a moment before", function()
        t.hang("10.0.0.1:80")
        local s = site(function(req)
            local out = req:respond(200)
            out:write("x")
            local client = rp.http.client { base = "http://10.0.0.1", timeout = 1000 }
            local _, err = client:get("/")
            out:write(err)
            return out:close()
        end)
        assert.equal("xtimeout", s:get("/").body)
    end)
end)

describe("server-sent events", function()
    it("are kept alive by a comment after each 15 seconds of silence", function()
        local s = site(function(req)
            local es = req:events()
            es:send("a")
            rp.sleep(14)
            es:send("b")
            rp.sleep(50)
            es:send("c")
            return es:close()
        end)
        local res = s:get("/")
        assert.equal("data: a\n\ndata: b\n\n:\n\n:\n\n:\n\ndata: c\n\n", res.body)
    end)

    it("may be silent for long", function()
        local s = site(function(req)
            local es = req:events { keepalive = 600 }
            rp.sleep(3000)
            es:send("late")
            return es:close()
        end)
        assert.truthy(s:get("/").body:find("data: late\n\n", 1, true))
    end)

    it("have no end of silence where it is asked for", function()
        local s = site(function(req)
            local es = req:events { idle = 100, keepalive = 30 }
            es:send("a")
            rp.sleep(101)
            es:send("b")
            return es:close()
        end)
        local res = s:get("/")
        assert.truthy(res.ended)
        assert.falsy(res.body and res.body:find("data: b", 1, true))
    end)
end)
