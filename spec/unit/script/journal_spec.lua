-- SPDX-License-Identifier: MIT

local ffi = require("ffi")
local support = require("spec.unit.script.support")

local C = support.C
local site

local function serve(routes, opts)
    site = support.site(routes, opts)
    return site
end

-- Keep a journal of every request from now on.
local function note_all(on)
    C.rp_abi_journal_all(ffi.cast("struct rp_host_face *", site.conf.script), on)
end

-- What a hook writes down of req:trace(), as an answer.
local TELL = [[ local function tell(req, fn)
    local out = {}
    for i, e in ipairs(req:trace() or {}) do out[i] = fn(e) end
    return req:exit(200, table.concat(out, ","))
end ]]

describe("script/journal", function()
    after_each(function()
        if site then site:close() end
        site = nil
    end)

    it("is kept for nobody who did not ask, and leaves with its request", function()
        serve [[ rp.route { "/*", content = function(req)
            return req:exit(200, req:trace() and "kept" or "none") end } ]]
        assert.equal("none", site:get("/").body)
        note_all(true)
        assert.equal("kept", site:get("/").body)
        note_all(false)
        assert.equal("none", site:get("/").body) -- by the same slot
    end)

    it("has what hooks do in its order, with verdicts", function()
        serve([[ rp.route { "/*", use = {
            { name = "a", access = function(req) req.up:set("x-a", "1") req.up:del("x-b") end },
            { name = "b", rewrite = function(req) req.path = "/b" end },
        }, content = function(req) return tell(req, function(e)
            return e.instance .. ":" .. (e.verdict or e.kind) end) end } ]], { before = TELL })
        note_all(true)
        assert.equal("a:set,a:del,a:next,b:assign,b:next", site:get("/").body)
    end)

    it("keeps 1 KB of a value, and how long it was", function()
        serve([[ rp.route { "/*", use = { { access = function(req)
            req.up:set("x-a", ("v"):rep(3000)) end } },
            content = function(req)
                local e = req:trace()[1]
                return req:exit(200, #e.value .. " " .. e.bytes)
            end } ]], { before = TELL })
        note_all(true)
        assert.equal("259 3000", site:get("/").body) -- what is shown of it is shorter still
    end)

    it("is bounded, and its requests go on", function()
        serve([[ rp.route { "/*", use = { { access = function(req)
            for i = 1, 600 do req.up:set("x-a", tostring(i)) end end } },
            content = function(req) return req:exit(200, tostring(#req:trace())) end } ]])
        note_all(true)
        assert.equal("513", site:get("/").body) -- the last one is the verdict
    end)

    it("sums up what filters of bodies do", function()
        serve([[ rp.route { "/*", respond = { 200, "hello" }, use = { {
            body_filter = function(req, res, piece, last) return piece:upper() end,
            log = function(req, res)
                local n = 0
                for _, e in ipairs(req:trace()) do
                    if e.hook == "body_filter" then n = n + 1 end
                end
                count = n
            end } } },
            rp.route { "/n", content = function(req) return req:exit(200, tostring(count)) end } ]],
            { before = "local count" })
        note_all(true)
        assert.equal("HELLO", site:get("/").body)
        assert.equal("2", site:get("/n").body) -- what it made of the pieces, and its verdict
    end)

    it("tells waiting from computing, also of hooks that run beside each other", function()
        serve([[ rp.route { "/*", use = { { access = function(req)
            local a = rp.spawn(function() rp.sleep(0.03) end)
            rp.sleep(0.02)
            a:wait()
        end } }, content = function(req)
            local e = req:trace()[1]
            return req:exit(200, tostring(e.wait_us >= 15000 and e.cpu_us >= 0))
        end } ]])
        note_all(true)
        assert.equal("true", site:get("/").body)
    end)

    it("has those that raised or aborted, and the handlers after them", function()
        serve([[ rp.route { "/e", use = {
            { name = "a", on_error = "open", access = function() error("boom") end },
            { name = "b", access = function() end } }, content = function(req)
                return tell(req, function(e) return e.instance .. ":" .. e.verdict end) end },
            rp.route { "/a", respond = { 200 }, use = { { name = "c",
                access = function(req) req:abort(418) end,
                header_filter = function(req, res)
                    local e = req:trace()
                    res:set("x-last", e[#e].verdict .. e[#e].status)
                end } } } ]], { before = TELL })
        note_all(true)
        assert.equal("a:error,b:next", site:get("/e").body)
        local res = site:get("/a")
        assert.equal(418, res.status)
        assert.equal("answer418", res.headers["x-last"])
    end)

    it("of a shadow instance ends with its request, whoever is parked", function()
        serve([[ rp.route { "/*", respond = { 200, "ok" }, use = { { mode = "shadow",
            access = function(req) rp.sleep(3600) end } } } ]])
        local s = site:connect()
        s:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        site:until_true(function() return tonumber(site.proxy.stats.requests_active) == 1 end)
        s:close()
        site:until_true(function() return tonumber(site.proxy.stats.requests_active) == 0 end)
    end)
end)
