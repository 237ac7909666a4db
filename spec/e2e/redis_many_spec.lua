-- SPDX-License-Identifier: MIT
--
-- rp.redis with sentinels and with a cluster, real ones.

local posix = require("spec.support.posix")
local process = require("spec.support.process")
local redis = require("spec.support.redis")

local describe_with_redis = redis.is_installed() and describe or pending

local function body_of(rp) return function(path) return process.body(rp, path) end end

describe_with_redis("rp.redis with sentinels", function()
    local rp, master, replica, sentinels, get

    setup(function()
        master, replica, sentinels = redis.start_sentinels()
        rp = process.start(redis.site(([[master = "mymaster", timeout = 20, sentinels = {
            "127.0.0.1:%d", "127.0.0.1:%d", "127.0.0.1:%d", "127.0.0.1:%d" }]]):format(
            posix.free_port(), sentinels[1].port, sentinels[2].port, sentinels[3].port), [[
            ["/set"] = function(req) return r:set(req:arg("k"), req:arg("v")) end,
            ["/get"] = function(req) return r:get(req:arg("k")) end,
        ]]))
        get = body_of(rp)
    end)
    teardown(function()
        process.stop(rp)
        for _, p in ipairs { master, replica, unpack(sentinels or {}) } do redis.stop(p) end
    end)

    it("asks for the master, past a sentinel that is down", function()
        assert.equal("OK", get("/set?k=a&v=1"))
        assert.equal("1", redis.cli(master.port, "get", "a"))
    end)

    it("follows when another one becomes the master", function()
        -- The clients are told nothing: the old master refuses to write.
        local function role(server) -- who changes it drops its clients
            local ok, text = pcall(redis.cli, server.port, "role")
            return ok and text:match("^%a+")
        end
        -- A sentinel refuses while it knows of no good replica, and gives up what takes too long.
        assert.is_truthy(posix.poll(function()
            if role(replica) == "master" then return role(master) == "slave" end
            pcall(redis.cli, sentinels[1].port, "sentinel", "failover", "mymaster")
        end, 120))
        assert.is_truthy(posix.poll(function() return get("/set?k=b&v=2") == "OK" end, 30))
        assert.equal("2", redis.cli(replica.port, "get", "b"))
        assert.is_truthy(posix.poll(function()
            return redis.cli(master.port, "info", "replication"):find("master_link_status:up", 1, true)
        end, 60))
    end)

    it("waits for the next master when the one it has is killed", function()
        local killed = replica
        killed:signal("KILL")
        killed:wait(10)
        assert.is_truthy(posix.poll(function() return get("/set?k=c&v=3") == "OK" end, 60))
        assert.equal("3", redis.cli(master.port, "get", "c"))
    end)
end)

describe_with_redis("rp.redis with a cluster", function()
    local rp, nodes, get

    setup(function()
        nodes = redis.start_cluster()
        rp = process.start(redis.site(([[timeout = 3, cluster = { "127.0.0.1:%d",
            "127.0.0.1:%d" }]]):format(posix.free_port(), nodes[1].port), [[
            ["/set"] = function(req) return r:set(req:arg("k"), req:arg("v")) end,
            ["/get"] = function(req) return r:get(req:arg("k")) end,
            ["/many"] = function()
                local set = r:pipeline(function(p)
                    for i = 1, 300 do p:set("key" .. i, i) end
                end)
                local got, right = r:pipeline(function(p)
                    for i = 1, 300 do p:get("key" .. i) end
                end), 0
                for i = 1, 300 do
                    if set[i] == "OK" and got[i] == tostring(i) then right = right + 1 end
                end
                return right, r:stats().connections
            end,
            ["/read"] = function()
                local right = 0
                for i = 1, 300 do
                    if r:get("key" .. i) == tostring(i) then right = right + 1 end
                end
                return right
            end,
            ["/tags"] = function()
                return r:mset("{u1}.a", 1, "{u1}.b", 2), r:mget("{u1}.a", "{u1}.b"),
                    r:transaction(function(t) t:incr("{u1}.a") t:incr("{u1}.b") end)
            end,
            ["/cross"] = function() return r:mget("a", "b", "c") end,
            ["/script"] = function()
                local s, out = r:script("return redis.call('get', KEYS[1])"), {}
                for i = 1, 5 do out[i] = s:run { "key" .. i } end
                return out
            end,
            ["/session"] = function()
                return r:session(function(s)
                    s:watch("key1")
                    return s:transaction(function(t) t:get("key1") end)
                end, "key1")
            end,
            ["/blpop"] = function() r:rpush("list7", "x") return r:blpop("list7", 5) end,
            ["/subscribe"] = function()
                local sub = r:subscribe("c")
                r:publish("c", "hello")
                local one, two = sub:next(5)
                local shard = r:ssubscribe("shard")
                r:spublish("shard", "there")
                return one, two, shard:next(5)
            end,
            ["/nokey"] = function() return r:ping() end,
            ["/lie"] = function(req)
                return r:eval("return redis.error_reply(ARGV[1])", 1, "key1", req:arg("e"))
            end,
        ]]))
        get = body_of(rp)
    end)
    teardown(function()
        process.stop(rp)
        for _, p in ipairs(nodes or {}) do redis.stop(p) end
    end)

    it("sends each command where its key is, pipelines too", function()
        assert.equal("OK", get("/set?k=a&v=1"))
        assert.equal("1", get("/get?k=a"))
        local right, connections = get("/many"):match("(%d+) (%d+)")
        assert.equal("300", right)
        assert.is_true(tonumber(connections) >= 3)
        assert.equal("300", get("/read"))
        assert.equal("PONG", get("/nokey"))
    end)

    it("keeps keys with one tag together, and says when keys are apart", function()
        assert.equal('OK ["1","2"] [2,3]', get("/tags"))
        assert.matches("^nil CROSSSLOT ", get("/cross"))
    end)

    it("runs scripts, sessions, waiting commands and subscriptions on the right node", function()
        assert.equal('["1","2","3","4","5"]', get("/script"))
        assert.equal('["1"]', get("/session"))
        assert.equal('["list7","x"]', get("/blpop"))
        assert.equal("c hello shard there", get("/subscribe"))
    end)

    it("does not follow a cluster that lies for ever, or to places that cannot be", function()
        local here = "127.0.0.1:" .. nodes[1].port
        for _, text in ipairs { "MOVED 7 " .. here, "ASK 7 " .. here } do
            local body = get("/lie?e=" .. text:gsub(" ", "%%20"))
            assert.matches("^nil %u+ ", body)
        end
        for _, text in ipairs { "MOVED 16384 " .. here, "MOVED 1 127.0.0.1:0", "MOVED 1 127.0.0.1:70000",
            "MOVED x " .. here, "MOVED 1 " .. ("h"):rep(300) .. ":1" } do
            assert.equal("nil " .. text:match("^%u+") .. " " .. text,
                get("/lie?e=" .. text:gsub(" ", "%%20")))
        end
        assert.matches("^nil timeout ", get("/lie?e=TRYAGAIN%20later"))
        assert.equal("300", get("/read"))
    end)

    local function node_ids()
        local ids = {}
        for i, p in ipairs(nodes) do ids[i] = redis.cli(p.port, "cluster", "myid") end
        return ids
    end

    it("follows a slot that moves, while it moves and after that", function()
        local slot = tonumber(redis.cli(nodes[1].port, "cluster", "keyslot", "moving"))
        local ids, from = node_ids(), nil
        assert.equal("OK", get("/set?k=moving&v=1"))
        for i, p in ipairs(nodes) do
            if redis.cli(p.port, "cluster", "countkeysinslot", tostring(slot)) == "1" then from = i end
        end
        local to = from % 3 + 1
        redis.cli(nodes[to].port, "cluster", "setslot", tostring(slot), "importing", ids[from])
        redis.cli(nodes[from].port, "cluster", "setslot", tostring(slot), "migrating", ids[to])
        redis.cli(nodes[from].port, "migrate", "127.0.0.1", tostring(nodes[to].port), "moving", "0",
            "5000")
        assert.equal("1", get("/get?k=moving")) -- ASK
        assert.equal("OK", get("/set?k=moving&v=2"))
        for i in ipairs(nodes) do
            redis.cli(nodes[i].port, "cluster", "setslot", tostring(slot), "node", ids[to])
        end
        assert.equal("2", get("/get?k=moving")) -- MOVED
        assert.equal("OK", get("/set?k=moving&v=3"))
        assert.equal("3", redis.cli(nodes[to].port, "get", "moving"))
    end)

    it("says so when the node of a key does not answer, and goes on when it does", function()
        local key
        for i = 1, 300 do
            local slot = redis.cli(nodes[1].port, "cluster", "keyslot", "key" .. i)
            if tonumber(slot) > 11000 then key = "key" .. i break end
        end
        assert.equal("OK", get("/set?k=" .. key .. "&v=" .. key:sub(4)))
        nodes[3]:signal("STOP")
        assert.matches("^nil timeout ", get("/get?k=" .. key))
        assert.equal("PONG", redis.cli(nodes[1].port, "ping"))
        nodes[3]:signal("CONT")
        assert.is_truthy(posix.poll(function() return get("/read") == "300" end, 30))
    end)
end)
