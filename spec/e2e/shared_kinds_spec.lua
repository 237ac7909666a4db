-- SPDX-License-Identifier: MIT
--
-- Zones of other kinds in a running proxy: counters, sets from files, sketches, places; over reloads,
-- deaths of workers, and files that change.

local http = require("spec.support.http")
local posix = require("spec.support.posix")
local process = require("spec.support.process")
local wire = require("spec.support.wire")

local SITE = [[
    shared = {
        hits = rp.shm.counters { size = "1m" },
        nets = rp.shm.set { size = "1m", type = "cidr", file = "${nets}", every = 0.1 },
        names = rp.shm.set { size = "1m", type = "domain", file = "${names}", every = 0.1 },
        words = rp.shm.set { size = "1m", type = "string", file = "${words}", every = 0.1 },
        bad = rp.shm.set { size = "1m", type = "regex", file = "${bad}", every = 0.1 },
        paths = rp.shm.top { size = "64k" },
        people = rp.shm.distinct { size = "128k" },
        limits = rp.shm.buckets { size = "1m" },
        flags = rp.shm.store { size = "64k" },
    },
    use = { { name = "kinds",
        start = function(worker) rp.shared.hits:gauge("workers"):set(1) end,
        access = function(req)
            local s, k, out = rp.shared, req:arg("k"), nil
            if req.path == "/count" then s.hits:add("n") out = s.hits:get("n")
            elseif req.path == "/sum" then out = s.hits:get("n")
            elseif req.path == "/workers" then out = s.hits:get("workers")
            elseif req.path == "/net" then out = table.concat({ s.nets:find(k) }, "|")
            elseif req.path == "/has" then
                local has, err = s.nets:has(k)
                out = tostring(has) .. tostring(err)
            elseif req.path == "/name" then out = table.concat({ s.names:find(k) }, "|")
            elseif req.path == "/word" then out = table.concat({ s.words:find(k) }, "|")
            elseif req.path == "/bad" then out = table.concat({ s.bad:find(k) }, "|")
            elseif req.path == "/top" then
                s.paths:add(k)
                local first = s.paths:list(1)[1]
                out = first.key .. " " .. first.count .. " " .. first.error
            elseif req.path == "/who" then
                s.people:add("today", k)
                out = s.people:count("today", "yesterday")
            elseif req.path == "/hold" then
                if not s.limits:hold("seat", 2) then return req:exit(429, "full") end
                s.hits:add("holding")
                rp.sleep(tonumber(k))
                out = "held"
            elseif req.path == "/holding" then out = s.hits:get("holding")
            elseif req.path == "/twice" then
                local one = s.limits:hold("mine", 1)
                out = tostring(s.limits:hold("mine", 1)) .. tostring(s.limits:unhold(one))
                    .. tostring(s.limits:unhold(one)) .. tostring((s.limits:hold("mine", 1)) ~= false)
            elseif req.path == "/queue" then
                out = ("%s %.1f"):format(tostring((s.limits:leak("q", 1, 1, 1))),
                    select(3, s.limits:leak("q", 0, 1, 1)))
            elseif req.path == "/cas" then
                local f = s.flags
                out = table.concat({ tostring(f:cas("c", nil, "a")), tostring(f:cas("c", nil, "b")),
                    tostring(f:cas("c", "a", 5, 100)), tostring(f:cas("c", "5", 6)),
                    tostring(f:cas("c", 5, 6, 100)), f:get("c"),
                    tostring(select(2, f:entry("c")) > 90), tostring(f:cas("c", 6, nil)),
                    tostring(f:entry("c")) }, " ")
            elseif req.path == "/wrong" then
                out = select(2, pcall(s.hits.add, s.hits, "n", 0.5))
            end
            return req:exit(200, tostring(out))
        end } },
]]

describe("zones of rp.shared:", function()
    local rp, files

    local function write(name, text)
        local path = files .. "/" .. name
        local file = assert(io.open(path .. ".new", "wb"))
        file:write(text)
        file:close()
        assert(os.rename(path .. ".new", path))
        return path
    end

    local function site(more)
        return { more = (SITE:gsub("${(%w+)}", function(n) return files .. "/" .. n end))
            .. (more or "") }
    end

    setup(function()
        files = os.tmpname()
        os.remove(files)
        assert(os.execute("mkdir " .. files) == 0 or true)
        write("nets", "# who\n10.0.0.0/8 inside\n10.1.0.0/16\tlab ; here\n10.1.2.3\n2001:db8::/32 doc\n")
        write("names", "Example.com ours\n*.bad.test\n")
        write("words", "hello\tworld\r\na b c\n")
        write("bad", "union\\s+select\n^\\.\\./\n")
        rp = process.start(site())
        process.wait_workers(rp, 2)
    end)

    teardown(function()
        process.stop(rp)
        os.execute("rm -rf " .. files)
    end)

    local function get(path) return process.body(rp, path) end
    local function until_body(path, wanted)
        local last
        local found = posix.poll(function() last = get(path) return last == wanted end, 30)
        assert.is_truthy(found, ("%s says %s, not %s"):format(path, tostring(last), wanted))
    end

    it("counters are exact over workers, kills and reloads; gauges end with their worker", function()
        for i = 1, 20 do assert.equal(tostring(i), get("/count")) end
        assert.equal("2", get("/workers"))
        posix.kill(process.workers(rp)[1], "KILL")
        process.wait_workers(rp, 2)
        until_body("/workers", "2")
        process.change(rp, site("limits = { headers = 50 },"))
        process.must(rp, "reload")
        assert.equal("20", get("/sum"))
        assert.equal("21", get("/count"))
        assert.matches("whole numbers", get("/wrong"))
    end)

    it("sets of networks say which is the narrowest, and what stands beside it", function()
        assert.equal("10.0.0.0/8|inside", get("/net?k=10.9.9.9"))
        assert.equal("10.1.0.0/16|lab", get("/net?k=10.1.2.4"))
        assert.equal("10.1.2.3/32|", get("/net?k=10.1.2.3"))
        assert.equal("10.1.2.3/32|", get("/net?k=::ffff:10.1.2.3"))
        assert.equal("2001:db8::/32|doc", get("/net?k=2001:db8::1"))
        assert.equal("falsenil", get("/has?k=11.0.0.1"))
        assert.equal("nilinvalid", get("/has?k=x"))
    end)

    it("sets of names take what is below them, texts are taken whole", function()
        assert.equal("example.com|ours", get("/name?k=EXAMPLE.com."))
        assert.equal("example.com|ours", get("/name?k=a.b.example.com"))
        assert.equal("bad.test|", get("/name?k=x.bad.test"))
        assert.equal("", get("/name?k=notexample.com"))
        assert.equal("hello|world", get("/word?k=hello"))
        assert.equal("a b c|", get("/word?k=a+b+c"))
        assert.equal("", get("/word?k=a"))
    end)

    it("sets of patterns are compiled by each worker", function()
        assert.equal("union\\s+select|", get("/bad?k=1+union++select+2"))
        assert.equal("", get("/bad?k=fine"))
    end)

    it("a file that changes is read anew, one that is broken is not taken", function()
        write("nets", "192.0.2.0/24 new\n")
        until_body("/net?k=192.0.2.9", "192.0.2.0/24|new")
        assert.equal("", get("/net?k=10.1.2.3"))
        write("nets", "198.51.100.0/24\nnonsense\n")
        rp:wait_stderr("line 2: not a network")
        assert.equal("192.0.2.0/24|new", get("/net?k=192.0.2.9"))
        assert.equal("", get("/net?k=198.51.100.1"))
        write("bad", "evil\n")
        until_body("/bad?k=evil", "evil|")
        write("bad", "(\n")
        rp:wait_stderr("line 1: not a pattern")
        until_body("/bad?k=evil", "evil|")
        write("bad", "good\n")
        until_body("/bad?k=good", "good|")
    end)

    it("a reload with a set that cannot be read is refused, and the old one serves", function()
        process.change(rp, { more = (site().more:gsub("/nets\"", "/none\"")) })
        local how = process.run(rp, "reload")
        assert.not_equal(0, how.exit)
        rp:wait_stderr("shared.nets: .-/none: no such file")
        assert.equal("192.0.2.0/24|new", get("/net?k=192.0.2.9"))
        process.change(rp, site())
    end)

    it("sketches say what comes most often, and how many different ones", function()
        for _ = 1, 5 do get("/top?k=often") end
        assert.equal("often 5 0", get("/top?k=once"))
        for i = 1, 50 do get("/who?k=user" .. i % 30) end
        local n = tonumber(get("/who?k=user1"))
        assert.is_true(n >= 28 and n <= 32)
    end)

    it("places are given back when requests end, are broken off, and when workers die", function()
        local function hold(k)
            local conn = wire.connect(rp.port)
            conn:send(http.format { target = "/hold?k=" .. k })
            return conn
        end
        local one, two = hold(60), hold(60)
        until_body("/holding", "2")
        assert.equal("full", get("/hold?k=0"))
        one:close() -- its request is cancelled
        until_body("/hold?k=0", "held")
        local n = tonumber(get("/holding"))
        local three = hold(60)
        until_body("/holding", tostring(n + 1))
        assert.equal("full", get("/hold?k=0"))
        for _, pid in ipairs(process.workers(rp)) do posix.kill(pid, "KILL") end
        two:close()
        three:close()
        process.wait_workers(rp, 2)
        until_body("/hold?k=0", "held")
        for _ = 1, 10 do assert.equal("held", get("/hold?k=0")) end
        assert.equal("falsetruefalsetrue", get("/twice"))
    end)

    it("queues tell how long to wait, values are swapped when they are what one believes", function()
        assert.equal("true 0.0", (get("/queue"):gsub("%d+%.%d", "0.0")))
        assert.equal("true false true false true 6 true true nil", get("/cas"))
    end)

    it("status shows them all", function()
        local status = process.must(rp, "status")
        for _, words in ipairs { "shared.hits: counters, names 3 of %d+",
            "shared.nets: set, entries 1, bytes %d+ of %d+, read %d+ times",
            "shared.paths: top, keys 2 of %d+, added 6, error at most 0",
            "shared.people: distinct, names 1 of %d+" } do
            assert.matches(words, status)
        end
    end)
end)
