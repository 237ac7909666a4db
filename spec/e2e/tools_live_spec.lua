-- SPDX-License-Identifier: MIT
--
-- rproxy repl and rproxy jit: what people ask workers that serve.

local http = require("spec.support.http")
local posix = require("spec.support.posix")
local proc = require("spec.support.proc")
local process = require("spec.support.process")

local OPEN = "lua = { repl = true }, shared = { flags = rp.shm.store { size = \"1m\" } },"

-- Run the tool with these lines as its input.
local function repl(rp, lines, ...)
    local path = proc.temp_dir() .. "/lines"
    posix.write_file(path, lines)
    local how, out, err = proc.run { "sh", "-c", 'lines="$0"; exec "$@" < "$lines"', path,
        process.BIN, "repl", "-p", rp.site_path, ... }
    return out, err, how.exit
end

describe("rproxy repl", function()
    local rp

    after_each(function()
        local mine = rp
        rp = nil
        process.stop(mine)
    end)

    local function started(opt)
        opt = opt or {}
        opt.more = opt.more or OPEN
        opt.workers = opt.workers or 1
        rp = process.start(opt)
        return rp
    end

    it("runs lines in a worker and shows what they return", function()
        local out, err, status = repl(started(), [[
1 + 1
x = 20
x * 2, "a\n", nil, { 1, 2, b = { c = true } }
for i = 1, 2 do
    print(i)
end

rp.sleep(0.01)
_ + 1
]])
        assert.equal('2\n40\n"a\\n"\nnil\n{ 1, 2, b = { c = true } }\n1\n2\n41\n', out)
        assert.equal("", err)
        assert.equal(0, status)
    end)

    it("sees what requests see", function()
        started { more = OPEN, routes = [[rp.route { "/*", content = function(req)
            rp.shared.flags:set("seen", req.path) return req:exit(200, "ok") end }]] }
        assert.equal("ok", process.body(rp, "/here"))
        assert.equal('"/here"\n', (repl(rp, 'rp.shared.flags:get("seen")')))
        repl(rp, 'rp.shared.flags:set("said", "by hand")')
        assert.equal('"by hand"\n', (repl(rp, 'rp.shared.flags:get("said")')))
    end)

    it("is confined as sites are, and goes on after mistakes", function()
        local out, err, status = repl(started(), [[
io.open("/etc/passwd")
os.execute("true")
require("ffi")
string.rep = nil
req
1 +* 2
rp.nothing
"still here"
]])
        assert.equal('"still here"\n', out)
        assert.equal(1, status)
        for _, words in ipairs { 'no global "io"', "attempt to call field 'execute'",
            'module "ffi" is not for sites', "cannot change string.rep", 'undefined global "req"',
            "unexpected symbol", 'rproxy has no "nothing"' } do
            assert.is_truthy(err:find(words, 1, true), words .. "\nis not in\n" .. err)
        end
    end)

    it("keeps what one session assigned from the next", function()
        started()
        assert.equal("5\n", (repl(rp, "mine = 5\nmine\n")))
        local _, err = repl(rp, "mine")
        assert.match('undefined global "mine"', err)
    end)

    it("stops lines that do not end, and the worker goes on serving", function()
        started()
        local before = process.workers(rp)[1]
        local out, err = repl(rp, 'while true do end\n"on"\n')
        assert.match("stopped: it took more than lua.cpu_budget", err)
        assert.equal('"on"\n', out)
        assert.equal("one", process.body(rp))
        assert.equal(before, process.workers(rp)[1])
    end)

    it("is closed unless the site opens it", function()
        local out, err, status = repl(started { more = "" }, "1 + 1\n")
        assert.equal("", out)
        assert.match("lua = { repl = true }", err)
        assert.equal(1, status)
    end)

    it("is open and closed as the site that serves says, in one session", function()
        started { more = "" }
        process.change(rp, { workers = 1, more = OPEN })
        process.must(rp, "reload")
        assert.equal("2\n", (repl(rp, "1 + 1")))
    end)

    it("asks the worker that is named", function()
        started { workers = 2 }
        process.wait_workers(rp, 2)
        for _, n in ipairs { "0", "1" } do
            assert.equal("2\n", (repl(rp, "1 + 1", "--worker", n)))
        end
        local _, err, status = repl(rp, "1 + 1", "--worker", "7")
        assert.match("no such worker serves", err)
        assert.equal(1, status)
    end)

    it("has one session at a time", function()
        started()
        local dir = proc.temp_dir()
        os.execute("mkfifo " .. dir .. "/in")
        local first = proc.spawn({ "sh", "-c", 'exec "$@" < "$0"', dir .. "/in", process.BIN,
            "repl", "-p", rp.site_path })
        local pipe = assert(io.open(dir .. "/in", "w"))
        pipe:write('rp.log.notice("first has it")\n')
        pipe:flush()
        rp:wait_stderr("first has it")
        local _, err = repl(rp, "1 + 1")
        assert.match("another session is open", err)
        pipe:close()
        first:wait()
        assert.is_truthy(posix.poll(function() return repl(rp, "1 + 1") == "2\n" end))
    end)

    it("tells the log who asked for what", function()
        repl(started(), '1 + 1, "logged"')
        rp:wait_stderr('a worker is asked worker=0 uid=%d+ pid=%d+ text="repl %S+ 1 %+ 1, ')
    end)

    it("says that nobody serves the site", function()
        started()
        local path = proc.temp_dir() .. "/other.lua"
        posix.write_file(path, "return 1")
        local _, err, status = repl({ site_path = path }, "1")
        assert.match("not running", err)
        assert.equal(1, status)
    end)

    it("cuts what is too long, and shows circles", function()
        local out = repl(started(), 'string.rep("x", 100000)\nt = {} t.t = t\nt\n')
        assert.match('^"x+" %.%.%. %(100000 bytes%)\n{ t = %(itself%) }\n$', out)
    end)
end)

describe("rproxy jit", function()
    local rp

    after_each(function()
        local mine = rp
        rp = nil
        process.stop(mine)
    end)

    -- A closure in a loop is what no trace compiles.
    local SLOW = [[rp.route { "/slow", content = function(req)
        local n = 0
        for i = 1, 200 do local f = function() return i end n = n + f() end
        return req:exit(200, tostring(n))
    end }, rp.route { "/*", respond = { 200, "one" } }]]

    local function line_of(path, words)
        local n = 0
        for line in posix.read_file(path):gmatch("([^\n]*)\n") do
            n = n + 1
            if line:find(words, 1, true) then return n end
        end
    end

    it("tells by line where LuaJIT gave up since the start", function()
        rp = process.start { workers = 1, more = "lua = { jit_report = true },", routes = SLOW }
        for _ = 1, 20 do http.get(rp.port, "/slow") end
        local how, out = process.run(rp, "jit", "--seconds", "0")
        assert.same({ exit = 1 }, how)
        assert.match("^%d+ traces compiled, %d+ recordings given up\n", out)
        assert.is_truthy(out:find((":%d: NYI: bytecode FNEW"):format(
            line_of(rp.site_path, "for i = 1, 200")), 1, true), out)
        how, out = process.run(rp, "jit", "--seconds", "0", "--json")
        assert.same({ exit = 1 }, how)
        assert.match('"reason":"NYI: bytecode FNEW"', out)
    end)

    it("watches for some seconds when nobody counted before", function()
        rp = process.start { workers = 1, routes = SLOW }
        local how, _, err = process.run(rp, "jit", "--seconds", "0")
        assert.same({ exit = 1 }, how)
        assert.match("jit_report = true", err)
        local out
        how, out = process.run(rp, "jit", "--seconds", "1")
        assert.same({ exit = 0 }, how)
        assert.match("^%d+ traces compiled, %d+ recordings given up\n$", out)
    end)

    it("runs requests of a file through a site that nobody serves", function()
        local dir = proc.temp_dir()
        posix.write_file(dir .. "/site.lua", 'local rp = require("rproxy")\n'
            .. process.site { workers = 1, routes = SLOW .. [[, rp.route { "/up/*",
                upstream = "u", use = { { access = function(req) req.ctx.x = req.path end } } }]],
                more = 'upstreams = { u = rp.upstream { peers = { "127.0.0.1:1" } } },' }
                :gsub("${port}", "1"))
        posix.write_file(dir .. "/requests", "# a comment\nGET http://a.example/slow\n/up/x\n"
            .. '{"method":"POST","host":"a.example","path":"/slow","query":"a=b"}\n')
        local how, out, err = process.run { "jit", "-p", dir .. "/site.lua", "--requests",
            dir .. "/requests" }
        assert.equal("", err)
        assert.same({ exit = 1 }, how)
        assert.match("^[^\n]*site.lua:%d+: NYI: bytecode FNEW\n", out)
        posix.write_file(dir .. "/requests", "/up/x\n")
        how, out = process.run { "jit", "-p", dir .. "/site.lua", "--requests", dir .. "/requests" }
        assert.equal("all hooks that ran were compiled\n", out)
        assert.same({ exit = 0 }, how)
        posix.write_file(dir .. "/requests", "GET\n")
        how, out, err = process.run { "jit", "-p", dir .. "/site.lua", "--requests",
            dir .. "/requests" }
        assert.equal("", out)
        assert.same({ exit = 2 }, how)
        assert.match("requests:1: expected METHOD and URL", err)
    end)

    it("is there for the site itself", function()
        rp = process.start { workers = 1, more = "lua = { jit_report = true },", routes = [[
            rp.route { "/*", content = function(req)
                local report, err = rp.jit.report()
                return req:exit(200, report and type(report.aborts) .. #report.places or err)
            end }]] }
        assert.match("^number%d+$", process.body(rp))
        process.stop(rp)
        rp = process.start { workers = 1, routes = [[rp.route { "/*", content = function(req)
            local _, err = rp.jit.report() return req:exit(200, err) end }]] }
        assert.equal("off", process.body(rp))
    end)
end)
