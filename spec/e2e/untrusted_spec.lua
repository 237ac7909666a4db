-- SPDX-License-Identifier: MIT
--
-- Untrusted plugins: what they try against the worker, against the bounds of their calls and against
-- what they share with others, and that all of it is contained.

local http = require("spec.support.http")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")
local wire = require("spec.support.wire")

-- Each attack is the body of a function(req, rp, conf) of the plugin; what it returns is sent.
local function plugin(attacks, top)
    local out = { ([[
        local rp = require("rproxy")
        local M = rp.plugin { name = "hostile", schema = { zone = "shared:store",
            words = { "list", of = "string", default = { "a", "b" } }, fn = "function" } }
        %s
        local attacks = {}
        function M.setup(conf)
    ]]):format(top or "") }
    for name, body in pairs(attacks) do
        out[#out + 1] = ("attacks[%q] = function(req, res)\n%s\nend"):format(name, body)
    end
    out[#out + 1] = [[
            return { access = function(req)
                local attack = attacks[req.path:sub(2)]
                if not attack then return end
                local what = attack(req)
                if what ~= nil then return req:exit(200, tostring(what)) end
            end }
        end
        return M
    ]]
    return table.concat(out, "\n")
end

local SITE = [[
    local hostile = require("hostile")
    return rp.site { workers = 1, %s
        listeners = { rp.listen { "127.0.0.1:${port}" } },
        shared = { own = rp.shm.store { size = "1m" }, other = rp.shm.store { size = "1m" } },
        use = { %s hostile { untrusted = true, %s }, %s },
        hosts = { rp.host { default = true, routes = {
            rp.route { "/*", content = function(req) return req:exit(200, "site") end } } } } }]]

local function start(attacks, opt)
    opt = opt or {}
    local rp = proc.rproxy { site = SITE:format(opt.more or "", opt.before or "", opt.instance or "",
        opt.after or ""), files = { ["hostile.lua"] = plugin(attacks, opt.top) }, env = opt.env }
    rp:wait_stderr("serving site=")
    return rp
end

local function get(rp, name)
    return http.get(rp.port, "/" .. name)
end

describe("untrusted plugins", function()
    after_each(function()
        wire.close_all()
        proc.cleanup()
    end)

    local function contained(attacks, opt)
        attacks.fine = 'return "fine"'
        local rp = start(attacks, opt)
        local pids = process.workers(rp)
        for name in pairs(attacks) do
            if name ~= "fine" then
                assert.equal(500, get(rp, name).status, name)
                assert.equal("fine", get(rp, "fine").body, name)
            end
        end
        assert.same(pids, process.workers(rp), "a worker ended")
        return rp
    end

    it("work: requests, library, waiting, callbacks, errors of the library", function()
        local rp = start({
            request = [[
                req.ctx.seen = { 1, 2 }
                req.ctx.seen[3] = 3
                local names = {}
                for name, value in req:headers() do names[#names + 1] = name end
                for key, value in pairs(req.ctx) do names[#names + 1] = key end
                return table.concat(names, " ") .. " " .. req.method .. req.ctx.seen[3]
                    .. tostring(req:get("x-none")) .. #conf.words .. conf.words[2] ]],
            library = [[
                local list = rp.json.decode('{"a":[1,2,{"b":null}]}').a
                local re = rp.regex("(b+)")
                return #list .. rp.json.encode { x = rp.array {} } .. tostring(list[3].b == rp.null)
                    .. re:match("abbb") .. re:gsub("abab", function(b) return b:upper() end)
                    .. rp.hex(rp.crypto.sha256("a")):sub(1, 4) ]],
            strings = [[
                local out = {}
                for k, v in ("a=1, b=2"):gmatch("(%w+)=(%w+)") do out[#out + 1] = k .. v end
                out[#out + 1] = ("hello world"):gsub("o", "0", 1)
                out[#out + 1] = ("THE (quick) fox"):find("%((%a+)%)")
                out[#out + 1] = ("  trim "):match("^%s*(.-)%s*$")
                out[#out + 1] = ("f(a(b)c)d"):match("%b()")
                out[#out + 1] = ("abc"):gsub("%w", "%0%0")
                out[#out + 1] = ("x"):rep(3, "-") .. ("%5.1f|%s"):format(3.14159, "s")
                out[#out + 1] = ("THE fox"):gsub("%f[%a]%a+", string.lower)
                local t = { 3, 1, 2 }
                table.sort(t, function(a, b) return a > b end)
                table.insert(t, 1, 9)
                out[#out + 1] = table.concat(t, "") .. table.remove(t) .. select("#", unpack(t))
                return table.concat(out, "|") ]],
            waits = [[
                rp.sleep(0.01)
                local task = rp.spawn(function(a) rp.sleep(0.01) return a .. "b" end, "a")
                local ok, got = task:wait()
                return got .. rp.all { function() return 1 end, function() return 2 end }[2] ]],
            errors = [[
                local ok, err = pcall(req.get, req, {})
                local ok2, err2 = pcall(function() error({ code = 7 }) end)
                local ok3, err3 = xpcall(function() error("x", 0) end, function(e) return e .. "!" end)
                return tostring(ok) .. tostring(ok2) .. err2.code .. err3 ]],
            abort = "req:abort(418)",
            zone = 'rp.shared.own:set("k", "v") return rp.shared.own:get("k")',
            lock = 'return rp.lock("k", { zone = "own" }, function() return "held" end)',
            other_lock = 'return tostring(pcall(rp.lock, "k", { zone = "other" }))',
            given = "return conf.fn(20)",
        }, { instance = 'zone = "own", fn = function(n) return n + 1 end' })
        assert.equal("host seen GET3nil2b", (get(rp, "request").body:gsub("^(%S+) .*seen", "%1 seen")))
        assert.matches('^3{"x":%[%]}truebbbaBaB2?ca97$', get(rp, "library").body)
        assert.equal("a1|b2|hell0 world|5|trim|(a(b)c)|aabbcc|x-x-x  3.1|s|the fox|932113",
            (get(rp, "strings").body))
        assert.equal("ab2", get(rp, "waits").body)
        assert.equal("falsefalse7x!", get(rp, "errors").body)
        assert.equal(418, get(rp, "abort").status)
        assert.equal("v", get(rp, "zone").body)
        assert.equal("held", get(rp, "lock").body)
        assert.equal("false", get(rp, "other_lock").body)
        assert.equal("21", get(rp, "given").body)
        assert.equal("site", get(rp, "other").body)
    end)

    it("stop at their instructions, however they try to go on", function()
        local rp = contained({
            loop = "while true do end",
            numeric = "for i = 1, math.huge do end",
            catch = "while true do pcall(function() while true do end end) end",
            catch_deep = [[local function f() pcall(f) while true do end end f() ]],
            fork = "local function f() pcall(f) pcall(f) end f()",
            handler = "xpcall(function() while true do end end, function() while true do end end)",
            handler_again = [[local function h() return xpcall(error, h) end while true do h() end]],
            meta = [[local t = setmetatable({}, { __index = function(t, k) while true do end end })
                return t.x]],
            to_string = [[local t = setmetatable({}, { __tostring = function() while true do end end })
                return tostring(t)]],
            format = [[local t = setmetatable({}, { __tostring = function() while true do end end })
                return ("%s"):format(t)]],
            compare = [[local t = {} for i = 1, 100 do t[i] = i end
                table.sort(t, function() while true do end end)]],
            lying = [[local t = {} for i = 1, 5000 do t[i] = i % 7 end
                while true do table.sort(t, function() return true end) end]],
            iterator = "for x in function() return 1 end do end",
            pattern = [[return (("a"):rep(40)):find(("a?"):rep(40) .. ("a"):rep(40))]],
            pattern2 = [[return (("x"):rep(5000)):match(("x*"):rep(20) .. "y")]],
            gsub = [[return (("a"):rep(1000)):gsub("a", function() while true do end end)]],
            plain = [[return (("a"):rep(1000000)):find(("a"):rep(500000) .. "b", 1, true)]],
            rep = 'return ("x"):rep(1e12)',
            rep_empty = 'for i = 1, 1e9 do local s = (""):rep(1e9) end',
            recursion = "local function f() return 1 + f() end while true do pcall(f) end",
            tail = "local function f() return f() end f()",
            callback = 'rp.regex("a"):gsub("aaa", function() while true do end end)',
            caught_callback = [[while true do
                pcall(function() rp.regex("a"):gsub("a", function() while true do end end) end) end]],
            kids = [[while true do rp.spawn(function() while true do end end):wait() end]],
            kids_split = [[for i = 1, 50 do rp.spawn(function() for j = 1, 1e5 do end end):wait() end
                while true do end]],
            library = 'while true do rp.json.decode("[1]") end',
            replaces = 'return #rp.regex("a"):gsub(("a"):rep(900000), "b")',
            splits = 'local s = ("a,"):rep(9e4) while true do rp.regex(","):split(s) end',
            packs = 'local s = rp.crypto.random(1e6) while true do rp.gzip(s, { level = 9 }) end',
            once = 'while true do rp.once("k", 0, function() while true do end end) end',
            concat = [[local t = {} for i = 1, 1e5 do t[i] = "" end
                while true do table.concat(t) end]],
            move = [[local t = { 1 } while true do table.insert(t, 1, 1) end]],
            waits = "while true do rp.sleep(0) end",
        }, { more = 'timeouts = { hook_wait = "2s" },' })
        rp:wait_stderr('is untrusted and used up its instructions: 1000000 in one call')
    end)

    it("stop at the same instruction each time", function()
        local rp = start({ count = [[
            local n = 0
            rp.shared.own:set("n", "0")
            while true do
                n = n + 1
                if n % 100 == 0 then rp.shared.own:set("n", tostring(n)) end
            end]], last = 'return rp.shared.own:get("n")' },
            { instance = 'zone = "own", limits = { instructions = 50000 }' })
        local seen = {}
        for i = 1, 6 do
            assert.equal(500, get(rp, "count").status)
            seen[i] = get(rp, "last").body
        end
        for i = 2, 6 do assert.equal(seen[1], seen[i]) end
        assert.is_true(tonumber(seen[1]) > 1000)
    end)

    it("have a new budget for each call", function()
        local rp = start({ work = 'for i = 1, 20000 do end return "done"' },
            { instance = "limits = { instructions = 60000 }" })
        for _ = 1, 20 do assert.equal("done", get(rp, "work").body) end
    end)

    it("stop at their memory", function()
        local rp = contained({
            table = "local t = {} for i = 1, 1e9 do t[i] = i end",
            tables = "local t = {} while true do t = { t } end",
            caught = [[while true do pcall(function() local t = {} for i = 1, 1e9 do t[i] = {} end end)
                end]],
            strings = 'local s = "x" while true do s = s .. s end',
            rep = 'return #("x"):rep(5e6)',
            stack = "local function f(...) return f(1, ...) end f()",
            library = 'local s = ("[1,"):rep(3e5) return #rp.json.decode("[" .. ("1,"):rep(4e5) .. "1]")',
            closures = "local t = {} while true do t[#t + 1] = function() return t end end",
        }, { instance = 'limits = { memory = "1m", instructions = 1e9 }' })
        rp:wait_stderr("is untrusted and used up its memory: 1m in one call")
    end)

    it("wait their turn in the background, however many they start", function()
        local rp = start({ start = [[
            local function again() rp.detach(again) while true do end end
            for _ = 1, 200 do rp.detach(again) end
            return "started" ]], fine = 'return "fine"' })
        assert.equal("started", get(rp, "start").body)
        for _ = 1, 50 do assert.equal("fine", get(rp, "fine").body) end
    end)

    it("are refused by on_error, and others are not", function()
        local rp = start({ loop = "while true do end" }, { instance = 'on_error = "open"' })
        assert.equal("site", get(rp, "loop").body)
        rp = start({ loop = "while true do end" }, { instance = 'on_error = "closed"' })
        assert.equal(503, get(rp, "loop").status)
    end)

    it("reach no pointers, no other libraries, no code of others", function()
        local rp = start {
            pointers = [[
                local found = {}
                for i = 0, 20 do
                    if req[i] ~= nil or rawget(req, i) ~= nil then found[#found + 1] = i end
                end
                for k in next, req do found[#found + 1] = k end
                for k in pairs(req) do found[#found + 1] = k end
                for k in next, req.up do found[#found + 1] = k end
                for k in next, req.conn do found[#found + 1] = k end
                return #found ]],
            names = [[
                local found = {}
                for _, name in ipairs { "io", "debug", "package", "ffi", "jit", "load", "loadstring",
                    "loadfile", "dofile", "setfenv", "getfenv", "newproxy", "coroutine", "_G",
                    "collectgarbage", "module", "gcinfo" } do
                    local ok = pcall(function() return require("rproxy") end)
                    local there = false
                    if name == "io" then there = pcall(function() return io.open end)
                    elseif name == "debug" then there = pcall(function() return debug.getinfo end)
                    elseif name == "package" then there = pcall(function() return package.loaded end)
                    elseif name == "ffi" then there = pcall(function() return ffi.C end)
                    elseif name == "jit" then there = pcall(function() return jit.on end)
                    elseif name == "load" then there = pcall(function() return load("x") end)
                    elseif name == "loadstring" then there = pcall(function() return loadstring("x") end)
                    elseif name == "dofile" then there = pcall(function() return dofile("x") end)
                    elseif name == "setfenv" then there = pcall(function() return setfenv(1, {}) end)
                    elseif name == "getfenv" then there = pcall(function() return getfenv(1) end)
                    elseif name == "newproxy" then there = pcall(function() return newproxy(true) end)
                    elseif name == "coroutine" then
                        there = pcall(function() return coroutine.wrap end)
                    elseif name == "_G" then there = pcall(function() return _G.x end)
                    elseif name == "collectgarbage" then
                        there = pcall(function() return collectgarbage() end) end
                    if there then found[#found + 1] = name end
                end
                if string.dump then found[#found + 1] = "string.dump" end
                if os.execute or os.exit or os.remove or os.tmpname then found[#found + 1] = "os" end
                if math.randomseed then found[#found + 1] = "randomseed" end
                return "found:" .. table.concat(found, " ") ]],
            modules = [[
                local found = {}
                for _, name in ipairs { "ffi", "jit", "jit.util", "debug", "io", "os", "package",
                    "rproxy.abi", "rproxy.host", "rproxy.loader", "rproxy.grant", "rproxy.confine",
                    "rproxy.plugin", "rproxy.schema", "rproxy.config.site", "string.buffer",
                    "table.new",
                    "table.clear",
                    "../site", "site", "/etc/passwd" } do
                    if pcall(require, name) and name ~= "site" then found[#found + 1] = name end
                end
                return "found:" .. table.concat(found, " ") ]],
            metatables = [[
                local found = {}
                for name, value in pairs { req = req, up = req.up, rp = rp, json = rp.json, s = "",
                    conf = conf, re = rp.regex("a"), lru = rp.lru(3), array = rp.array {},
                    client = rp.http.client {}, log = rp.log, ctx = req.ctx, fn = print } do
                    local mt = getmetatable(value)
                    if type(mt) == "table" then found[#found + 1] = name end
                    if type(value) == "table" and name ~= "conf" and pcall(setmetatable, value, {}) then
                        found[#found + 1] = "set " .. name
                    end
                end
                return "found:" .. table.concat(found, " ") ]],
            secret = 'return tostring(pcall(os.getenv, "SECRET"))',
            file = 'return tostring(pcall(rp.fs.read, "site.lua"))',
            net = 'return tostring(pcall(function() return rp.http.client():get("http://127.0.0.1:1/") end))',
            zone = 'return tostring(pcall(function() return rp.shared.other:get("k") end))',
        }
        assert.equal("0", get(rp, "pointers").body)
        assert.equal("found:", get(rp, "names").body)
        assert.equal("found:", get(rp, "modules").body)
        assert.equal("found:", get(rp, "metatables").body)
        for _, name in ipairs { "secret", "file", "net", "zone" } do
            assert.equal("false", get(rp, name).body, name)
        end
    end)

    it("change nothing that others see", function()
        local rp = start({
            tamper = [[
                local tried = 0
                local function try(fn, ...) tried = tried + 1 return pcall(fn, ...) end
                local seen = {}
                local function walk(value, depth)
                    if type(value) ~= "table" or seen[value] or depth > 4 then return end
                    seen[value] = true
                    for _, key in ipairs { "encode", "decode", "get", "set", "info", "sleep", "exit", "path",
                        "json", "log", "spawn", "sha256", "get", "client", 1, 2, 9, "ctx" } do
                        try(function() walk(value[key], depth + 1) end)
                        try(function() value[key] = function() return "evil" end end)
                        try(rawset, value, key, function() return "evil" end)
                    end
                    try(setmetatable, value, { __index = function() return "evil" end })
                    try(table.insert, value, "evil")
                    for _, name in ipairs { "__index", "__newindex", "__metatable", "__call" } do
                        try(function() value[name] = function() return "evil" end end)
                        try(rawset, value, name, function() return "evil" end)
                    end
                end
                walk(rp, 0) walk(conf, 0) walk(string, 0) walk(table, 0) walk(req.up, 0)
                walk(rp.regex("a"), 0) walk(rp.lru(2), 0) walk(rp.array {}, 0)
                local handle = rp.header("host")
                try(function() handle.name = "x-evil" end) try(function() handle.id = 1 end)
                string.upper = function() return "evil" end
                string.format = function() return "evil" end
                table.concat = function() return "evil" end
                try(function() ("").upper = 1 end)
                return tried > 100 ]],
            after = 'return 1',
        }, { before = "", after = [[ { access = function(req)
            if req.path ~= "/look" then return end
            local words = { ("a"):upper(), ("%d"):format(1), table.concat({ "x", "y" }),
                rp.json.encode { 1 }, rp.hash("a") == rp.hash("a"), type(rp.sleep), type(rp.log.info),
                rp.regex("a"):test("a"), rp.lru(1):get("x"), tostring(req.path),
                req:get(rp.header("host")) ~= nil }
            for i = 1, 11 do words[i] = tostring(words[i]) end
            return req:exit(200, table.concat(words, " "))
        end } ]] })
        local before = get(rp, "look").body
        assert.equal("A 1 xy [1] true function function true nil /look true", before)
        assert.equal(200, get(rp, "tamper").status)
        assert.equal(before, get(rp, "look").body)
    end)
end)

-- Every name that some object of the layer has.
local function names()
    local seen, list = {}, {}
    local _, files = proc.run { "sh", "-c", "ls lua/rproxy/*.lua lua/rproxy/redis/*.lua" }
    for path in files:gmatch("%S+") do
        local text = posix.read_file(path)
        for name in text:gmatch("function [%w_]+[.:]([%l][%w_]*)") do seen[name] = true end
        if path:find("/init.lua$") then
            for name in text:gmatch("([%l][%w_]*) = [%l{]") do seen[name] = true end
        end
    end
    for name in pairs(seen) do list[#list + 1] = name end
    table.sort(list)
    return list
end

describe("untrusted plugins that call whatever there is with whatever they have", function()
    after_each(function()
        wire.close_all()
        proc.cleanup()
    end)

    it("do not end the worker", function()
        local rp = start({ call = [[
            local name = req:arg("n")
            local odd = { 0, -1, 1e18, 0 / 0, "", "x", ("x"):rep(70000), true, function() end, {}, { 1 },
                { {} }, { host = "127.0.0.1", port = 1, timeout = 0.01 }, { "a", b = {} }, req, req.up,
                req.conn, rp.regex("a"), rp.lru(2), rp.null, rp.array {}, rp.header("x-a") }
            local objects = { rp, req, req.up, req.conn, req.ctx, rp.regex("a"), rp.lru(2), rp.array {},
                rp.header("x-a"), rp.http.client(), rp.semaphore(1), rp.shared.own, rp.upstreams }
            for _, lib in ipairs { "json", "crypto", "text", "uri", "fs", "tcp", "udp", "dns", "http",
                "date", "uuid", "jwt", "jwe", "form", "tls", "log", "regex", "shared", "shm" } do
                local ok, value = pcall(function() return rp[lib] end)
                if ok and value ~= nil then objects[#objects + 1] = value end
            end
            local calls = 0
            for _, object in ipairs(objects) do
                local ok, fn = pcall(function() return object[name] end)
                if ok and type(fn) == "function" and name ~= "sleep" then
                    for i = 0, #odd do
                        local a, b = odd[i], odd[#odd - i]
                        pcall(fn, object, a, b)
                        pcall(fn, a, b, a)
                        pcall(fn, a)
                        pcall(fn, { [1] = a }, b, "x")
                        pcall(function() object[name] = a end)
                        calls = calls + 4
                    end
                elseif ok and type(fn) == "table" then
                    for i = 0, #odd do
                        pcall(fn, odd[i])
                        pcall(function() object[name][1] = odd[i] end)
                    end
                end
            end
            return calls]], fine = 'return "fine"' }, { instance = [[zone = "own",
                limits = { instructions = 1e9, memory = "512m" }]],
            more = 'lua = { cpu_budget = 0 }, timeouts = { hook_wait = "300ms" },' })
        local pids, called = process.workers(rp), 0
        for _, name in ipairs(names()) do
            local ok, res = pcall(http.get, rp.port, "/call?n=" .. name) -- it may answer anything
            called = called + (ok and tonumber(res.body) or 0)
            assert.same(pids, process.workers(rp), "a worker ended at " .. name)
        end
        assert.equal("fine", get(rp, "fine").body)
        assert.is_true(called > 5000, "calls: " .. called)
    end)
end)

describe("rp.untrusted", function()
    after_each(function()
        wire.close_all()
        proc.cleanup()
    end)

    local function check_module(text, use)
        local dir = proc.temp_dir()
        posix.write_file(dir .. "/site.lua", ([[ local rp = require("rproxy")
            local bad = rp.untrusted("bad")
            return rp.site { listeners = { rp.listen { "127.0.0.1:1" } }, use = { %s },
                hosts = { rp.host { default = true, routes = { rp.route { "/*", respond = { 200 } } } } } }]])
            :format(use or "bad { }"))
        posix.write_file(dir .. "/bad.lua", text)
        local how, out, err = proc.run { process.BIN, "-t", "-p", dir .. "/site.lua" }
        return how.exit, out .. err
    end

    local HEAD = 'local rp = require("rproxy") '
    local TAIL = ' function M.setup() return {} end return M'
    local PLUGIN = 'local M = rp.plugin { name = "bad" }'

    it("loads a module in its box from the first line on", function()
        local status, text = check_module(HEAD .. PLUGIN .. TAIL)
        assert.equal(0, status, text)
        for _, top in ipairs { "while true do end", 'local s = ("x"):rep(1e9)',
            'while true do pcall(function() while true do end end) end',
            "local t = {} while true do t[#t + 1] = {} end" } do
            status, text = check_module(HEAD .. top .. " " .. PLUGIN .. TAIL)
            assert.equal(1, status)
            assert.matches("site.lua:2: rp.untrusted \"bad\": .*is untrusted and used up its", text)
        end
    end)

    it("bounds setup, and reads nothing while it loads", function()
        local status, text = check_module(HEAD .. PLUGIN
            .. ' function M.setup() while true do end end return M')
        assert.equal(1, status)
        assert.matches("setup raised: .*used up its instructions", text)
        for _, top in ipairs { 'os.getenv("HOME")', 'rp.file("site.lua")' } do
            status, text = check_module(HEAD .. top .. " " .. PLUGIN .. TAIL)
            assert.equal(1, status)
            assert.matches("not while an untrusted module is loaded", text)
        end
    end)

    it("says what is wrong", function()
        local status, text = check_module(HEAD .. PLUGIN .. TAIL, "bad { limits = { memory = 1 } }")
        assert.equal(1, status)
        assert.matches("plugins.bad.limits.memory: at least 4k", text)
        status, text = check_module("return {}")
        assert.equal(1, status)
        assert.matches("bad.lua defines no plugin by rp.plugin", text)
        status, text = check_module(HEAD .. PLUGIN .. TAIL, "bad { grant = { ffi = true } }")
        assert.equal(1, status)
        assert.matches("an untrusted instance cannot be granted ffi", text)
    end)
end)
