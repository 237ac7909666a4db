-- SPDX-License-Identifier: MIT
--
-- What code in the VM may try, by mistake or not: loops, memory, depth, patterns, ways out, what it
-- forgets, waiting where one cannot. Each has an end that hurts its own request only; a request that
-- waits in the same worker meanwhile gets its answer.

local e2e = require("spec.support.e2e")
local http = require("spec.support.http")
local posix = require("spec.support.posix")
local process = require("spec.support.process")
local wire = require("spec.support.wire")

local BEFORE = [[
    local function answer(fn)
        return function(req) return req:exit(200, tostring(fn(req))) end
    end
    local forever = setmetatable({}, { __tostring = function()
        local keep
        while true do keep = function() return keep end end end })
    local function loop() local keep while true do keep = function() return keep end end end
    local function deep(n) return 1 + deep(n + 1) end
    local function nest() return coroutine.wrap(nest)() end
    local bomb = rp.regex("^(a|a|aa)+$")
    local mark = 0
]]

-- name -> body of function(req); the answer's body is what it gives.
local ATTACKS = {
    ["loop"] = "loop()",
    ["loop-caught"] = "while true do pcall(loop) end",
    ["loop-coroutine"] = "coroutine.wrap(loop)()",
    ["loop-task"] = "rp.spawn(loop):wait() return 'ended'",
    ["loop-tostring"] = "return tostring(forever)",
    ["rep"] = "return #('x'):rep(2 ^ 30)",
    ["rep-rep"] = "return #(('x'):rep(2 ^ 20):rep(2 ^ 11))",
    ["concat"] = "local s = 'x' while true do s = s .. s end",
    ["table"] = "local t = {} for i = 1, 1e9 do t[i] = { i } end",
    ["keys"] = "local t = {} for i = 1, 1e9 do t['k' .. i] = i end",
    ["list"] = "local t = {} for i = 1, 1e5 do t[i] = ('x'):rep(1e4) end return #table.concat(t)",
    ["unpack"] = "return unpack({}, 1, 1e8)",
    ["tasks"] = "while true do rp.spawn(function() rp.sleep(60) end) end",
    ["coroutines"] = "local t = {} while true do t[#t + 1] = coroutine.create(loop) end",
    ["caught-memory"] = "pcall(function() local s = 'x' while true do s = s .. s end end) "
        .. "return 'caught'",
    ["deep"] = "return deep(1)",
    ["deep-coroutines"] = "return nest()",
    ["deep-pcall"] = "local function f() return pcall(f) end return 1 + f()",
    ["deep-gsub"] = "local function f() return (('x'):gsub('x', f)) end return f()",
    ["deep-index"] = "local t = {} for i = 1, 1000 do t = setmetatable({}, { __index = t }) end "
        .. "return t.x",
    ["regex"] = "return bomb:test(('a'):rep(4000) .. 'b')",
    ["global"] = "counter = 1",
    ["global-read"] = "return undefined_thing",
    ["string-meta"] = "getmetatable('').__index = nil",
    ["string-set"] = "string.format = loop",
    ["string-rawset"] = "rawset(string, 'format', loop)",
    ["string-setmeta"] = "setmetatable(string, { __index = { format = loop } })",
    ["rp-rawset"] = "rawset(rp, 'time', loop)",
    ["rp-set"] = "rp.time = loop",
    ["rp-meta"] = "getmetatable(rp).__newindex = nil",
    ["rp-setmeta"] = "setmetatable(rp, {})",
    ["rp-part"] = "rp.json.encode = loop",
    ["rp-part-rawset"] = "rawset(rp.json, 'encode', loop)",
    ["ffi"] = "return require('ffi')",
    ["ffi-by-jit"] = "return require('jit.opt')",
    ["inside"] = "return require('rproxy.abi')",
    ["package"] = "return package.loaded.ffi",
    ["debug"] = "return debug.getregistry()",
    ["load"] = "return load('return 1')",
    ["bytecode"] = "return loadstring(string.dump(loop))",
    ["dump"] = "return string.dump(loop)",
    ["setfenv"] = "setfenv(1, {})",
    ["getfenv"] = "return getfenv(0)",
    ["io"] = "return io.open('/etc/passwd')",
    ["os"] = "return os.execute('true')",
    ["exit"] = "os.exit(1)",
    ["newproxy"] = "return newproxy(true)",
    ["collect"] = "collectgarbage('stop')",
    ["yield"] = "coroutine.yield(1)",
    ["wait-sort"] = "table.sort({ 3, 1, 2 }, function(a, b) rp.sleep(0.001) return a < b end)",
    ["wait-gsub"] = "return (('abc'):gsub('.', function() rp.sleep(0.001) end))",
    ["wait-wrap"] = "return coroutine.wrap(function() rp.sleep(0.001) end)()",
    ["dead"] = "local co = coroutine.wrap(function() end) co() co()",
    ["error-tostring"] = "error(forever)",
    ["error-raising"] = "error(setmetatable({}, { __tostring = function() error('again') end }))",
    ["error-number"] = "error(setmetatable({}, { __tostring = function() return 7 end }))",
    ["error-nil"] = "error(nil)",
    ["error-huge"] = "error(('x'):rep(1e6))",
    ["index-loop"] = "local a, b = {}, {} setmetatable(a, { __index = b }) "
        .. "setmetatable(b, { __index = a }) return a.x",
    ["index-self"] = "local t = setmetatable({}, { __index = function(t, k) return t[k] end }) "
        .. "return t.x",
}

-- What is no attack: it must work where the above does not.
local FINE = {
    ["pcall"] = { "pcall(rp.sleep, 0.001) return 'ok'", "ok" },
    ["pcall-raise"] = { "return select(2, pcall(function() rp.sleep(0.001) error('e', 0) end))", "e" },
    ["xpcall"] = { "return select(2, xpcall(function() rp.sleep(0.001) error('e', 0) end, "
        .. "function(e) return e .. '!' end))", "e!" },
    ["metamethod"] = { "return setmetatable({}, { __index = function() rp.sleep(0.001) "
        .. "return 'ok' end }).x", "ok" },
    ["tostring"] = { "return tostring(setmetatable({}, { __tostring = function() "
        .. "rp.sleep(0.001) return 'ok' end }))", "ok" },
    ["iterator"] = { "local n = 0 for i in function(_, i) rp.sleep(0.001) i = (i or 0) + 1 "
        .. "return i < 4 and i or nil end do n = n + i end return n", "6" },
    ["coroutine"] = { "local co = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end "
        .. "end) return co() + co() + co()", "6" },
    ["nested"] = { "local function f(n) if n == 0 then return 'ok' end "
        .. "return coroutine.wrap(f)(n - 1) end return f(150)", "ok" },
    ["coroutine-error"] = { "return select(2, pcall(coroutine.wrap(function() error('e', 0) end)))",
        "e" },
    ["detach"] = { "local n = 0 while n < 1e5 do local t, err = rp.detach(rp.sleep, 60) n = n + 1 "
        .. "if not t then return err end end", "busy" },
    ["finalizer"] = { "do local t = setmetatable({}, { __gc = function() mark = mark + 1 loop() end }) "
        .. "end for i = 1, 2e4 do local t = { {} } end return mark", "0" },
    ["log-evil"] = { "rp.log.notice('evil', { value = setmetatable({}, "
        .. "{ __tostring = function() error('x') end }) }) return 'ok'", "ok" },
}

local function sorted(set)
    local names = {}
    for name in pairs(set) do names[#names + 1] = name end
    table.sort(names)
    return ipairs(names)
end

local function routes()
    local out = {}
    for name, code in pairs(ATTACKS) do
        out[#out + 1] = ("rp.route { '/%s', respond = { 200, 'through' }, use = { { name = "
            .. "'attack', access = function(req) %s end } } },"):format(name, code)
    end
    for name, case in pairs(FINE) do
        out[#out + 1] = ("rp.route { '/fine/%s', content = answer(function(req) %s end) },"):format(
            name, case[1])
    end
    return table.concat(out, "\n")
end

local MORE = [[
    rp.route { "/leak/tcp", content = function(req)
        for i = 1, 5 do assert(rp.tcp.connect { host = "127.0.0.1", port = ${port} }) end
        return req:exit(200, "leaked") end },
    rp.route { "/leak/raise", content = function(req)
        for i = 1, 5 do assert(rp.tcp.connect { host = "127.0.0.1", port = ${port} }) end
        error("forgotten") end },
    rp.route { "/leak/file", content = function(req)
        for i = 1, 5 do rp.spawn(function() rp.fs.read("${dir}/site.lua") end) end
        return req:exit(200, "leaked") end },
    rp.route { "/leak/udp", content = function(req)
        for i = 1, 5 do rp.udp.connect { host = "127.0.0.1", port = 9 } end
        return req:exit(200, "leaked") end },
    rp.route { "/slowly", content = function(req) rp.sleep(0.1) return req:exit(200, "slow") end },
    rp.route { "/pattern", content = function(req)
        return req:exit(200, tostring((("a"):rep(3000)):find((".-"):rep(12) .. "b"))) end },
    rp.route { "/compiled", content = function() local n = 0 while true do n = n + 1 end end },
    rp.route { "/*", respond = { 200, "ok" } },
]]

describe("code that attacks its VM", function()
    local rp, workers

    setup(function()
        rp = process.start { workers = 1, before = BEFORE, routes = routes() .. MORE,
            more = 'lua = { cpu_budget = 0.1, heap = "24m" }, timeouts = { hook_wait = 20 },' }
        workers = process.wait_workers(rp, 1)
    end)
    teardown(function() process.stop(rp) end)
    after_each(wire.close_all)

    -- The answer to an attack, made while another request waits in the same worker.
    local function attack(target)
        local other = wire.connect(rp.port)
        other:send(http.format { target = "/slowly" })
        local res = http.get(rp.port, target)
        assert.equal("slow", http.read(other).body)
        assert.equal("ok", process.body(rp, "/x"))
        local before = workers
        workers = process.workers(rp)
        assert.same(before, workers)
        return res
    end

    for _, name in sorted(ATTACKS) do
        it("by " .. name .. " hurts its own request only", function()
            local mark = #rp:stderr()
            local res = attack("/" .. name)
            if name == "loop-task" or name == "caught-memory" or name == "deep-index"
                or name == "deep-pcall" then
                -- a task that is stopped tells who waits for it; what is caught is caught
                assert.is_true(res.status == 200 or res.status == 500)
                return
            end
            assert.equal(500, res.status)
            local line = e2e.log_since(rp, mark, "hook failed")[1]
            assert.truthy(line and line:find("plugin=attack", 1, true), line)
            if name:find("^loop") then
                assert.truthy(line:find("CPU budget", 1, true), line)
                assert.truthy(line:find("stack traceback: | .-site%.lua:?%d*: in"), line)
            end
        end)
    end

    for _, name in sorted(FINE) do
        local case = FINE[name]
        it("is none when it waits, or asks for little, by " .. name, function()
            local res = attack("/fine/" .. name)
            assert.same({ 200, case[2] }, { res.status, res.body })
        end)
    end

    local function fds()
        local n = 0
        for _ in io.popen("ls /proc/" .. workers[1] .. "/fd"):lines() do n = n + 1 end
        return n
    end

    for _, what in ipairs { "tcp", "raise", "file", "udp" } do
        it("by forgetting what it opened (" .. what .. ") leaves nothing open", function()
            process.body(rp, "/x")
            local before = fds()
            for _ = 1, 30 do http.get(rp.port, "/leak/" .. what) end
            assert.truthy(posix.poll(function() return fds() <= before + 2 end), "more than "
                .. before)
        end)
    end
end)

describe("code that cannot be stopped in its VM", function()
    for _, target in ipairs { "/compiled", "/pattern" } do
        it("costs its worker and no other (" .. target .. ")", function()
            local rp = process.start { workers = 2, before = BEFORE, routes = MORE,
                more = "lua = { cpu_budget = 0.05 }," }
            finally(function() process.stop(rp) end)
            local workers = process.wait_workers(rp, 2)
            local w = wire.connect(rp.port)
            w:send(http.format { target = target })
            local res = w:recv_all(30)
            assert.truthy(res == "" or res:find("^HTTP/1.1 500 "), res)
            if res == "" then
                rp:wait_stderr("a hook cannot be stopped, the worker ends plugin=inline@site.lua")
                local now = posix.poll(function()
                    local live = process.workers(rp)
                    return #live == 2 and (live[1] ~= workers[1] or live[2] ~= workers[2]) and live
                end, 30)
                assert.truthy(now)
                local kept = 0
                for _, pid in ipairs(now) do
                    if pid == workers[1] or pid == workers[2] then kept = kept + 1 end
                end
                assert.equal(1, kept)
            end
            for _ = 1, 10 do assert.equal("ok", process.body(rp, "/x")) end
        end)
    end
end)

describe("a heap", function()
    local LEAK = [[ local hoard = {} ]]
    local ROUTES = [[
        rp.route { "/hoard", content = function(req)
            for i = 1, 2000 do hoard[#hoard + 1] = ("x"):rep(1000) .. #hoard end
            return req:exit(200, "more") end },
        rp.route { "/garbage", content = function(req)
            for i = 1, 20 do local s = ("x"):rep(2 ^ 20) .. i end
            return req:exit(200, "gone") end },
        rp.route { "/*", respond = { 200, "ok" } },
    ]]
    local rp

    after_each(function()
        local mine = rp
        rp = nil
        process.stop(mine)
    end)

    it("that is full of garbage is collected before anybody fails for it", function()
        rp = process.start { workers = 1, before = LEAK, routes = ROUTES,
            more = 'lua = { heap = "32m" },' }
        local w = wire.connect(rp.port)
        for _ = 1, 60 do assert.equal(200, http.request(w, { target = "/garbage" }).status) end
    end)

    it("that stays full gets its worker a successor", function()
        rp = process.start { workers = 1, before = LEAK, routes = ROUTES,
            more = 'lua = { heap = "16m" },' }
        local workers, failed = process.wait_workers(rp, 1), false
        posix.poll(function() -- a worker is not replaced in its first seconds
            local ok, res = pcall(http.get, rp.port, "/hoard")
            if ok then
                assert.is_true(res.status == 200 or res.status == 500)
                failed = failed or res.status == 500
            end
            assert.equal("ok", process.body(rp, "/x")) -- what needs no Lua is served all the time
            return rp:stderr():find("stays full, replacing it", 1, true)
        end, 60)
        rp:wait_stderr("the Lua heap of a worker stays full, replacing it worker=0")
        process.wait_workers(rp, 1, workers)
        assert.is_true(failed)
        assert.equal(200, http.get(rp.port, "/hoard").status)
    end)
end)
