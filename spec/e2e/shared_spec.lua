-- SPDX-License-Identifier: MIT
--
-- rp.shared in a running proxy: one truth for two workers, over reloads and deaths.

local http = require("spec.support.http")
local posix = require("spec.support.posix")
local process = require("spec.support.process")
local wire = require("spec.support.wire")

local ZONES = [[
    shared = {
        flags = rp.shm.store { size = "${size}" },
        loads = rp.shm.cache { size = "1m" },
        limits = rp.shm.buckets { size = "1m" },
    },
    use = { { name = "zones",
        start = function() rp.shared.flags:incr("starts", 1, 0) end,
        access = function(req)
            local flags, out = rp.shared.flags, nil
            if req.path == "/incr" then out = flags:incr("n", 1, 0)
            elseif req.path == "/n" then out = flags:get("n")
            elseif req.path == "/put" then out = select(2, flags:set(req:arg("k"), req:arg("v")))
            elseif req.path == "/get" then out = flags:get(req:arg("k"))
            elseif req.path == "/types" then
                flags:set("t", true) flags:set("f", false) flags:set("d", 1.5, 100)
                out = ("%s %s %s %s %s %s %s"):format(tostring(flags:get("t")),
                    tostring(flags:get("f")), flags:get("d"), tostring(flags:ttl("t")),
                    flags:ttl("d") > 90, tostring(flags:add("t", 1)), flags:delete("d"))
            elseif req.path == "/fill" then
                local i, ok, err = 0, true, nil
                while ok do i = i + 1 ok, err = flags:set("fill" .. i, ("x"):rep(1000)) end
                out = err
            elseif req.path == "/load" then
                out = rp.shared.loads:fetch(req:arg("k"), { ttl = 60, negative_ttl = 60 },
                    function(key)
                        rp.shared.flags:incr("loads", 1, 0)
                        rp.sleep(0.3)
                        if key ~= "none" then return "loaded " .. key end
                    end)
            elseif req.path == "/stale" then
                local value, err = rp.shared.loads:fetch("s", { ttl = 0.001, stale = 100 },
                    function()
                        if rp.shared.flags:get("down") then return nil, "upstream down" end
                        return "first"
                    end)
                rp.sleep(0.005)
                out = value .. " " .. tostring(err)
            elseif req.path == "/down" then out = flags:set("down", true)
            elseif req.path == "/fails" then
                out = select(2, rp.shared.loads:fetch("e", 10, function() return nil, "no luck" end))
            elseif req.path == "/keys" then
                local keys = flags:keys()
                table.sort(keys)
                out = table.concat(keys, " ")
            elseif req.path == "/take" then
                out = rp.shared.limits:spend("k", 1, 0.001, 5)
            elseif req.path == "/seat" then
                out = rp.shared.limits:acquire("seats", 3, 60) and true or false
            elseif req.path == "/wrong" then rp.shared.flags:take("k", 1, 1, 1)
            elseif req.path == "/missing" then return rp.shared.flag:get("x") end
            return req:exit(200, tostring(out))
        end } },
]]

local function zones(size)
    return { more = (ZONES:gsub("${size}", size)) }
end

describe("rp.shared", function()
    local rp

    setup(function() rp = process.start(zones("1m")) process.wait_workers(rp, 2) end)
    teardown(function() process.stop(rp) end)

    local function get(path) return process.body(rp, path) end

    it("is one truth for all workers, from their start hooks on", function()
        for i = 1, 40 do assert.equal(tostring(i), get("/incr")) end
        assert.equal("2", get("/get?k=starts"))
    end)

    it("keeps strings, numbers and booleans as what they are", function()
        assert.equal("true false 1.5 inf true nil true", get("/types"))
    end)

    it("takes no more tokens and seats than there are", function()
        local given, seats = 0, 0
        for _ = 1, 12 do
            if get("/take") == "true" then given = given + 1 end
            if get("/seat") == "true" then seats = seats + 1 end
        end
        assert.same({ 5, 3 }, { given, seats })
    end)

    it("loads once for all who ask at the same time", function()
        local conns = {}
        for i = 1, 8 do
            conns[i] = wire.connect(rp.port)
            conns[i]:send(http.format { target = "/load?k=a" })
        end
        for i = 1, 8 do
            assert.equal("loaded a", http.read(conns[i]).body)
            conns[i]:close()
        end
        assert.equal("1", get("/get?k=loads"))
        assert.equal("nil", get("/load?k=none"))
        assert.equal("nil", get("/load?k=none"))
        assert.equal("2", get("/get?k=loads"))
    end)

    it("serves what is stale while loading fails, and fails where there is nothing", function()
        assert.equal("first nil", get("/stale"))
        get("/down")
        assert.equal("first stale", get("/stale"))
        assert.equal("no luck", get("/fails"))
    end)

    it("lists its keys", function()
        assert.matches("loads n", get("/keys"))
    end)

    it("raises for what a kind does not have, and for zones that are not there", function()
        for path, words in pairs { ["/wrong"] = "a zone of kind store has no .-take",
            ["/missing"] = "no zone .-flag.- in `shared`; did you mean .-flags" } do
            local res = http.get(rp.port, path)
            assert.equal(500, res.status)
            rp:wait_stderr(words)
        end
    end)

    it("is kept over the death of a worker and over reloads, and shown by status", function()
        local n = tonumber(get("/n"))
        posix.kill(process.workers(rp)[1], "KILL")
        process.wait_workers(rp, 2)
        process.change(rp, { more = zones("1m").more .. "\nlimits = { headers = 50 }," })
        process.must(rp, "reload")
        for i = 1, 10 do assert.equal(tostring(n + i), get("/incr")) end
        local status = process.must(rp, "status")
        assert.matches("shared.flags: store, entries %d+, bytes %d+ of %d+, hits %d+", status)
        assert.matches("shared.limits: buckets, entries 2", status)
    end)

    it("refuses what does not fit, and tells", function()
        assert.equal("full", get("/fill"))
        assert.matches("shared.flags: .- refused [1-9]", process.must(rp, "status"))
        assert.matches("^%d+$", get("/incr")) -- what is there goes on
    end)

    it("starts empty with another size, which the log says", function()
        process.change(rp, zones("2m"))
        process.must(rp, "reload")
        assert.equal("1", get("/incr"))
        rp:wait_stderr("shared.flags starts empty: was store of 1048576 bytes")
        process.change(rp, {})
        process.must(rp, "reload")
        rp:wait_stderr("shared.flags is gone with its contents")
    end)
end)

describe("the plugin ratelimit", function()
    local rp

    after_each(function() process.stop(rp) end)

    it("answers 429 beyond the burst, over all workers", function()
        rp = process.start { more = [[
            shared = { limits = rp.shm.buckets { size = "1m" } },
            use = { require("plugins.ratelimit") { zone = "limits", rate = 1, per = "1h",
                burst = 5 } }, ]] }
        local ok, res = 0, nil
        for _ = 1, 8 do
            res = http.get(rp.port, "/")
            if res.status == 200 then ok = ok + 1 end
        end
        assert.equal(5, ok)
        assert.equal(429, res.status)
        assert.matches("^%d+$", res:header("retry-after"))
        assert.equal('"default";q=5;w=18000', res:header("ratelimit-policy"))
        assert.matches('^"default";r=0;t=%d+$', res:header("ratelimit"))
    end)
end)
