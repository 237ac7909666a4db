-- SPDX-License-Identifier: MIT

local support = require("spec.unit.script.support")

local C = support.C

local function built(source, files, overrides)
    local conf, err, code = support.build(support.HEAD .. source, files, overrides)
    if conf then C.rp_conf_free(support.c.ffi.new("struct rp_conf *[1]", conf)) end
    return conf ~= nil, err, code
end

local function fails(expected, source, files, overrides)
    local ok, err = built(source, files, overrides)
    assert.is_false(ok)
    assert.matches(expected, err)
end

local SITE = [[
return rp.site { listeners = { rp.listen { "127.0.0.1:8080" } }, log = { access = false },
  hosts = { rp.host { default = true, routes = { rp.route { "/*", respond = { 200, "x" } } } } } }
]]

describe("script/host", function()
    it("builds a frozen configuration", function()
        local conf = assert(support.build(support.HEAD .. SITE, nil, nil, 7))
        assert.is_true(conf.frozen)
        assert.equal(7, conf.generation)
        assert.equal(1, conf.listeners_n)
        C.rp_conf_free(support.c.ffi.new("struct rp_conf *[1]", conf))
    end)

    it("says file and line of a syntax error", function()
        fails("site%.lua:2: ", "return rp.site {{")
    end)

    it("says file and line of what raises in the site", function()
        fails("^/srv/site/site%.lua:3: boom", "\nerror('boom')")
    end)

    it("says that site.lua is missing", function()
        local bundle = support.bundle {}
        local ffi = support.c.ffi
        local err, out = ffi.new("struct rp_buf"), ffi.new("struct rp_conf *[1]")
        C.rp_buf_init(err, 65536)
        assert.equal("NOT_FOUND", support.c.err_name(C.rp_host_build(bundle, 1, out, err)))
        assert.matches("/srv/site/site.lua: cannot be read", support.c.lua(C.rp_buf_str(err)))
        C.rp_buf_fini(err)
        C.rp_bundle_free(ffi.new("struct rp_bundle *[1]", bundle))
    end)

    describe("globals", function()
        it("raise at the line that reads one that is not there", function()
            fails('site%.lua:2: undefined global "pirnt"; did you mean "print"', "pirnt('x')")
        end)
        it("raise at the line that writes one", function()
            fails('site%.lua:3: global "counter" is written', "\ncounter = 1")
        end)
        it("hold no way out of the sandbox", function()
            for _, name in ipairs { "io", "debug", "package", "ffi", "jit", "dofile", "loadfile",
                "load", "loadstring", "setfenv", "getfenv", "newproxy", "module" } do
                fails('no global "' .. name .. '"', "local x = " .. name)
            end
            fails("attempt to call", "os.execute('true')")
            fails("attempt to call", "string.dump(function() end)")
        end)
        it("cannot be changed through the standard library's tables", function()
            fails("cannot change string.rep", "string.rep = nil")
            fails("attempt to", "getmetatable('').__index.rep = nil")
            fails("protected metatable", "setmetatable(string, {})")
        end)
        it("are each chunk's own", function()
            fails('plugin.lua:1: undefined global "x"', "require 'plugin'",
                { ["plugin.lua"] = "return x" })
        end)
    end)

    describe("require", function()
        it("finds modules beside site.lua, once", function()
            assert.is_true(built("local a, b = require 'm', require 'm'\n"
                .. "assert(a == b and a.v == 1)\nassert(require('d.n') == 'n')\n"
                .. "assert(require 'e' == 'e')\n" .. SITE,
                { ["m.lua"] = "return { v = 1 }", ["d/n.lua"] = "return 'n'",
                  ["e/init.lua"] = "return 'e'" }))
        end)
        it("names the places where it looked", function()
            fails("/srv/site/nothing%.lua", "require 'nothing'")
        end)
        it("finds built-in plugins, and the site's own first", function()
            assert.is_true(built("assert(require('plugins.request_id').name)\n" .. SITE))
            assert.is_true(built("assert(require('plugins.request_id') == 'mine')\n" .. SITE,
                { ["plugins/request_id.lua"] = "return 'mine'" }))
        end)
        it("looks where the command line's lua.path says", function()
            assert.is_true(built("assert(require('m') == 1)\n" .. SITE,
                { ["lib/m.lua"] = "return 1" }, "lua.path=./lib/?.lua"))
        end)
        it("does not open the inside of rproxy or of LuaJIT", function()
            for _, name in ipairs { "ffi", "io", "debug", "package", "_G", "os", "jit.util",
                "jit.opt", "rproxy.abi", "rproxy.host", "rproxy.loader", "rproxy.request",
                "rproxy.config.boot", "string" } do
                fails("is not for sites", ("require %q"):format(name))
            end
        end)
        it("refuses names that are paths", function()
            fails("not found", "require '../../etc/passwd'")
            fails("not found", "require '/etc/passwd'")
        end)
        it("refuses bytecode", function()
            local code = string.dump(function() return 1 end)
            fails("m.lua:1: is bytecode", "require 'm'", { ["m.lua"] = code })
        end)
        it("confines the modules it loads", function()
            fails('m%.lua:1: global "x" is written', "require 'm'", { ["m.lua"] = "x = 1" })
        end)
        it("says that two modules need each other", function()
            fails("loop", "require 'a'",
                { ["a.lua"] = "return require 'b'", ["b.lua"] = "return require 'a'" })
        end)
    end)

    it("stops a site that eats memory", function()
        local ok, err = built("local t = {} for i = 1, 1e9 do t[i] = { i } end")
        assert.is_false(ok)
        assert.matches("not enough memory", err)
    end)

    it("refuses waiting and sockets while the site is built", function()
        fails("only hooks can wait", "rp.sleep(1)")
        fails("hooks only", "rp.tcp.connect { host = '127.0.0.1', port = 1 }")
        fails("tasks start in hooks", "rp.every(1, function() end)")
    end)

    it("describes what it built", function()
        local conf = assert(support.build(support.HEAD .. SITE))
        local out = support.c.ffi.new("struct rp_buf")
        C.rp_buf_init(out, 65536)
        C.rp_host_describe(conf, nil, C.RP_DESCRIBE_TEXT, out)
        assert.matches("127%.0%.0%.1:8080", support.c.lua(C.rp_buf_str(out)))
        C.rp_buf_fini(out)
        C.rp_conf_free(support.c.ffi.new("struct rp_conf *[1]", conf))
    end)

    it("gives its memory back, generation after generation", function()
        local function kb()
            return tonumber(io.open("/proc/self/statm"):read("*a"):match("^%d+ (%d+)")) * 4
        end
        local function round(n)
            for _ = 1, n do
                local conf = assert(support.build(support.HEAD .. SITE))
                C.rp_conf_drop(C.rp_conf_hold(conf))
            end
            collectgarbage() collectgarbage()
        end
        round(20)
        local before = kb()
        round(100)
        assert.is_true(kb() - before < (os.getenv("RP_MODE") == "debug" and 80000 or 1500),
            ("grew by %d KB"):format(kb() - before))
    end)
end)
