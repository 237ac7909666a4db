-- SPDX-License-Identifier: MIT

local support = require("spec.unit.script.support")

local site

local function serve(routes, opts)
    site = support.site(routes, opts)
    return site
end

-- How many hooks have failed.
local function hook_errors()
    return tonumber(site.proxy.stats.hook_errors)
end

local function with_origin(response)
    local origin = support.origin(response)
    return origin, ('upstreams = { o = rp.upstream { peers = { "127.0.0.1:%d" } } },'):format(
        origin.port)
end

describe("script/phase", function()
    after_each(function()
        if site then site:close() end
        site = nil
    end)

    it("runs a hook on the request and sends its answer", function()
        serve [[ rp.route { "/*", content = function(req)
            return req:exit(201, req.method .. " " .. req.path, { ["x-made"] = "here" }) end } ]]
        local res = site:get("/a/b")
        assert.equal(201, res.status)
        assert.equal("GET /a/b", res.body)
        assert.equal("here", res.headers["x-made"])
    end)

    it("runs the hooks of a phase in list order and the response hooks in reverse", function()
        local origin, more = with_origin()
        serve([[ rp.route { "/*", upstream = "o", use = {
            { access = function(req) req.ctx.s = "a" end,
              header_filter = function(req, res) res:set("x-order", (req.ctx.s or "") .. "1") end },
            { access = function(req) req.ctx.s = req.ctx.s .. "b" end,
              header_filter = function(req, res) req.ctx.s = req.ctx.s .. "2" end } } } ]],
            { more = more })
        site.origin = origin
        assert.equal("ab21", site:get("/").headers["x-order"])
    end)

    it("stops at the hook that answers", function()
        serve [[ rp.route { "/*", respond = { 200, "end" }, use = {
            { access = function(req) return req:exit(401, "no") end },
            { access = function(req) return req:exit(500, "not reached") end } } } ]]
        local res = site:get("/")
        assert.equal(401, res.status)
        assert.equal("no", res.body)
    end)

    it("lets any hook wait", function()
        local origin, more = with_origin()
        serve([[ rp.route { "/*", upstream = "o", use = { {
            access = function(req) local t = rp.clock() rp.sleep(0.02)
                req.ctx.ns = rp.clock() - t end,
            rewrite = function() rp.sleep(0.001) end,
            header_filter = function(req, res) rp.sleep(0.001)
                res:set("x-waited", req.ctx.ns >= 1.5e7 and "yes" or "no") end,
            body_filter = function(req, res, chunk) rp.sleep(0.001) return chunk:upper() end,
            log = function(req, res) rp.sleep(0.001) end } } } ]], { more = more })
        site.origin = origin
        local res = site:get("/")
        assert.equal("yes", res.headers["x-waited"])
        assert.equal("OK", res.body)
        site:until_true(function() return tonumber(site.proxy.stats.requests_active) == 0 end)
        assert.equal(0, hook_errors())
    end)

    it("keeps many waiting requests apart", function()
        serve [[ rp.route { "/{n}", content = function(req)
            req.ctx.n = req.params.n
            rp.sleep(0.001 * tonumber(req.params.n))
            return req:exit(200, req.ctx.n .. req.params.n) end } ]]
        local socks, answers = {}, {}
        for i = 1, 20 do
            socks[i] = site:connect()
            socks[i]:send(("GET /%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"):format(
                21 - i))
            answers[i] = ""
        end
        site:until_true(function()
            local done = 0
            for i, s in ipairs(socks) do
                local data, err, part = s:receive("*a")
                answers[i] = answers[i] .. (data or part or "")
                if data or err == "closed" then done = done + 1 end
            end
            return done == 20
        end)
        for i, answer in ipairs(answers) do
            local n = tostring(21 - i)
            assert.equal(n .. n, answer:match("\r\n\r\n(.*)$"))
            socks[i]:close()
        end
    end)

    it("gives body_filter each piece and takes what it returns", function()
        serve [[ rp.route { "/*", respond = { 200, "hello world" }, use = {
            { body_filter = function(req, res, chunk, last)
                return last and chunk .. "!" or nil end },
            { body_filter = function(req, res, chunk)
                return (chunk:gsub("world", "there")) end } } } ]]
        assert.equal("hello there!", site:get("/").body)
    end)

    it("leaves a body alone when body_filter returns nothing, and drops it for an empty string",
        function()
            serve [[ rp.route { "/same", respond = { 200, "same" },
                    use = { { body_filter = function() end } } },
                rp.route { "/gone", respond = { 200, "gone" },
                    use = { { body_filter = function() return "" end } } } ]]
            assert.equal("same", site:get("/same").body)
            assert.equal("", site:get("/gone").body)
        end)

    describe("when a hook raises", function()
        it("answers 500 by default", function()
            serve [[ rp.route { "/*", respond = { 200, "x" }, use = {
                { access = function() error("boom") end } } } ]]
            assert.equal(500, site:get("/").status)
            assert.equal(1, hook_errors())
        end)

        it("refuses with 503 under closed", function()
            serve [[ rp.route { "/*", respond = { 200, "x" }, use = {
                { on_error = "closed", access = function() error("boom") end } } } ]]
            local res = site:get("/")
            assert.equal(503, res.status)
            assert.is_nil(res.body:find("x\n", 1, true))
        end)

        it("goes on with the hooks after it under open", function()
            serve [[ rp.route { "/*", respond = { 200, "x" }, use = {
                { access = function(req) req.ctx.s = "1" end },
                { on_error = "open", access = function() rp.sleep(0.001) error("boom") end },
                { on_error = "open", access = function() local x = nil; return x.y end },
                { access = function(req) return req:exit(200, req.ctx.s .. "4") end } } } ]]
            assert.equal("14", site:get("/").body)
            assert.equal(2, hook_errors())
        end)

        it("answers 500 in header_filter, and the upstream's response stays inside", function()
            serve [[ rp.route { "/*", respond = { 200, "secret" }, use = {
                { header_filter = function() error("boom") end } } } ]]
            local res = site:get("/")
            assert.equal(500, res.status)
            assert.is_nil(res.body:find("secret", 1, true))
        end)

        it("keeps what earlier body filters did when a later one fails open", function()
            serve [[ rp.route { "/*", respond = { 200, "secret" }, use = {
                { on_error = "open", body_filter = function() error("boom") end },
                { body_filter = function(req, res, chunk)
                    return (chunk:gsub("secret", "xxx")) end } } } ]]
            assert.equal("xxx", site:get("/").body)
        end)

        it("breaks the body off when body_filter fails", function()
            serve [[ rp.route { "/*", respond = { 200, "secret" }, use = {
                { body_filter = function() error("boom") end } } } ]]
            local res = site:get("/")
            assert.is_nil(res.raw:find("secret", 1, true))
            assert.is_nil(res.raw:find("\r\n0\r\n\r\n", 1, true))
        end)

        it("only logs in log hooks, and runs those after it", function()
            serve([[ rp.route { "/*", respond = { 200, "x" }, use = {
                { log = function() seen.n = seen.n + 1 end },
                { log = function() error("boom") end } } },
              rp.route { "/n", content = function(req)
                  return req:exit(200, tostring(seen.n)) end } ]],
                { before = "local seen = { n = 0 }" })
            assert.equal(200, site:get("/").status)
            site:until_true(function() return tonumber(site.proxy.stats.requests_active) == 0 end)
            assert.equal("1", site:get("/n").body)
            assert.equal(1, hook_errors())
        end)

        it("says so when a hook returns true and has not answered", function()
            serve [[ rp.route { "/*", respond = { 200, "x" }, use = {
                { access = function() return true end } } } ]]
            assert.equal(500, site:get("/").status)
            assert.equal(1, hook_errors())
        end)

        it("serves on", function()
            serve [[ rp.route { "/bad", content = function() error({}) end },
                rp.route { "/ok", respond = { 200, "ok" } } ]]
            for _ = 1, 3 do assert.equal(500, site:get("/bad").status) end
            assert.equal("ok", site:get("/ok").body)
        end)
    end)

    -- Until then each pass is measured, and takes the long way.
    it("sees what is special about a hook also when its chain has run many times", function()
        serve([[ rp.route { "/*", respond = { 200, "x" }, use = { {
            access = function(req)
                local how = req:arg("how")
                if how == "answer" then req:exit(202, "said") end
                if how == "stop" then return req:exit(203, "said") end
                if how == "true" then return true end
                if how == "raise" then error("boom") end
                if how == "wait" then rp.sleep(0.01) return req:exit(205, req:arg("how")) end
                if how == "child" then
                    local child = rp.spawn(function() rp.sleep(0.01) return "grown" end)
                    local _, grown = child:wait()
                    return req:exit(206, grown)
                end
            end,
            log = function(req)
                seen.n = seen.n + 1
                if req:arg("how") == "log" then rp.sleep(0.01) seen.slept = true end
            end } } },
          rp.route { "/n", content = function(req)
              return req:exit(200, seen.n .. tostring(seen.slept)) end } ]],
            { before = "local seen = { n = 0 }" })
        local ways = { answer = 202, stop = 203, ["true"] = 500, raise = 500, wait = 205,
            child = 206, log = 200, none = 200 }
        for _ = 1, 80 do assert.equal(200, site:get("/").status) end
        local n = 80
        for _ = 1, 3 do
            for how, status in pairs(ways) do
                assert.equal(status, site:get("/?how=" .. how).status, how)
                assert.equal(200, site:get("/").status)
                n = n + 2
            end
        end
        site:until_true(function() return tonumber(site.proxy.stats.requests_active) == 0 end)
        assert.equal(n .. "true", site:get("/n").body)
        assert.equal(6, hook_errors())
    end)

    -- ... and a hold that was taken without a wait is a tie, too.
    it("keeps what a hook holds until its request ends, however warm the chain is", function()
        serve([[ rp.route { "/n", content = function(req)
                return req:exit(200, ("%s %s"):format(seen.after, seen.given)) end },
            rp.route { "/*", respond = { 200, "x" }, use = {
                { access = function(req)
                      if req:arg("hold") then req.ctx.seat = seats:acquire() end
                  end,
                  log = function(req)
                      local seat = req.ctx.seat
                      if seat then seen.given = seat:release() end
                  end },
                { name = "raises", on_error = "open", header_filter = function(req)
                      if req:arg("raise") then error("boom") end end },
                { header_filter = function(req)
                      if req:arg("hold") then seen.after = seats:stats().taken end end } } } ]],
            { before = "local seen, seats = {}, rp.semaphore(2)" })
        for _ = 1, 80 do assert.equal(200, site:get("/").status) end
        for _, how in ipairs { "/?hold=1", "/?hold=1&raise=1" } do
            assert.equal(200, site:get(how).status)
            site:until_true(function() return tonumber(site.proxy.stats.requests_active) == 0 end)
            assert.equal("1 true", site:get("/n").body)
        end
    end)

    it("answers from deep inside by req:abort", function()
        serve [[ rp.route { "/*", content = function(req)
            local function deep(n) if n == 0 then req:abort(403, "deep") end deep(n - 1) end
            deep(5)
        end } ]]
        local res = site:get("/")
        assert.equal(403, res.status)
        assert.equal("deep", res.body)
        assert.equal(0, hook_errors())
    end)

    it("keeps a coroutine for so many requests, not for each that ever waited at once", function()
        local H = support.c.load { "script/host.h", "proxy/lifecycle.h", "proxy/hook.h" }
        serve([[ rp.route { "/*", content = function(req)
            local n = 0
            for _ in pairs(seen) do n = n + 1 end
            return req:exit(200, tostring(n)) end } ]], {
            before = "local seen = {}",
            more = "use = { { early = function() seen[coroutine.running()] = true end } }," })
        local hooks, live = site.conf.hooks, {}
        local function each(n) -- requests that are all there at once, and hooks that do not wait
            for i = 1, n do
                live[i] = H.rp_req_new(site.proxy)
                for _ = 1, 3 do assert.equal(0, hooks.run(live[i], H.RP_PHASE_EARLY)) end
            end
            for i = 1, n do
                hooks.forget(live[i])
                H.rp_req_free(live[i])
                H.rp_lifecycle_drop_conf(site.proxy, site.conf)
            end
        end
        each(1500)
        local n = tonumber(site:get("/").body)
        assert.is_true(n >= 1024 and n < 1100, tostring(n))
        each(1500)
        assert.equal(n, tonumber(site:get("/").body))
        assert.equal(0, hook_errors())
    end)

    it("ends a hook that waits too long", function()
        serve([[ rp.route { "/*", content = function(req) rp.sleep(30) end } ]],
            { more = "timeouts = { hook_wait = 0.05 }," })
        assert.equal(500, site:get("/").status)
    end)

    it("gives up a parked hook when the client goes", function()
        serve [[ rp.route { "/*", content = function(req) rp.sleep(30) end } ]]
        local sock = site:connect()
        sock:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        site:until_true(function() return tonumber(site.proxy.stats.requests_active) == 1 end)
        site:turn(5)
        sock:close()
        site:until_true(function() return tonumber(site.proxy.stats.requests_active) == 0 end)
    end)

    it("lets nobody touch a request that has ended", function()
        serve([[ rp.route { "/keep", content = function(req)
                kept.req, kept.up = req, req.up
                rp.detach(function() rp.sleep(0.01) kept.seen = select(2, pcall(function()
                    return req.path end)) end)
                return req:exit(200, "kept") end },
            rp.route { "/use", content = function(req)
                local _, a = pcall(function() return kept.req.path end)
                local _, b = pcall(function() return kept.up.path end)
                return req:exit(200, a .. "|" .. b .. "|" .. tostring(kept.seen)) end } ]],
            { before = "local kept = {}" })
        assert.equal("kept", site:get("/keep").body)
        site:turn(40)
        local a, b, seen = site:get("/use").body:match("^(.-)|(.-)|(.*)$")
        assert.matches("has ended", a)
        assert.matches("has ended", b)
        assert.matches("has ended", seen)
    end)

    it("starts each request of a slot with an empty ctx", function()
        serve [[ rp.route { "/*", content = function(req)
            local was = req.ctx.mark
            req.ctx.mark = "dirty"
            return req:exit(200, tostring(was)) end } ]]
        for _ = 1, 4 do assert.equal("nil", site:get("/").body) end
    end)

    it("runs a chain of a hundred hooks", function()
        serve([[ rp.route { "/*", respond = { 200, "x" }, use = hooks } ]], { before = [[
            local hooks = {}
            for i = 1, 100 do hooks[i] = { access = function(req)
                req.ctx.n = (req.ctx.n or 0) + 1
                if i == 77 then req.ctx.seen = req.ctx.n end
                if i == 100 then return req:exit(200, req.ctx.n .. " " .. req.ctx.seen) end
            end } end]] })
        assert.equal("100 77", site:get("/").body)
    end)

    it("names the plugin that failed in a long chain by its own policy", function()
        serve([[ rp.route { "/*", respond = { 200, "x" }, use = hooks } ]], { before = [[
            local hooks = {}
            for i = 1, 90 do hooks[i] = { on_error = i == 70 and "closed" or "open",
                access = function(req) if i == 60 or i == 70 then error("boom") end end } end]] })
        assert.equal(503, site:get("/").status)
        assert.equal(2, hook_errors())
    end)

    it("gives ctx fields to the access log as text", function()
        serve [[ rp.route { "/*", content = function(req)
            req.ctx.tenant = "acme" req.ctx.n = 7 req.ctx.flag = true req.ctx.t = {}
            rp.sleep(0.05) return req:exit(200) end } ]]
        local sock = site:connect()
        sock:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        local r = site:until_true(function()
            local live = site.proxy.live
            return live ~= nil and live.task ~= nil and live
        end)
        local function ctx(key)
            local s = site.conf.hooks.ctx_text(r, support.c.str(key))
            return support.c.lua(s)
        end
        assert.equal("acme", ctx("tenant"))
        assert.equal("7", ctx("n"))
        assert.equal("true", ctx("flag"))
        assert.is_nil(ctx("t"))
        assert.is_nil(ctx("absent"))
        sock:close()
    end)

    it("chooses peers in balance hooks, once per attempt, and may wait there", function()
        local origin = support.origin()
        serve([[ rp.route { "/*", upstream = "o" } ]], { more = ([[ upstreams = {
            o = rp.upstream { peers = { "127.0.0.1:1", "127.0.0.1:%d" },
                balance = function(req, up)
                    rp.sleep(0.001)
                    up:peer(up.attempt == 1 and "127.0.0.1:1" or "127.0.0.1:%d")
                end } }, ]]):format(origin.port, origin.port) })
        site.origin = origin
        local res = site:get("/")
        assert.equal(200, res.status)
        assert.equal(1, #origin.requests)
        assert.equal(1, tonumber(site.proxy.stats.retries))
    end)

    it("runs early hooks before routing", function()
        serve([[ rp.route { "/new/*", content = function(req)
            return req:exit(200, req.path .. " " .. req.host .. " " .. req.method) end } ]],
            { more = [[ use = { { early = function(req)
                req.path = "/new" .. req.path
                req.host = "other.example:81"
                req.method = "PUT"
            end } }, ]] })
        assert.equal("/new/x other.example PUT", site:get("/x").body)
    end)
end)
