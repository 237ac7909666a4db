-- SPDX-License-Identifier: MIT
--
-- rp.redis with real servers: commands, pipelines, scripts, subscriptions, failures.

local http = require("spec.support.http")
local posix = require("spec.support.posix")
local process = require("spec.support.process")
local redis = require("spec.support.redis")
local wire = require("spec.support.wire")

local describe_with_redis = redis.is_installed() and describe or pending

describe_with_redis("rp.redis", function()
    local server, rp

    local function get(path) return process.body(rp, path) end

    setup(function()
        server = redis.start()
        local opts = ("host = '127.0.0.1', port = %d, timeout = 5"):format(server.port)
        rp = process.start(redis.site(opts, [[
            ["/set"] = function(req) return r:set(req:arg("k"), req:arg("v")) end,
            ["/get"] = function(req) return r:get(req:arg("k")) end,
            ["/types"] = function()
                r:del("h", "l", "s")
                r:hset("h", "a", 1, "b", "two") r:rpush("l", "x", "y") r:sadd("s", "m")
                r:set("big", "9223372036854775806")
                return r:hgetall("h"), r:lrange("l", 0, -1), r:smembers("s"), r:incr("big"),
                    r:mget("nothing", "big"), r:get("nothing"), r:call("debug", "protocol", "double")
            end,
            ["/error"] = function() r:set("text", "x") return r:incr("text") end,
            ["/pipeline"] = function()
                local out = r:pipeline(function(p)
                    p:set("p", 1) p:incr("p") p:lpush("p", "x") p:get("nothing") p:get("p")
                end)
                return #out, out[1], out[2], out[3].err, out[4] == rp.null, out[5]
            end,
            ["/transaction"] = function()
                return r:transaction(function(t) t:set("t", 1) t:incr("t") t:get("t") end)
            end,
            ["/transaction_error"] = function()
                return r:transaction(function(t) t:set("t") end)
            end,
            ["/watch"] = function(req)
                return r:session(function(s)
                    s:set("w", 1)
                    s:watch("w")
                    if req:arg("change") then r:set("w", 2) end
                    return s:transaction(function(t) t:incr("w") end)
                end)
            end,
            ["/script"] = function()
                local s = r:script("return {KEYS[1], ARGV[1], tonumber(ARGV[2])}")
                r:call("script", "flush")
                local first, second = s:run({ "k" }, { "a", 2 }), s:run({ "k" }, { "b", 3 })
                return first, second
            end,
            ["/refused"] = function(req)
                local ok, err = pcall(function() return r:call(req:arg("c"), "x") end)
                return ok, err
            end,
            ["/bad"] = function() return pcall(r.set, r, "k", {}) end,
            ["/null"] = function() return pcall(r.set, r, "k", rp.null) end,
            ["/blpop"] = function(req) return r:blpop("jobs", tonumber(req:arg("s"))) end,
            ["/slow"] = function() return r:call("debug", "sleep", "0.3") end,
            ["/sleep"] = function(req) r:set("started", 1) return r:blpop("never", 30) end,
            ["/many"] = function()
                local tasks = {}
                for i = 1, 200 do
                    tasks[i] = rp.spawn(function() r:set("m" .. i, i) return r:get("m" .. i) end)
                end
                local right = 0
                for i, t in ipairs(tasks) do
                    local _, v = t:wait()
                    if v == tostring(i) then right = right + 1 end
                end
                return right, r:stats().connections
            end,
            ["/cancel"] = function()
                local t = rp.spawn(function() return r:get("m1") end)
                rp.sleep(0)
                t:cancel()
                return r:get("m2"), r:get("m3")
            end,
            ["/large"] = function()
                r:set("large", ("x"):rep(3 * 1024 * 1024))
                return #r:get("large")
            end,
            ["/connects"] = function() return r:stats().connects end,
            ["/subscribe"] = function()
                local sub = r:subscribe("news", "more")
                rp.spawn(function()
                    r:publish("news", "one") r:publish("more", "two") r:publish("news", "end")
                end)
                local got = {}
                for channel, text in sub do
                    got[#got + 1] = channel .. "=" .. text
                    if text == "end" then break end
                end
                local _, code = sub:next(0.05)
                r:publish("more", "later")
                local _, later = sub:next(5)
                sub:close()
                local _, closed = sub:next(1)
                return got, code, later, closed
            end,
            ["/psubscribe"] = function()
                local sub = r:psubscribe("n.*")
                r:publish("n.a", "x")
                return sub:next(5)
            end,
        ]]))
    end)
    teardown(function()
        process.stop(rp)
        if server then redis.stop(server) end
    end)
    after_each(wire.close_all)

    it("sends commands by their names and gives back what came", function()
        assert.equal("OK", get("/set?k=a&v=1"))
        assert.equal("1", get("/get?k=a"))
        assert.equal("nil", get("/get?k=nothing"))
        assert.equal('{"a":"1","b":"two"} ["x","y"] ["m"] 9223372036854775807 '
            .. '[null,"9223372036854775807"] nil 3.141', get("/types"))
    end)

    it("gives errors as nil, code, detail", function()
        assert.equal("nil ERR ERR value is not an integer or out of range", get("/error"))
    end)

    it("sends pipelines at once and answers each command", function()
        assert.equal("5 OK 2 WRONGTYPE true 2", get("/pipeline"))
    end)

    it("runs transactions, and says when a watched key has changed", function()
        assert.equal('["OK",2,"2"]', get("/transaction"))
        assert.matches("^nil EXECABORT ERR wrong number of arguments", get("/transaction_error"))
        assert.equal("[2]", get("/watch"))
        assert.equal("nil aborted a watched key has changed", get("/watch?change=1"))
    end)

    it("sends a script once, and again when the server has forgotten it", function()
        assert.equal('["k","a",2] ["k","b",3]', get("/script"))
    end)

    it("refuses what would change the connection for others", function()
        for _, name in ipairs { "select", "multi", "subscribe", "monitor", "watch", "quit" } do
            assert.matches("^false .*redis: " .. name:upper(), get("/refused?c=" .. name))
        end
        assert.matches("^false .*argument 2 of SET is a table", get("/bad"))
        assert.matches("^false .*argument 2 of SET is a null", get("/null"))
    end)

    it("waits with commands that wait, beside the others", function()
        local conn = wire.connect(rp.port)
        conn:send(http.format { target = "/blpop?s=30" })
        assert.is_truthy(posix.poll(function()
            return redis.cli(server.port, "client", "list"):find("cmd=blpop", 1, true)
        end))
        assert.equal("OK", get("/set?k=b&v=2"))
        redis.cli(server.port, "rpush", "jobs", "job")
        assert.equal('["jobs","job"]', http.read(conn).body)
        assert.equal("nil", get("/blpop?s=0.01"))
    end)

    it("answers many coroutines at once over few connections", function()
        assert.equal("200 2", get("/many"))
        assert.equal("2 3", get("/cancel"))
        assert.equal(tostring(3 * 1024 * 1024), get("/large"))
    end)

    it("closes what a request that ended waited on", function()
        local conn = wire.connect(rp.port)
        conn:send(http.format { target = "/sleep" })
        local function blocked()
            return redis.cli(server.port, "client", "list"):find("cmd=blpop", 1, true) ~= nil
        end
        assert.is_truthy(posix.poll(blocked))
        conn:close()
        assert.is_truthy(posix.poll(function() return not blocked() end))
    end)

    it("listens to channels", function()
        assert.equal('["news=one","more=two","news=end"] timeout later closed', get("/subscribe"))
        assert.equal("n.a x n.*", get("/psubscribe"))
    end)

    it("waits for slow answers, and is served on while a reload goes by", function()
        local conn = wire.connect(rp.port)
        conn:send(http.format { target = "/slow" })
        process.must(rp, "reload")
        assert.equal("OK", http.read(conn).body)
        assert.equal("1", get("/get?k=a"))
    end)

    it("leaves no connection of a configuration that was replaced", function()
        local fds
        for i = 1, 20 do
            get("/many")
            process.must(rp, "reload")
            if i == 5 then fds = select(2, rp:cost()) end
        end
        assert.equal("200 2", get("/many"))
        assert.is_truthy(posix.poll(function()
            local _, n = redis.cli(server.port, "client", "list"):gsub("cmd=[sg]et", "")
            return n <= 2 and math.abs(select(2, rp:cost()) - fds) <= 2
        end))
    end)

    it("connects anew after its connections were killed", function()
        local before = tonumber(get("/connects"))
        assert.equal("1", get("/get?k=a"))
        redis.cli(server.port, "client", "kill", "type", "normal")
        assert.is_truthy(posix.poll(function()
            return get("/get?k=a") == "1" and tonumber(get("/connects")) > before
        end))
    end)
end)
