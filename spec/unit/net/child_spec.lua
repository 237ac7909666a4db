-- SPDX-License-Identifier: MIT

local net = require("spec.support.net")
local posix = require("spec.support.posix")
local c = require("spec.support.c")

local ffi = net.ffi
local C = c.load { "net/child.h", "net/loop.h" }

ffi.cdef "int pipe2(int fds[2], int flags);"

describe("rp_child", function()
    local env, ended, keep

    before_each(function()
        env = net.open()
        ended, keep = 0, {}
    end)
    after_each(function() env:close() end)

    local function words(list)
        local out = ffi.new("char *[?]", #list + 1)
        for i, word in ipairs(list) do
            local text = ffi.new("char[?]", #word + 1, word)
            keep[#keep + 1] = text
            out[i - 1] = text
        end
        keep[#keep + 1] = out
        return out
    end

    local function start(argv, opt)
        opt = opt or {}
        local spec = ffi.new("struct rp_child_spec", { argv = words(argv),
            env = words(opt.env or { "PATH=/bin:/usr/bin" }), out_most = opt.out_most or 65536 })
        spec["in"] = c.str(opt.stdin or "")
        keep[#keep + 1] = opt.stdin
        local out, why = ffi.new("struct rp_child *[1]"), ffi.new("const char *[1]")
        local on_end = env:callback("void (*)(void *)", function() ended = ended + 1 end)
        local e = C.rp_child_start(env.loop, spec, on_end, nil, out, why)
        if e ~= 0 then return nil, c.err_name(e), ffi.string(why[0]) end
        return out
    end

    local function result(child)
        env:until_true(function() return ended == 1 end)
        local own = ffi.new("struct rp_child_end")
        assert.is_true(C.rp_child_has_ended(child[0], own))
        return c.err_name(own.code), tonumber(own.status), own.killed_by, c.lua(own.out) or "",
            c.lua(own.err) or ""
    end

    it("feeds a program and gathers what it writes", function()
        local child = start({ "sh", "-c", "cat; echo bad >&2; exit 7" }, { stdin = "to it" })
        assert.same({ "OK", 7, 0, "to it", "bad\n" }, { result(child) })
        C.rp_child_close(child)
        assert.is_true(child[0] == nil)
        C.rp_child_close(child)
    end)

    it("tells nothing before the end", function()
        local child = start { "sleep", "100" }
        assert.is_false(C.rp_child_has_ended(child[0], ffi.new("struct rp_child_end")))
        C.rp_child_close(child)
        for _ = 1, 5 do C.rp_loop_turn(env.loop, 1) end
        assert.equal(0, ended)
    end)

    it("kills what writes too much", function()
        local child = start({ "yes" }, { out_most = 1000 })
        local code, _, signal, out = result(child)
        assert.same({ "TOO_BIG", 9 }, { code, signal })
        assert.is_true(#out <= 1000)
        C.rp_child_close(child)
    end)

    it("says why there is no program", function()
        local child, code, why = start { "/no/such/program" }
        assert.is_nil(child)
        assert.equal("OS", code)
        assert.equal("no such file or directory", why)
    end)

    it("gives no descriptor away, not even one that would be inherited", function()
        local fds = ffi.new("int[2]")
        assert.equal(0, ffi.C.pipe2(fds, 0))
        local child = start { "sh", "-c", ("test -e /proc/self/fd/%d && echo open"):format(fds[0]) }
        local _, status, _, out = result(child)
        assert.same({ 1, "" }, { status, out })
        C.rp_child_close(child)
        net.sys.close(fds[0])
        net.sys.close(fds[1])
    end)

    it("kills the group, and is not left behind when the loop goes", function()
        local dir = posix.temp_dir()
        local child = start { "sh", "-c", ("sleep 100 & echo $! > %s/pid; wait"):format(dir) }
        local pid
        env:until_true(function()
            pid = tonumber(posix.read_file(dir .. "/pid") or "")
            return pid
        end)
        C.rp_child_close(child)
        assert.is_truthy(posix.poll(function() return not posix.alive(pid) end))
        start { "sleep", "100" }
        posix.remove_dir(dir)
    end)
end)
